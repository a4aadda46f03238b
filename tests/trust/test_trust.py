"""The trust file: strict, complete, and never silently less than what was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog import trust
from teelog.errors import ConfigError
from teelog.tlog.policy_lint import Operator, write_policy
from teelog.tlog.vkey import NoteSigner, SignatureType
from teelog.trust import MAX_AGE, MAX_LENGTH, StreamRule, Trust
from teelog.verdict import Check
from tests.client import logs

PIN, OTHER_PIN = "ab" * 32, "cd" * 32
INDEX = NoteSigner.of(logs.ORIGIN + "/index/v1", SignatureType.ED25519, logs.key("index"))
FILES = {
    "main.policy": logs.policy_text(),
    "index.policy": write_policy([(INDEX.verifier, None)], [Operator((logs.WITNESSES[0].verifier,), None)], 1),
    "two.policy": f"log {logs.LOG.verifier}\nlog {logs.OTHER_LOG.verifier}\nquorum none\n".encode(),
    "none.policy": b"quorum none\n",
    "broken.policy": b"log\n",
}
HEAD = 'main = "main.policy"\nmax_age = "24h"\n'
ACME = f'[[namespace]]\nname = "acme.example"\npin = "{PIN}"\n'
STREAM = '[[stream]]\nname = "acme.example/inference/stable"\n'
WHOLE = f"""
main  = "main.policy"   # with comments
index = "index.policy"
max_age = "24h"
[[namespace]]
name = "acme.example"
pin = "{PIN}"
[[namespace]]
name = "other.example"
[[stream]]
name = "acme.example/inference/stable"
min_svn = 3
deny = ["{OTHER_PIN}"]
[[stream]]
name = "other.example/a/b"
[checks]
allowed-now = "off"
binding = "off"
"""


def parse(text: str) -> Trust:
    return trust.parse(text.encode(), FILES.__getitem__)


def test_a_whole_file():
    found = parse(WHOLE)
    assert found.origin == logs.ORIGIN
    assert found.index is not None
    assert found.max_age == 86_400
    assert found.namespaces == {"acme.example": PIN, "other.example": None}
    assert found.streams == {
        "acme.example/inference/stable": StreamRule(3, frozenset({OTHER_PIN})),
        "other.example/a/b": StreamRule(),
    }
    assert found.off == {Check.ALLOWED_NOW, Check.BINDING}


def test_the_least_file_requires_every_check():
    found = parse(HEAD)
    assert found.off == frozenset()
    assert found.index is None
    assert found.floors == {}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "missing required field `main`"),
        ('main = "main.policy"\n', "missing required field `max_age`"),
        ('max_age = "24h"\n', "missing required field `main`"),
        (HEAD + "max_size = 1\n", "unknown field `max_size`"),
        (HEAD + ACME + "pins = 1\n", "namespace/0: object contains unknown field `pins`"),
        (HEAD + ACME + STREAM + "leniency = true\n", "unknown field `leniency`"),
        (HEAD + HEAD, "not TOML"),
        (HEAD + "[[[", "not TOML"),
        (HEAD + ACME + ACME, "listed twice"),
        (HEAD + ACME + STREAM + STREAM, "listed twice"),
        (HEAD + STREAM, "its namespace is not listed"),
        (HEAD + '[[namespace]]\nname = "Acme.example"\n', "namespace/0: not a namespace"),
        (HEAD + '[[namespace]]\nname = "acme.example"\npin = "AB"\n', "namespace/0: not a statement id"),
        (HEAD + "[[namespace]]\n", "missing required field `name`"),
        (HEAD + ACME + '[[stream]]\nname = "acme.example/x"\n', "stream/0: not a stream"),
        (HEAD + ACME + STREAM + "min_svn = -1\n", "min_svn"),
        (HEAD + ACME + STREAM + "min_svn = 3.0\n", "min_svn"),
        (HEAD + ACME + STREAM + 'min_svn = "3"\n', "min_svn"),
        (HEAD + ACME + STREAM + "min_svn = true\n", "min_svn"),
        (HEAD + ACME + STREAM + 'deny = ["1.4.2"]\n', "stream/0: not a statement id"),
        (HEAD + ACME + STREAM + 'deny = "all"\n', "deny"),
        (HEAD + '[checks]\nbinding = "optional"\n', "no such setting"),
        (HEAD + "[checks]\nbinding = false\n", "checks"),
        (HEAD + '[checks]\nbindings = "off"\n', "no such check"),
        (HEAD + '[checks]\nall = "off"\n', "no such check"),
        (HEAD + "[platform.sev-snp]\nmin_tbc = 1\n", "platform.sev-snp"),
        (HEAD + "[platform.toaster]\n", "platform.toaster: platform is not known"),
        (HEAD + "platform = 1\n", "platform"),
        (HEAD + 'index = "main.policy"\n', "not that of the main log's index"),
        ('main = "two.policy"\nmax_age = "1h"\n', "exactly one log"),
        ('main = "none.policy"\nmax_age = "1h"\n', "exactly one log"),
        ('main = "broken.policy"\nmax_age = "1h"\n', "main: broken.policy: policy line 1"),
        ("main = 1\nmax_age = '1h'\n", "main"),
        ("main = 1979-05-27\nmax_age = '1h'\n", "main"),
        (HEAD + "#" * MAX_LENGTH, "too long"),
        (HEAD + ACME * 0 + "".join(f'[[namespace]]\nname = "n{n}.example"\n' for n in range(257)), "too many"),
    ],
)
def test_whatever_is_not_understood_is_refused_with_its_place(text: str, cause: str):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert cause.lower() in str(caught.value).lower()


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ConfigError, match="not TOML"):
        trust.parse(b"main = '\xff'", FILES.__getitem__)


@pytest.mark.parametrize("text", ["x = " + "[" * 30_000, "x = " + "{a = " * 10_000, "a" + ".a" * 2_000 + " = 1"])
def test_deep_files_are_refused_not_crashed_upon(text: str):
    with pytest.raises(ConfigError):
        parse(text)


def test_what_the_reader_of_policies_raises_passes_through():
    with pytest.raises(KeyError):
        parse('main = "elsewhere.policy"\nmax_age = "1h"\n')


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("90s", 90), ("10m", 600), ("24h", 86_400), ("7d", 604_800)])
def test_durations(text: str, seconds: int):
    assert trust.age(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "24", "1.5h", "-1h", "24 h", "24H", "01h", "367d", "999999999d", "1h30m"])
def test_what_is_no_duration(text: str):
    with pytest.raises(ConfigError, match="max_age"):
        trust.age(text)


@given(
    st.text() | st.from_regex(r"(main|index|max_age|\[\[stream\]\]|\[checks\]|\[platform\.x\]|x = [0-9.]+|\n|=){1,12}")
)
def test_any_text_is_a_trust_file_or_a_configuration_error(text: str):
    try:
        found = trust.parse(text.encode("utf-8", "surrogatepass"), lambda path: FILES["main.policy"])
    except ConfigError:
        return
    assert 0 < found.max_age <= MAX_AGE


@given(
    st.dictionaries(
        st.sampled_from(["main", "index", "max_age", "namespace", "stream", "platform", "checks", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
def test_any_table_is_a_trust_file_or_a_configuration_error(tree: dict[str, object]):
    text = "\n".join(f"{name} = {toml(value)}" for name, value in tree.items())
    try:
        parse(HEAD + text if not {"main", "max_age"} & tree.keys() else text)
    except (ConfigError, KeyError):
        return


def toml(value: object) -> str:
    import json

    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return str(value)
    return json.dumps(value) if value is not None else '"none"'


def test_how_far_ahead_and_grace_are_the_files_choice():
    found = parse(HEAD + 'max_next_update = "7d"\n' + ACME + STREAM + "grace = false\n")
    assert found.max_next_update == 7 * 86_400
    assert not found.streams["acme.example/inference/stable"].grace
    silent = parse(HEAD + ACME + STREAM)
    assert silent.max_next_update == 30 * 86_400
    assert silent.streams["acme.example/inference/stable"].grace
    with pytest.raises(ConfigError, match="max_next_update"):
        parse(HEAD + 'max_next_update = "soon"\n')


def test_one_operators_two_keys_are_no_quorum_of_two():
    two = [
        NoteSigner.of("witness.example/w1", SignatureType.COSIGNATURE_ED25519, logs.key(name)).verifier
        for name in ("one", "another")
    ]
    lines = [f"log {logs.LOG.verifier}", *(f"witness k{n} {key}" for n, key in enumerate(two))]
    for group, holds in (("group q 2 k0 k1", False), ("group q any k0 k1", True)):
        text = "\n".join([*lines, group, "quorum q", ""]).encode()
        files = FILES | {"main.policy": text}
        if holds:
            trust.parse((HEAD + ACME + STREAM).encode(), files.__getitem__)
            continue
        with pytest.raises(ConfigError, match="one operator would count several times"):
            trust.parse((HEAD + ACME + STREAM).encode(), files.__getitem__)
