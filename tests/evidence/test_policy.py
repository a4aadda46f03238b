"""Fields against a policy: the stricter of trust file and release, and nothing passes that is not understood."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from teelog.errors import ConfigError
from teelog.evidence import platform, tables
from teelog.evidence.sev_snp import policy, report
from teelog.statement import require
from teelog.testing.sev_snp import Machine
from teelog.testing.sev_snp_cases import DEBUG, MIGRATE_MA, POLICY, SMT
from teelog.verdict import Finding, Outcome

TCB = {"bl": 4, "tee": 0, "snp": 24, "ucode": 219}


def judge(floor: Mapping[str, object] | None = None, need: Mapping[str, object] | None = None, **fields) -> Finding:
    machine = fields.pop("machine", Machine())
    return platform.parse(machine.report(**fields)).configuration(floor or {}, need or {})


def test_default_policy_forbids_debug_and_migration():
    assert judge().outcome is Outcome.VERIFIED
    assert judge(guest_policy=POLICY | DEBUG).outcome is Outcome.FAILED
    assert judge(guest_policy=POLICY | MIGRATE_MA).outcome is Outcome.FAILED
    assert judge(vmpl=report.BY_HYPERVISOR).outcome is Outcome.FAILED


@pytest.mark.parametrize("need", [{"debug": True}, {"guest_policy": {"debug": True, "migrate_ma": True}}])
def test_no_release_can_relax_the_default(need: dict):
    assert judge(need=need, guest_policy=POLICY | DEBUG).outcome is Outcome.FAILED
    assert judge(need=need, guest_policy=POLICY | MIGRATE_MA).outcome is Outcome.FAILED


@pytest.mark.parametrize("floor", [{"debug": True}, {"guest_policy": {"debug": True}}])
def test_A_50_no_trust_file_can_allow_debug(floor: dict):
    with pytest.raises(ConfigError, match="debuggable"):
        platform.check_floor("sev-snp", floor)


def test_a_trust_file_may_allow_migration_and_a_release_still_forbid_it():
    floor = {"guest_policy": {"migrate_ma": True}}
    assert judge(floor, guest_policy=POLICY | MIGRATE_MA).outcome is Outcome.VERIFIED
    need = {"guest_policy": {"migrate_ma": False}}
    assert judge(floor, need, guest_policy=POLICY | MIGRATE_MA).outcome is Outcome.FAILED


# (table, fields that satisfy it, fields that break it)
RULES = [
    ({"min_tcb": TCB}, {}, {"machine": Machine(tcb=report.Tcb(4, 0, 23, 219))}),
    ({"min_launch_tcb": TCB}, {}, {"launch_tcb": report.Tcb(4, 0, 23, 219)}),
    ({"guest_policy": {"smt": False}}, {"guest_policy": POLICY & ~SMT}, {}),
    ({"guest_policy": {"cxl_allow": False}}, {}, {"guest_policy": POLICY | 1 << 21}),
    ({"guest_policy": {"single_socket": True}}, {"guest_policy": POLICY | 1 << 20}, {}),
    ({"guest_policy": {"mem_aes_256_xts": True}}, {"guest_policy": POLICY | 1 << 22}, {}),
    ({"guest_policy": {"rapl_dis": True}}, {"guest_policy": POLICY | 1 << 23}, {}),
    ({"guest_policy": {"ciphertext_hiding": True}}, {"guest_policy": POLICY | 1 << 24}, {}),
    ({"guest_policy": {"page_swap_disable": True}}, {"guest_policy": POLICY | 1 << 25}, {}),
    (
        {"guest_policy": {"abi_major": 1, "abi_minor": 55}},
        {"guest_policy": POLICY | 0x0137},
        {"guest_policy": POLICY | 0xFF},
    ),
    ({"platform_info": {"alias_check_complete": True}}, {}, {"platform_info": 0x05}),
    ({"platform_info": {"smt": False}}, {"platform_info": 0x24}, {}),
    ({"platform_info": {"tio": True}}, {"platform_info": 0xA5}, {}),
    ({"host_data": "ab" * 32}, {"host_data": b"\xab" * 32}, {}),
    ({"id_key_digest": "ab" * 48}, {"id_key_digest": b"\xab" * 48}, {}),
    ({"author_key_digest": "ab" * 48}, {"author_key_digest": b"\xab" * 48}, {}),
    ({"vmpl": 1}, {"vmpl": 1}, {"vmpl": 0}),
    ({"provisional_firmware": False}, {}, {"current_tcb": report.Tcb(4, 0, 25, 219)}),
]  # fmt: skip


@pytest.mark.parametrize(("table", "good", "bad"), RULES, ids=[str(rule[0]) for rule in RULES])
def test_rule_holds_from_either_table(table: dict, good: dict, bad: dict):
    platform.check_floor("sev-snp", table)
    for floor, need in ((table, {}), ({}, table), (table, table)):
        assert judge(floor, need, **good).outcome is Outcome.VERIFIED
        finding = judge(floor, need, **bad)
        assert finding.outcome is Outcome.FAILED
        assert finding.expected is not None
        assert finding.actual is not None


def test_every_member_has_a_rule():
    tested = {name for table, _, _ in RULES for name in table}
    assert tested | {"debug"} == set(policy.Policy.__struct_fields__)


def test_stricter_of_the_two_applies():
    low, high = {**TCB, "snp": 1}, {**TCB, "snp": 25}
    for floor, need in ((low, high), (high, low)):
        assert judge({"min_tcb": floor}, {"min_tcb": need}).outcome is Outcome.FAILED
    assert judge({"min_tcb": low}, {"min_tcb": TCB}).outcome is Outcome.VERIFIED


def test_floor_with_fmc_is_not_met_by_a_processor_without_it():
    assert judge({"min_tcb": {**TCB, "fmc": 0}}).outcome is Outcome.FAILED
    turin = {"bl": 3, "tee": 2, "snp": 5, "ucode": 97, "fmc": 1}
    assert judge({"min_tcb": turin}, machine=Machine("Turin")).outcome is Outcome.VERIFIED
    assert judge({"min_tcb": {**turin, "fmc": 2}}, machine=Machine("Turin")).outcome is Outcome.FAILED


UNKNOWN = [
    {"tcb_status": ["UpToDate"]}, {"colour": "red"}, {"guest_policy": {"warp": False}},
    {"platform_info": {"warp": True}},
    {"guest_policy": {"smt": "no"}}, {"min_tcb": {"bl": 4}}, {"min_tcb": {**TCB, "ucode": 256}},
    {"min_tcb": {**TCB, "warp": 1}}, {"host_data": "AB" * 32}, {"host_data": "ab" * 31}, {"vmpl": 4}, {"vmpl": True},
    {"guest_policy": 5}, {"platform_info": []}, {"debug": 0}, {"vmpl": None}, {"platform_info": {"smt": None}},
]  # fmt: skip


@pytest.mark.parametrize("table", UNKNOWN, ids=map(str, UNKNOWN))
def test_member_without_a_meaning_is_not_established_in_a_release_and_refused_in_a_trust_file(table: dict):
    assert judge(need=table).outcome is Outcome.NOT_ESTABLISHED
    with pytest.raises(ConfigError, match="not understood"):
        platform.check_floor("sev-snp", table)
    with pytest.raises(ConfigError):
        judge(table)


def test_breach_is_told_before_what_is_not_understood():
    assert judge(need={"colour": "red", "host_data": "ab" * 32}).outcome is Outcome.FAILED


def test_unknown_policy_bits_are_not_established_and_unknown_platform_bits_are_told():
    assert judge(guest_policy=POLICY | 1 << 26).outcome is Outcome.NOT_ESTABLISHED
    finding = judge(platform_info=0x65)
    assert finding.outcome is Outcome.VERIFIED
    assert any("not known here: 6" in each for each in finding.details)


def test_whatever_a_release_may_require_of_this_platform_is_understood_here():
    """The two readers of one block agree."""
    block = {
        "debug": False, "min_tcb": TCB, "guest_policy": {"smt": False, "abi_minor": 31},
        "platform_info": {"alias_check_complete": True}, "host_data": "ab" * 32,
    }  # fmt: skip
    assert require.read(block)[1] == tables.read(block, policy.Policy, policy.NESTED)[1] == ()


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
def test_isolation_is_said_in_plain_words(product: str):
    words = "\n".join(platform.parse(Machine(product).report()).facts)
    for each in ("debug: off", "migration: off", "SMT: on", "VMPL 0", "alias check: complete"):
        assert each in words
    bad = Machine(product).report(guest_policy=0x20000 | DEBUG | MIGRATE_MA | 3 << 20, vmpl=3, platform_info=0)
    words = "\n".join(platform.parse(bad).facts)
    for each in ("debug: ON", "may move the guest", "SMT: off", "VMPL 3", "NOT reported", "one socket", "CXL"):
        assert each in words
