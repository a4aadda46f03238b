"""What can be watched, as it is typed."""

from __future__ import annotations

import pytest

from teelog.errors import MalformedError
from teelog.index import keys
from teelog.witness.monitor import watches
from tests.statement import make

KEY = "5e" * 32
REGISTER = f"sev-snp:measurement={make.MEASUREMENT}"


@pytest.mark.parametrize(
    ("subject", "value", "key"),
    [
        ("namespace", "acme.example", None),
        ("stream", "acme.example/inference/stable", None),
        ("register", REGISTER, keys.key(keys.Kind.REGISTER, "sev-snp", "measurement", make.MEASUREMENT)),
        ("signer", KEY, keys.key(keys.Kind.SIGNER, KEY)),
        ("all", "", None),
    ],
)
def test_each_is_read_and_shown_as_it_was_typed(subject: str, value: str, key: bytes | None) -> None:
    watch = watches.parse(subject, value)
    assert (str(watch), watch.key) == (f"{subject} {value}".rstrip(), key)
    assert watches.parse(watch.subject, watch.value) == watch


@pytest.mark.parametrize(
    ("subject", "value"),
    [
        ("everything", ""),
        ("all", "acme.example"),
        ("namespace", ""),
        ("namespace", "ACME.example"),
        ("namespace", "acme.example/inference"),
        ("namespace", "acme.example\n"),
        ("stream", "acme.example"),
        ("stream", "acme.example/inference/stable/more"),
        ("register", "sev-snp:measurement"),
        ("register", "sev-snp:measurement=any"),
        ("register", f"{REGISTER}\n"),
        ("register", REGISTER.upper()),
        ("register", f"sev-snp:measurement={'0e' * 2_000}"),
        ("register", "sev-snp:measurement=0e0"),
        ("register", f"sev-snp:mr\x1b[31m={'0e' * 48}"),
        ("signer", KEY.upper()),
        ("signer", KEY[:-2]),
        ("signer", f"SHA256:{KEY}"),
    ],
)
def test_anything_else_is_refused(subject: str, value: str) -> None:
    with pytest.raises(MalformedError):
        watches.parse(subject, value)
