"""teelog: a transparency log for what runs inside trusted execution environments.

The core library: what a verifier imports. See docs/design.md for the promise and the layout.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
