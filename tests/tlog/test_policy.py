"""Trust policies (c2sp.org/tlog-policy): the file's grammar, octet by octet, and what a quorum is."""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata

import pytest

from teelog.errors import ConfigError, NotWitnessed, UntrustedKey
from teelog.tlog import note
from teelog.tlog import policy as policy_module
from teelog.tlog.policy import MAX_DEFINITIONS, MAX_LINES, Policy, parse_policy, verify_checkpoint
from tests.test_keys import LOW_ORDER
from tests.test_strict import BAD_NUMBERS
from tests.tlog import make
from tests.tlog.make import COSIGN, ED, LOG, LOG_PQ, MLDSA, WITNESSES, WITNESSES_PQ, log_line, text, witness_lines
from tests.tlog.test_vkey import text as vkey_text

L = log_line()
W = witness_lines()
GOOD = text(L, *W, "group g 3 w1 w2 w3 w4", "quorum g")


def refused(data: bytes, match: str | None = None) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_policy(data)


def same(data: bytes) -> None:
    assert parse_policy(data) == parse_policy(GOOD)


def test_PL_01_lines_end_in_newline_and_words_are_parted_by_space_and_tab():
    same(GOOD.replace(b" ", b"\t"))
    same(GOOD.replace(b" ", b" \t \t"))
    same(GOOD.replace(b"\n", b" \t\n"))
    for octets in ("\u00a0", "\u2028", "\u0085", "\u3000"):
        # One word to us: the separator is missing.
        refused(GOOD.replace(b"quorum g", b"quorum" + octets.encode() + b"g"), "unknown keyword")
        name = f"a{octets}b"
        found = make.policy(L, f"witness {name} {WITNESSES[0].verifier}", f"quorum {name}")
        assert found.quorum == name
    for octets in (b"\x0b", b"\x0c", b"\x1c", b"\r"):
        refused(GOOD.replace(b"quorum g", b"quorum" + octets + b"g"), "control character")


@pytest.mark.parametrize("octet", [*range(0x09), *range(0x0B, 0x20), 0x7F])
def test_PL_02_control_characters_are_refused_everywhere(octet: int):
    for bad in (bytes([octet]) + GOOD, GOOD + bytes([octet]) + b"\n", b"# " + bytes([octet]) + b"\n" + GOOD):
        refused(bad, "control character")


@pytest.mark.parametrize("octet", range(0x80, 0x100))
def test_PL_02_all_octets_with_the_high_bit_are_allowed(octet: int):
    same(b"# " + bytes([octet]) + b"\n" + GOOD)


def test_PL_03_blank_lines_and_comment_lines_are_ignored():
    same(b"\n \n\t\n# comment\n  \t# another\n#\n" + GOOD + b"\n# end\n\n")
    same(b"  " + GOOD.replace(b"\n", b"  \n\t  ") + b"\n")


@pytest.mark.parametrize("comment", [" # comment", " #", "\t#x", " #x y", " // x"])
def test_PL_03_a_comment_at_the_end_of_a_line_is_none(comment: str):
    lines = [L, *W, "group g 3 w1 w2 w3 w4", "quorum g"]
    for number, line in enumerate(lines):
        refused(text(*lines[:number], line + comment, *lines[number + 1 :]))
    with pytest.raises(ConfigError, match="line of its own"):
        make.policy(L + " #x", "quorum none")


def test_PL_04_log_lines():
    assert make.policy(L, "quorum none").logs[0].url is None
    assert make.policy(L + " https://log.example/", "quorum none").logs[0].url == "https://log.example/"
    for bad in ("log", "log ", L + " url more", "Log" + L[3:], "logs" + L[3:], "log x", "log " + L):
        refused(text(bad, "quorum none"))
    for keyword in ("Quorum none", "witnesses x", "policy", "include x", "#!", "\ufeffquorum none", "qu\u00f6rum none"):
        if keyword != "#!":
            refused(text(L, keyword, "quorum none"), "unknown keyword")
    with pytest.raises(ConfigError, match="policy line 3"):
        parse_policy(text(L, "", "what", "quorum none"))


def test_PL_05_a_log_key_stands_once_whatever_its_name():
    twin = make.signer("twin.example", ED, make.ORIGIN)
    assert twin.private.public == LOG.private.public
    refused(text(L, L, "quorum none"), "duplicate log key")
    refused(text(L, log_line(twin), "quorum none"), "duplicate log key")
    assert len(make.policy(L, log_line(LOG_PQ), log_line(make.signer("b.example")), "quorum none").logs) == 3
    assert make.policy(L, log_line(LOG_PQ), "quorum none").origins() == [make.ORIGIN]


def test_PL_06_a_witness_key_stands_once_and_may_be_a_logs_too():
    found = make.policy(L, W[0] + " https://w.example/", "quorum w1")
    assert found.witnesses["w1"].url == "https://w.example/"
    twin = make.signer("twin.example", COSIGN, WITNESSES[0].verifier.name)
    refused(text(L, W[0], f"witness w2 {twin.verifier}", "quorum w1"), "duplicate witness key")
    refused(text(L, W[0], f"witness w2 {WITNESSES[0].verifier}", "quorum w1"), "duplicate witness key")
    log_too = make.signer("witness.example/w1", ED, WITNESSES[0].verifier.name)
    assert len(make.policy(log_line(log_too), W[0], "quorum w1").verifiers()) == 2
    assert len(make.policy(log_line(LOG_PQ), f"witness w {LOG_PQ.verifier}", "quorum w").verifiers()) == 2
    for bad in (
        "witness",
        "witness w1",
        W[0] + " url more",
        f"witness {WITNESSES[0].verifier}",
        f"witness w1 url {WITNESSES[0].verifier}",
    ):
        refused(text(L, bad, "quorum none"))


def test_PL_06_a_key_that_is_log_and_witness_counts_as_what_the_policy_says():
    """One 0x06 line, two roles: the file says so in as many words, and the lint complains (PL-22)."""
    policy = make.policy(log_line(LOG_PQ), f"witness self {LOG_PQ.verifier}", *W, "group g all self w1", "quorum g")
    found = verify_checkpoint(make.sign(make.head(5), LOG_PQ, WITNESSES[0]), policy)
    assert set(found.cosignatures) == {"self", "w1"}
    assert [line.verifier for line in found.log_signatures] == [LOG_PQ.verifier]
    with pytest.raises(NotWitnessed):
        verify_checkpoint(make.sign(make.head(5), LOG_PQ), policy)
    # As an Ed25519 pair the two types have two key IDs: the log's line is no cosignature.
    pair = make.signer(make.ORIGIN, COSIGN, make.ORIGIN)
    policy = make.policy(L, f"witness self {pair.verifier}", "quorum self")
    with pytest.raises(NotWitnessed):
        verify_checkpoint(make.sign(make.head(5), LOG), policy)
    with pytest.raises(UntrustedKey):
        verify_checkpoint(make.sign(make.head(5), pair), policy)
    assert verify_checkpoint(make.sign(make.head(5), LOG, pair), policy)


def test_PL_07_witnesses_and_groups_share_their_names():
    other = f"witness w1 {WITNESSES[1].verifier}"
    refused(text(L, W[0], other, "quorum w1"), "already defined")
    refused(text(L, *W, "group w1 any w2", "quorum w1"), "already defined")
    refused(text(L, *W, "group g any w1", "group g any w2", "quorum g"), "already defined")
    refused(text(L, *W, "group g any w1", f"witness g {WITNESSES_PQ[0].verifier}", "quorum g"), "already defined")
    refused(text(L, f"witness none {WITNESSES[0].verifier}", "quorum none"), "already defined")
    refused(text(L, W[0], "group none any w1", "quorum none"), "already defined")
    for name in ("all", "any", "3", "log", "quorum", "None", "NONE", "#", "-"):
        found = make.policy(L, f"witness {name} {WITNESSES[0].verifier}", f"quorum {name}")
        assert found.quorum == name


@pytest.mark.parametrize(
    "k", ["0", "5", "01", "+1", "-1", "4.0", "All", "ANY", "", "1_0", "four", "w1", "99999999999999999999"]
)
def test_PL_08_a_threshold_is_all_any_or_1_to_n(k: str):
    refused(text(L, *W, f"group g {k} w1 w2 w3 w4", "quorum g"))


@pytest.mark.parametrize("number", [number for number in BAD_NUMBERS if not set(number) & set(b" \t\n\r\x00")])
def test_PL_08_a_threshold_is_plain_decimal(number: bytes):
    refused(text(L, *W) + b"group g " + number + b" w1 w2 w3 w4\nquorum g\n")


def test_PL_08_any_is_one_and_all_is_n():
    for k, expected in (("any", 1), ("all", 4), ("1", 1), ("4", 4)):
        assert make.policy(L, *W, f"group g {k} w1 w2 w3 w4", "quorum g").groups["g"].threshold == expected
    for bad in ("group", "group g", "group g any", "group g 1", "group g all "):
        refused(text(L, *W, bad, "quorum none"))


def test_PL_09_only_earlier_lines_can_be_named():
    refused(text(L, *W[:3], "group g any w1 w4", W[3], "quorum g"), "not defined on an earlier line")
    refused(text(L, *W, "group g any w1 g", "quorum g"), "not defined")
    refused(text(L, *W, "group a any b", "group b any w1", "quorum a"), "not defined")
    refused(text(L, "quorum w1", *W), "not defined")
    refused(text(L, *W, "quorum g", "group g any w1"), "not defined")
    refused(text(L, *W, "group g any w9", "quorum g"), "not defined")
    refused(text(L, *W, "quorum w9"), "not defined")
    # Other lines may come in any order, logs last.
    assert make.policy(W[0], "quorum w1", L).quorum == "w1"
    assert parse_policy(text("quorum none", L)).logs


def test_PL_10_a_name_is_a_member_once():
    for lines in (
        ["group g 2 w1 w1"],
        ["group a any w1", "group g any w1 w2"],
        ["group a any w1", "group b any a", "group g any a"],
    ):
        refused(text(L, *W, *lines, "quorum g"), "already a member")
    # The quorum may be a member of something nonetheless.
    assert make.policy(L, *W, "group a any w1", "group g any a w2", "quorum a").quorum == "a"


def test_PL_11_none_is_a_quorum_and_nothing_else():
    assert make.policy(L, "quorum none").quorum == "none"
    refused(text(L, *W, "group g any w1 none", "quorum g"), "not defined")
    refused(text(L, *W, "group g any none", "quorum g"), "not defined")


@pytest.mark.parametrize(
    "lines", [[], ["quorum w1", "quorum w1"], ["quorum none", "quorum w1"], ["quorum"], ["quorum w1 w2"]]
)
def test_PL_12_there_is_one_quorum_line(lines: list[str]):
    refused(text(L, *W, *lines))
    refused(text(*lines, L, *W))
    refused(b"")


def test_PL_13_the_logs_key_name_is_the_origin():
    found = verify_checkpoint(make.sign(make.head(5), LOG, *WITNESSES), parse_policy(GOOD))
    assert found.checkpoint.origin == LOG.verifier.name
    for origin in ("log.example/tee2", "log.example/te", "LOG.example/tee", "other"):
        with pytest.raises(UntrustedKey, match="does not list"):
            verify_checkpoint(make.sign(make.head(5, origin), LOG, *WITNESSES), parse_policy(GOOD))
    namesake = make.signer(LOG.verifier.name, ED, "another log of this name")
    for by in ((), WITNESSES):
        with pytest.raises(UntrustedKey, match="not signed by the log's key in the policy") as caught:
            verify_checkpoint(make.sign(make.head(5), namesake, *by), parse_policy(GOOD))
        assert caught.value.actual == f"{LOG.verifier.name}+{namesake.verifier.key_id.hex()}"
        assert "teelog policy show" in str(caught.value.hint)
    renamed = make.signer("renamed.example", ED, make.ORIGIN)
    with pytest.raises(UntrustedKey):
        verify_checkpoint(make.sign(make.head(5), renamed, *WITNESSES), make.policy(log_line(renamed), "quorum none"))


def test_PL_14_names_are_octets():
    kelvin, composed, parted = "\u212a", "\u00e9", "e\u0301"
    assert unicodedata.normalize("NFC", parted) == composed
    names = ["K", "k", kelvin, composed, parted, "\u00c9", "\udcff", "\udcff\udcfe", "x\udc80"]
    lines = [f"witness {name} {make.signer(f'w{at}.example', COSIGN).verifier}" for at, name in enumerate(names)]
    data = "".join(line + "\n" for line in [L, *lines, "group g all " + " ".join(names), "quorum g"])
    found = parse_policy(data.encode("utf-8", "surrogateescape"))
    assert list(found.witnesses) == names
    assert found.groups["g"].members == tuple(names)
    with pytest.raises(NotWitnessed):
        found.check_quorum(set(names) - {kelvin} | {"K"})
    refused(text(L, f"witness k {WITNESSES[0].verifier}", "quorum K"), "not defined")


def test_PL_14_a_vkey_that_is_no_utf8_is_a_bad_vkey():
    for line in (b"log \xff+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
                 b"witness w \xc3+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n"):  # fmt: skip
        refused(line + b"quorum none\n", "bad vkey")


QUORUMS = [
    ("group g any w1 w2 w3 w4", "g", lambda a, b, c, d: a or b or c or d),
    ("group g all w1 w2 w3 w4", "g", lambda a, b, c, d: a and b and c and d),
    ("group g 2 w1 w2 w3 w4", "g", lambda a, b, c, d: a + b + c + d >= 2),
    ("group g 3 w1 w2 w3 w4", "g", lambda a, b, c, d: a + b + c + d >= 3),
    ("group x all w1 w2|group y any w3 w4|group g all x y", "g", lambda a, b, c, d: a and b and (c or d)),
    ("group x any w1 w2|group y all w3 w4|group g any x y", "g", lambda a, b, c, d: a or b or (c and d)),
    ("group x 2 w1 w2 w3|group g all x w4", "g", lambda a, b, c, d: a + b + c >= 2 and d),
    ("group x 2 w1 w2 w3|group g 1 x w4", "g", lambda a, b, c, d: a + b + c >= 2 or d),
    ("group x any w1|group y any x|group g all y w2", "g", lambda a, b, c, d: a and b),
    ("group x all w1 w2|group g 1 w3 w4", "g", lambda a, b, c, d: c or d),
    ("", "w3", lambda a, b, c, d: c),
    ("", "none", lambda a, b, c, d: True),
]


@pytest.mark.parametrize(
    ("groups", "quorum", "rule"), QUORUMS, ids=[f"{groups or 'none'} -> {q}" for groups, q, _ in QUORUMS]
)
def test_PL_15_truth_tables(groups: str, quorum: str, rule):
    policy = make.policy(L, *W, *filter(None, groups.split("|")), f"quorum {quorum}")
    head = make.head(5)
    for chosen in itertools.product((0, 1), repeat=4):
        names = {f"w{at + 1}" for at in range(4) if chosen[at]}
        holds = bool(rule(*chosen))
        data = make.sign(head, LOG, *itertools.compress(WITNESSES, chosen))
        if holds:
            policy.check_quorum(names)
            assert set(verify_checkpoint(data, policy).cosignatures) == names
        else:
            with pytest.raises(NotWitnessed):
                policy.check_quorum(names)
            with pytest.raises(NotWitnessed):
                verify_checkpoint(data, policy)


def test_PL_15_a_witness_outside_and_a_stranger_never_help():
    policy = make.policy(L, *W, "group g 2 w1 w2", "quorum g")
    strangers = [make.signer(f"stranger{number}.example", COSIGN) for number in range(4)]
    for helpers in (WITNESSES[2:], strangers, [*WITNESSES[2:], *strangers]):
        with pytest.raises(NotWitnessed):
            verify_checkpoint(make.sign(make.head(5), LOG, WITNESSES[0], *helpers), policy)
    with pytest.raises(NotWitnessed):
        policy.check_quorum({"w1", "w3", "w4", "g", "unknown"})


def test_PL_15_several_lines_of_one_witness_count_once():
    policy = make.policy(L, *W, "group g 2 w1 w2", "quorum g")
    body = make.head(5).body()
    lines = [LOG.sign(body, 0), *(WITNESSES[0].sign(body, make.NOW + second) for second in range(5))]
    with pytest.raises(NotWitnessed):
        verify_checkpoint(note.encode(body, lines), policy)
    found = verify_checkpoint(note.encode(body, lines), make.policy(L, *W, "quorum w1"))
    assert found.cosignatures["w1"].timestamp == make.NOW + 4


def test_PL_16_slots_take_their_types():
    for signer in (LOG, LOG_PQ):
        assert make.policy(log_line(signer), "quorum none")
    for signer in (WITNESSES[0], WITNESSES_PQ[0]):
        assert make.policy(L, f"witness w {signer.verifier}", "quorum w")
    refused(text(log_line(WITNESSES[0]), "quorum none"), "cannot have signature type 0x04")
    refused(text(L, f"witness w {make.signer('x.example').verifier}", "quorum w"), "cannot have signature type 0x01")
    for material in (b"\x02" + bytes(33), b"\x05" + bytes(32), b"\xff" + bytes(32)):
        refused(text("log " + vkey_text("x.example", material), "quorum none"), "not supported")


def test_PL_17_any_listed_log_and_any_of_its_keys_suffices():
    other = make.signer("other.example")
    policy = make.policy(L, log_line(LOG_PQ), log_line(other), *W, "quorum w1")
    for signers in ([LOG], [LOG_PQ], [LOG, LOG_PQ]):
        assert verify_checkpoint(make.sign(make.head(5), *signers, WITNESSES[0]), policy)
    assert verify_checkpoint(make.sign(make.head(5, "other.example"), other, WITNESSES[0]), policy)
    without = make.policy(*W, "quorum w1")
    assert without.logs == ()
    with pytest.raises(UntrustedKey):
        verify_checkpoint(make.sign(make.head(5), LOG, WITNESSES[0]), without)
    # The caller who pins the log adds it.
    pinned = dataclasses.replace(without, logs=make.policy(L, "quorum none").logs)
    assert verify_checkpoint(make.sign(make.head(5), LOG, WITNESSES[0]), pinned)


def test_PL_18_32_logs_witnesses_and_groups_and_many_more():
    def many(count: int) -> bytes:
        logs = [log_line(make.signer(f"log{number}.example")) for number in range(count)]
        witnesses = [
            f"witness w{number} {make.signer(f'w{number}.example', COSIGN).verifier}" for number in range(count)
        ]
        groups = [f"group g{number} any w{number}" for number in range(count)]
        return text(*logs, *witnesses, *groups, f"quorum g{count - 1}")

    for count in (32, 100):
        found = parse_policy(many(count))
        assert (len(found.logs), len(found.witnesses), len(found.groups)) == (count, count, count)


def test_PL_18_a_file_that_is_too_large_is_one_clean_error():
    refused(b"#\n" * 1_000_000, "too many lines")
    refused(b"# " + b"x" * (5 * 1024 * 1024) + b"\n", "too long")
    refused(b"\n" * (MAX_LINES + 1) + GOOD, "too many lines")
    same(b"\n" * (MAX_LINES - GOOD.count(b"\n") - 1) + GOOD)
    chain = ["group g0 any w1", *(f"group g{at} any g{at - 1}" for at in range(1, MAX_DEFINITIONS))]
    deep = make.policy(L, *W, *chain, f"quorum g{MAX_DEFINITIONS - 1}")
    deep.check_quorum({"w1"})
    with pytest.raises(NotWitnessed):
        deep.check_quorum({"w2"})
    refused(text(L, *W, *chain, f"group last any g{MAX_DEFINITIONS - 1}", "quorum last"), "too many definitions")
    refused(text(L, *W, "group g any " + "w1 " * 1_000_000, "quorum g"), "already a member")


@pytest.mark.parametrize("end", range(1, 12))
def test_PL_19_a_file_whose_last_line_is_cut_is_refused(end: int):
    data = text(L, *W, "group G1 any w1", "group G12 all w2 w3 w4", "quorum G12")
    assert parse_policy(data).quorum == "G12"
    refused(data[:-end])


def test_PL_20_low_order_and_ambiguous_keys_are_refused():
    for raw in LOW_ORDER:
        refused(text("log " + vkey_text("x.example", b"\x01" + raw), "quorum none"), "low order|not canonical")
        refused(text(L, "witness w " + vkey_text("x.example", b"\x04" + raw), "quorum w"), "low order|not canonical")


def test_PL_20_two_keys_of_one_name_and_key_id_are_ambiguous(monkeypatch: pytest.MonkeyPatch):
    """Four bytes collide for whoever wants them to: here every key ID is the same."""
    from teelog.tlog import vkey

    monkeypatch.setattr(vkey, "key_id", lambda name, kind, public: b"same")
    one, two = (make.NoteSigner.of("w.example", COSIGN, make.key(seed)) for seed in ("one", "two"))
    refused(text(f"witness a {one.verifier}", f"witness b {two.verifier}", "quorum a"), "ambiguous key")


def test_PL_21_quorum_none_verifies_with_no_cosignature_and_shows_that_there_is_none():
    """What the command line warns about and `--require-witness` refuses is there to be seen."""
    policy = make.policy(L, *W, "quorum none")
    found = verify_checkpoint(make.sign(make.head(5), LOG), policy)
    assert policy.quorum == "none"
    assert found.cosignatures == {}


def test_a_policy_is_a_value():
    assert isinstance(parse_policy(GOOD), Policy)
    assert [key.type for key in parse_policy(GOOD).verifiers()] == [ED, *[COSIGN] * 4]
    assert MLDSA not in {key.type for key in parse_policy(GOOD).verifiers()}


def test_PL_18_a_file_of_exactly_the_limit_is_read_and_refusals_name_who_cosigned():
    fill = policy_module.MAX_LENGTH - len(GOOD) - 1
    same(b"#" * fill + b"\n" + GOOD)
    refused(b"#" * (fill + 1) + b"\n" + GOOD, "too long")
    with pytest.raises(NotWitnessed) as caught:
        parse_policy(GOOD).check_quorum({"w2", "w1"})
    assert caught.value.actual == "w1, w2"
    with pytest.raises(NotWitnessed) as caught:
        parse_policy(GOOD).check_quorum(set())
    assert caught.value.actual == "no valid cosignature"
