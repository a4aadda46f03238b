"""The verification steps of protocol section 7: evidence, statements and a trust file in, a verdict out.

Pure: no file, socket or clock. ``api`` holds the two calls that users make; ``inputs`` what they pass in; the other
modules one part of the steps each: ``tee`` the evidence, ``log`` the checkpoints, ``authority`` the namespace and its
signatures, ``match`` the release against the evidence.
"""
