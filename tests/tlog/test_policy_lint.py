"""What a policy is worth: PL-22 against counting every pair of quorums, and the policies that `policy new` writes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import ConfigError
from teelog.tlog.policy import MAX_DEFINITIONS, Policy, parse_policy
from teelog.tlog.policy_lint import Operator, lint, write_policy
from tests.tlog import make
from tests.tlog.make import COSIGN, LOG, LOG_PQ, MLDSA

L = make.log_line()


def witnesses(count: int, kind: make.SignatureType = COSIGN) -> list[str]:
    return [f"witness w{n} {make.signer(f'w{n}.example', kind).verifier}" for n in range(1, count + 1)]


def k_of(k: int, n: int) -> Policy:
    return make.policy(L, *witnesses(n), f"group g {k} " + " ".join(f"w{at}" for at in range(1, n + 1)), "quorum g")


def counted(policy: Policy) -> int:
    """f, the slow way: over all pairs of sets that satisfy the quorum, the fewest operators in both, less one."""
    names = list(policy.witnesses)
    good = []
    for chosen in itertools.product((False, True), repeat=len(names)):
        cosigned = {name for name, used in zip(names, chosen, strict=True) if used}
        if policy.satisfied(cosigned)[policy.quorum]:
            good.append({policy.witnesses[name].key.name for name in cosigned})
    return min(len(one & two) for one in good for two in good) - 1


@pytest.mark.parametrize(
    ("k", "n", "f"), [(1, 1, 0), (2, 3, 0), (2, 4, -1), (3, 4, 1), (4, 4, 3), (1, 2, -1), (3, 5, 0), (4, 6, 1)]
)
def test_PL_22_f_is_2k_minus_n_minus_1(k: int, n: int, f: int):
    found = lint(k_of(k, n))
    assert found.tolerated == f == counted(k_of(k, n))
    assert bool(found.problems) == (f < 0)
    assert found.operators == tuple(f"w{at}.example" for at in range(1, n + 1))


def test_PL_22_2_of_4_needs_no_colluder():
    found = lint(k_of(2, 4))
    assert found.tolerated == -1
    assert any("no colluder is needed" in problem for problem in found.problems)


def pairs(count: int) -> list[str]:
    """Operators with an Ed25519 and an ML-DSA key each: `a1`, `b1`, ..."""
    lines = []
    for n in range(1, count + 1):
        lines.append(f"witness a{n} {make.signer(f'w{n}.example', COSIGN).verifier}")
        lines.append(f"witness b{n} {make.signer(f'w{n}.example', MLDSA).verifier}")
    return lines


def test_PL_22_two_keys_of_one_name_in_an_any_group_count_once():
    groups = [f"group w{n} any a{n} b{n}" for n in range(1, 5)]
    policy = make.policy(L, *pairs(4), *groups, "group g 3 w1 w2 w3 w4", "quorum g")
    found = lint(policy)
    assert (found.tolerated, found.problems, found.counted_twice) == (1, (), ())
    assert counted(policy) == 1
    assert len(found.operators) == 4


def test_PL_22_two_keys_of_one_name_outside_a_common_any_group_are_named():
    for lines in (
        ["group g 3 a1 b1 a2 b2", "quorum g"],
        ["group x all a1 b1", "group y any a2 b2", "group g all x y", "quorum g"],
        ["group x any a1 a2", "group y any b1 b2", "group g all x y", "quorum g"],
        ["group x any a1 b1 a2", "group g all x b2", "quorum g"],
        ["group x any a1 b1", "group g all x a2", "quorum g"],
    ):
        policy = make.policy(L, *pairs(2), *lines)
        found = lint(policy)
        assert "w2.example" in found.counted_twice or "w1.example" in found.counted_twice
        assert any("is one operator with 2 keys" in problem for problem in found.problems)
        assert found.tolerated <= counted(policy)


def test_PL_22_nested_groups():
    policy = make.policy(L, *witnesses(6), "group x 2 w1 w2 w3", "group y any w4 w5 w6", "group g all x y", "quorum g")
    assert lint(policy).tolerated == counted(policy) == 0
    policy = make.policy(L, *witnesses(6), "group x 2 w1 w2 w3", "group y 2 w4 w5 w6", "group g all x y", "quorum g")
    assert lint(policy).tolerated == counted(policy) == 1
    policy = make.policy(L, *witnesses(6), "group x 2 w1 w2 w3", "group y 2 w4 w5 w6", "group g any x y", "quorum g")
    assert lint(policy).tolerated == counted(policy) == -1
    policy = make.policy(L, *witnesses(2), "quorum w1")
    assert lint(policy).tolerated == 0
    assert any("outside the quorum, so never counted: w2" in problem for problem in lint(policy).problems)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy of up to seven witnesses, some of one operator, in nested groups."""
    count = draw(st.integers(1, 7))
    names = draw(st.lists(st.sampled_from("ABCDE"), min_size=count, max_size=count))
    lines = [L]
    for at, name in enumerate(names):
        lines.append(f"witness w{at} {make.signer(f'{name}.example', COSIGN, f'{name}{at}').verifier}")
    free = [f"w{at}" for at in range(count)]
    for at in range(draw(st.integers(1, 4))):
        members = draw(st.lists(st.sampled_from(free), min_size=1, max_size=5, unique=True))
        lines.append(f"group g{at} {draw(st.integers(1, len(members)))} " + " ".join(members))
        free = [name for name in free if name not in members] + [f"g{at}"]
    return make.policy(*lines, f"quorum {free[-1]}")


@given(policies())
@settings(deadline=None, max_examples=150)
def test_PL_22_f_is_never_overstated_and_exact_where_no_operator_counts_twice(policy: Policy):
    found = lint(policy)
    assert found.tolerated <= counted(policy)
    if not found.counted_twice:
        assert found.tolerated == counted(policy)
    if found.tolerated < 0 or found.counted_twice:
        assert found.problems


def test_PL_22_quorum_none_and_missing_logs_are_named():
    found = lint(make.policy(L, *witnesses(2), "quorum none"))
    assert (found.tolerated, found.operators) == (-1, ())
    assert any("quorum none" in problem for problem in found.problems)
    assert any("no log line" in problem for problem in lint(make.policy(*witnesses(1), "quorum w1")).problems)


def test_CS_14_PL_22_a_log_that_witnesses_itself_is_named():
    cosigner = make.signer("self.example", COSIGN, make.ORIGIN)
    for line in (f"witness self {LOG_PQ.verifier}", f"witness self {cosigner.verifier}"):
        logs = [L, make.log_line(LOG_PQ)]
        found = lint(make.policy(*logs, line, *witnesses(3), "group g 3 self w1 w2 w3", "quorum g"))
        assert any("a log's own key stands as a witness: self" in problem for problem in found.problems)


def test_PL_18_lint_takes_the_deepest_policy_there_can_be():
    chain = ["group g0 any w1", *(f"group g{at} any g{at - 1}" for at in range(1, MAX_DEFINITIONS))]
    found = lint(make.policy(L, *witnesses(1), *chain, f"quorum g{MAX_DEFINITIONS - 1}"))
    assert (found.tolerated, found.problems) == (0, ())


def operators(count: int, *kinds: make.SignatureType) -> list[Operator]:
    return [
        Operator(tuple(make.signer(f"w{n}.example", kind).verifier for kind in kinds), None)
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("kinds", [(COSIGN,), (MLDSA,), (COSIGN, MLDSA)])
def test_PL_22_policy_new_counts_each_operator_once(kinds: tuple[make.SignatureType, ...]):
    data = write_policy([(LOG.verifier, "https://log.example/"), (LOG_PQ.verifier, None)], operators(4, *kinds), 3)
    policy = parse_policy(data)
    found = lint(policy)
    assert (found.tolerated, found.problems) == (1, ())
    assert len(found.operators) == 4
    assert counted(policy) == 1
    assert policy.logs[0].url == "https://log.example/"
    assert b"#" not in data


@pytest.mark.parametrize("quorum", [-1, 0, 5])
def test_PL_08_policy_new_refuses_a_quorum_that_cannot_be(quorum: int):
    with pytest.raises(ConfigError, match="quorum"):
        write_policy([(LOG.verifier, None)], operators(4, COSIGN), quorum)


def test_policy_new_refuses_what_would_not_read_back():
    one, two = operators(2, COSIGN)
    mixed = Operator((one.keys[0], two.keys[0]), None)
    with pytest.raises(ConfigError, match="one name"):
        write_policy([(LOG.verifier, None)], [mixed], 1)
    with pytest.raises(ConfigError):
        write_policy([(LOG.verifier, None)], [one, one], 2)
    with pytest.raises(ConfigError):
        write_policy([(LOG.verifier, "https://log.example/ x")], [one], 1)
    for name in ("none", "witnesses"):
        taken = Operator((make.signer(name, COSIGN).verifier,), None)
        with pytest.raises(ConfigError):
            write_policy([(LOG.verifier, None)], [taken], 1)
