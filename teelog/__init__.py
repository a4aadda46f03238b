"""teelog: a transparency log for what runs inside trusted execution environments.

The core library: what a verifier imports. See docs/design.md for the promise and the layout.

    trust = teelog.trust.parse(file, read)          # the verifier's trust file
    teelog.verify(evidence=.., endorsements=[..], release=.., namespaces=[..], trust=trust, expect=.., now=..)

``verify`` raises NotVerified; ``appraise`` returns the Verdict. The names below are loaded when they are first used, so
``import teelog`` costs nothing. docs/formats/verdict.md describes them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from teelog import trust
    from teelog.appraisal.api import appraise, verify
    from teelog.appraisal.inputs import Expect, LoggedFile, Part, Seen
    from teelog.errors import MisbehaviourError, TeelogError
    from teelog.trust import Trust
    from teelog.verdict import Check, Finding, NotVerified, Outcome, Overall, Verdict

__version__ = "0.1.0"
__all__ = [
    "Check",
    "Expect",
    "Finding",
    "LoggedFile",
    "MisbehaviourError",
    "NotVerified",
    "Outcome",
    "Overall",
    "Part",
    "Seen",
    "TeelogError",
    "Trust",
    "Verdict",
    "__version__",
    "appraise",
    "trust",
    "verify",
]

_HOME = {
    "appraise": "teelog.appraisal.api",
    "verify": "teelog.appraisal.api",
    **dict.fromkeys(("Expect", "LoggedFile", "Part", "Seen"), "teelog.appraisal.inputs"),
    **dict.fromkeys(("MisbehaviourError", "TeelogError"), "teelog.errors"),
    "Trust": "teelog.trust",
    **dict.fromkeys(("Check", "Finding", "NotVerified", "Outcome", "Overall", "Verdict"), "teelog.verdict"),
}


def __getattr__(name: str) -> Any:
    if name == "trust":
        return importlib.import_module("teelog.trust")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'teelog' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
