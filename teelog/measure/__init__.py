"""Launch measurements recomputed from build artifacts: bytes in, register values out.

One module per algorithm; nothing here opens a file. ``registers`` is the result that goes into a release statement.
What each value was checked against is in docs/decisions/0004-snp-launch-digest.md.
"""
