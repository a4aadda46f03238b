"""Keys of the index: one spelling each, and nothing beside them."""

from __future__ import annotations

import pytest

from teelog.errors import MalformedError
from teelog.index import keys
from teelog.index.keys import ARITY, Kind, key, parse, parse_prefix, prefix

ID = "ab" * 32
GOOD = {
    Kind.LOG_POLICY: (),
    Kind.NAMESPACE: ("acme.example",),
    Kind.STATUS: ("acme.example", "inference", "stable"),
    Kind.RELEASE: ("acme.example", "inference", "stable"),
    Kind.REGISTER: ("sev-snp", "measurement", "cd" * 48),
    Kind.SUBJECT: ("sha256", ID),
    Kind.EVIDENCE: ("sha256", ID),
    Kind.SIGNER: (ID,),
    Kind.ABOUT: (ID,),
}


def test_every_kind_has_its_components():
    assert set(GOOD) == set(Kind) == set(ARITY)
    assert {kind: len(parts) for kind, parts in GOOD.items()} == dict(ARITY)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_key_reads_back(kind: Kind):
    made = key(kind, *GOOD[kind])
    assert made == b"".join(part.encode() + b"\n" for part in (kind.value, *GOOD[kind]))
    assert parse(made) == (kind, GOOD[kind])
    assert len(made) <= keys.MAX_KEY
    for leading in range(ARITY[kind] + 1):
        start = prefix(kind, *GOOD[kind][:leading])
        assert made.startswith(start)
        assert parse_prefix(start) == (kind, GOOD[kind][:leading])


@pytest.mark.parametrize("kind", list(Kind))
def test_another_number_of_components_is_refused(kind: Kind):
    for parts in (GOOD[kind][:-1] if GOOD[kind] else ("a",), (*GOOD[kind], "a")):
        with pytest.raises(MalformedError):
            key(kind, *parts)
    with pytest.raises(MalformedError):
        prefix(kind, *GOOD[kind], "a")


def test_no_key_is_the_start_of_another():
    made = [key(kind, *parts) for kind, parts in GOOD.items()]
    made += [
        keys.status_key("acme.example/inference/stable2"),
        keys.status_key("acme.example.example/inference/stable"),
    ]
    assert not [(a, b) for a in made for b in made if a != b and b.startswith(a)]


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (Kind.NAMESPACE, ("Acme.example",)),
        (Kind.NAMESPACE, ("acme",)),
        (Kind.NAMESPACE, ("acme.example\nx",)),
        (Kind.NAMESPACE, ("",)),
        (Kind.STATUS, ("acme.example", "inference", "")),
        (Kind.STATUS, ("acme.example", "Inference", "stable")),
        (Kind.STATUS, ("acme.example", "a/b", "stable")),
        (Kind.STATUS, ("acme.example", "a\n", "stable")),
        (Kind.REGISTER, ("sev-snp", "measurement", "CD" * 48)),
        (Kind.REGISTER, ("sev-snp", "measurement", "cd" * 32)),
        (Kind.REGISTER, ("sev-snp", "measurement", "any")),
        (Kind.REGISTER, ("sev-snp", "mrtd", "cd" * 48)),
        (Kind.REGISTER, ("other", "measurement", "cd" * 48)),
        (Kind.SUBJECT, ("sha 256", ID)),
        (Kind.SUBJECT, ("", ID)),
        (Kind.SUBJECT, ("sha256", "")),
        (Kind.SUBJECT, ("sha256", "abc")),
        (Kind.SUBJECT, ("sha256", ID.upper())),
        (Kind.SUBJECT, ("sha256", "ab" * 65)),
        (Kind.SIGNER, ("ab" * 31,)),
        (Kind.ABOUT, (ID[:-1] + "\n",)),
        (Kind.ABOUT, ("\N{ARABIC-INDIC DIGIT ONE}" * 64,)),
    ],
)
def test_a_component_in_any_other_spelling_is_refused(kind: Kind, parts: tuple[str, ...]):
    with pytest.raises(MalformedError):
        key(kind, *parts)
    with pytest.raises(MalformedError):
        prefix(kind, *parts)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"about",
        b"about\n",
        b"about\n" + ID.encode(),
        b"about\n" + ID.encode() + b"\n\n",
        b"about\n" + ID.encode() + b"\r\n",
        b"About\n" + ID.encode() + b"\n",
        b"other\n" + ID.encode() + b"\n",
        b"about\n\n" + ID.encode() + b"\n",
        b"about\n" + ID.encode() + b"\n" + ID.encode() + b"\n",
        b"about\n" + b"\xff" * 64 + b"\n",
        b"log-policy\n\n",
        b"status\nacme.example/inference\nstable\n",
        b"about\n" + b"a" * 2_000 + b"\n",
    ],
)
def test_what_is_no_complete_key_is_refused(data: bytes):
    with pytest.raises(MalformedError):
        parse(data)


@pytest.mark.parametrize("data", [b"", b"rel", b"release", b"release\nacme", b"release\nacme.example\nx", b"x\n"])
def test_a_prefix_ends_with_a_component(data: bytes):
    with pytest.raises(MalformedError):
        parse_prefix(data)


def test_stream_names_become_keys():
    assert keys.status_key("acme.example/a/b") == b"status\nacme.example\na\nb\n"
    assert keys.release_key("acme.example/a/b") == b"release\nacme.example\na\nb\n"
    assert keys.namespace_key("acme.example") == b"namespace\nacme.example\n"
    for stream in ("acme.example", "acme.example/a", "acme.example/a/b/c", "acme.example//b", "/a/b"):
        with pytest.raises(MalformedError):
            keys.status_key(stream)
