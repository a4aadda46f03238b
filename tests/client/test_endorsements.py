"""What is fetched for evidence from AMD's and Intel's services, honest and lying, and what is taken from the folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from teelog.client import kds, pccs
from teelog.client.endorsements import Fetching, Found
from teelog.client.http import HttpClient
from teelog.errors import (
    ConfigError,
    MalformedError,
    NotEstablished,
    RefusedError,
    SignatureError,
    TeelogError,
    UnavailableError,
    UntrustedKey,
    VerificationError,
)
from teelog.evidence import platform
from teelog.evidence.dcap.evidence import Quoted
from teelog.evidence.platform import Roots
from teelog.testing import intel, nitro, sev_snp
from teelog.testing.azure import Vm
from teelog.testing.intel import Platform
from teelog.testing.sev_snp import Machine
from teelog.verdict import Outcome
from tests.client import vendors
from tests.client.peers import Peer, Reply, peer
from tests.client.vendors import IN_FORCE, NOW, WEEK
from tests.evidence import intel_real

MACHINES = [Machine("Milan"), Machine("Genoa"), Machine("Turin")]
PINS = Roots(sev_snp.roots().pins)
PLATFORM = Platform()
NONCE = b"\x5a" * 32


@pytest.fixture
def server() -> Iterator[Peer]:
    with peer() as found:
        yield found


async def fetch(server: Peer, folder: Path, raw: bytes, *given: bytes, again: bool = False, now: int = NOW) -> Found:
    evidence = platform.parse(raw)
    roots = intel.roots() if evidence.platform in ("tdx", "sgx") else PINS
    async with HttpClient(10) as http:
        return await Fetching(http, folder, now, roots, server.url, given, again).fetch(evidence)


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


# -- AMD --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES, ids=lambda each: each.product)
async def test_what_came_verifies_the_report_offline(server: Peer, tmp_path: Path, machine: Machine):
    vendors.amd(server, machine)
    raw = machine.report(report_data=NONCE)
    found = await fetch(server, tmp_path / "new" / "folder", raw)
    assert [each.fetched for each in found.files] == [True, True, True]
    assert found.lacking is None
    files = [path.read_bytes() for path in found.endorsements]
    assert platform.parse(raw).hardware(files, NOW, PINS).outcome is Outcome.VERIFIED
    assert not any(path.name.startswith(".") for path in found.endorsements[0].parent.iterdir())


async def test_a_file_that_holds_is_not_fetched_again(server: Peer, tmp_path: Path):
    machine = MACHINES[0]
    vendors.amd(server, machine)
    await fetch(server, tmp_path, machine.report())
    asked = len(server.asked)
    again = await fetch(server, tmp_path, machine.report(report_data=NONCE))
    assert len(server.asked) == asked
    assert [each.fetched for each in again.files] == [False, False, False]
    assert all(each.fetched for each in (await fetch(server, tmp_path, machine.report(), again=True)).files)
    assert len(server.asked) == 2 * asked


async def test_another_chip_needs_its_own_certificate_and_the_same_chain(server: Peer, tmp_path: Path):
    first, second = Machine(), Machine(seed=b"2")
    vendors.amd(server, first)
    vendors.amd(server, second)
    await fetch(server, tmp_path, first.report())
    found = await fetch(server, tmp_path, second.report())
    assert [each.fetched for each in found.files] == [False, False, True]
    assert len(names(tmp_path)) == 4


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-9], lambda data: bytes(1 << 20)])
async def test_a_broken_file_is_fetched_anew(server: Peer, tmp_path: Path, spoil: Callable[[bytes], bytes]):
    machine = MACHINES[0]
    vendors.amd(server, machine)
    found = await fetch(server, tmp_path, machine.report())
    good = {each.path: each.path.read_bytes() for each in found.files}
    for path, data in good.items():
        path.write_bytes(spoil(data))
    assert all(each.fetched for each in (await fetch(server, tmp_path, machine.report())).files)
    assert {path: path.read_bytes() for path in good} == good


async def test_a_revocation_list_that_ran_out_is_fetched_anew(server: Peer, tmp_path: Path):
    machine = MACHINES[0]
    vendors.amd(server, machine)
    await fetch(server, tmp_path, machine.report())
    later = NOW + 2 * WEEK
    with pytest.raises(VerificationError, match="not in force"):
        await fetch(server, tmp_path, machine.report(), now=later)
    server.answers["/vcek/v1/Milan/crl"] = sev_snp.revoked("Milan", NOW, later + WEEK)
    found = await fetch(server, tmp_path, machine.report(), now=later)
    assert [each.fetched for each in found.files] == [False, True, False]


async def test_a_report_of_version_2_is_looked_for_in_both_products_of_its_time(server: Peer, tmp_path: Path):
    machine = Machine("Genoa")
    vendors.amd(server, Machine("Milan"))
    vendors.amd(server, machine)
    del server.answers[vendors.vcek_path(Machine("Milan"))]
    raw = machine.report(version=2, cpuid=bytes(3))
    found = await fetch(server, tmp_path, raw)
    files = [path.read_bytes() for path in found.endorsements]
    assert platform.parse(raw).hardware(files, NOW, PINS).outcome is Outcome.VERIFIED


async def test_a_chip_that_nobody_knows_is_refused_in_the_first_words(server: Peer, tmp_path: Path):
    machine = Machine("Genoa")
    vendors.amd(server, Machine("Milan"))
    vendors.amd(server, Machine("Genoa", seed=b"2"))
    with pytest.raises(RefusedError, match="/vcek/v1/Milan/"):
        await fetch(server, tmp_path, machine.report(version=2, cpuid=bytes(3)))


async def test_a_vlek_comes_from_the_cloud(server: Peer, tmp_path: Path):
    machine = Machine(vlek=True)
    vendors.amd(server, machine)
    found = await fetch(server, tmp_path, machine.report())
    assert found.lacking is not None
    assert names(tmp_path) == {"amd-vlek-milan-chain.pem", "amd-vlek-milan-revoked.crl"}
    given = machine.endorsement()
    found = await fetch(server, tmp_path, machine.report(), given)
    assert found.lacking is None
    files = [given, *(path.read_bytes() for path in found.endorsements)]
    assert platform.parse(machine.report()).hardware(files, NOW, PINS).outcome is Outcome.VERIFIED
    with pytest.raises(VerificationError):
        await fetch(server, tmp_path, machine.report(), machine.other(seed=b"2").endorsement())


async def test_a_hidden_chip_cannot_be_asked_for(server: Peer, tmp_path: Path):
    machine = MACHINES[0]
    vendors.amd(server, machine)
    raw = machine.report(chip_id=bytes(64))
    with pytest.raises(NotEstablished, match="hides"):
        await fetch(server, tmp_path, raw)
    assert (await fetch(server, tmp_path, raw, machine.endorsement())).lacking is None


async def test_an_unsigned_report_asks_nobody(server: Peer, tmp_path: Path):
    vendors.amd(server, MACHINES[0])
    with pytest.raises(VerificationError, match="not signed"):
        await fetch(server, tmp_path, MACHINES[0].report(keys=7 << 2))
    assert server.asked == []


MILAN, CHAIN, LIST = Machine(), "/vcek/v1/Milan/cert_chain", "/vcek/v1/Milan/crl"
LEAF = vendors.vcek_path(MILAN)
ASK, ARK = (sev_snp.pem(sev_snp.authority(kind, "Milan")) for kind in ("ask", "ark"))
ROGUE_ASK, ROGUE_ARK = (sev_snp.pem(sev_snp.authority(kind, "Milan", "rogue")) for kind in ("ask", "ark"))
ROGUE = ROGUE_ASK + ROGUE_ARK
LIES: list[tuple[str, str, bytes | Reply, type[TeelogError]]] = [
    ("another root", CHAIN, ROGUE, UntrustedKey),
    ("another product's chain", CHAIN, sev_snp.pem(sev_snp.authority("ark", "Genoa")), MalformedError),
    ("half a chain", CHAIN, ARK, MalformedError),
    ("a third certificate", CHAIN, ASK + ARK + ROGUE, MalformedError),
    ("an intermediate that the root did not sign", CHAIN, ROGUE_ASK + ARK, SignatureError),
    ("a page", CHAIN, b"<html>", MalformedError),
    ("a long chain", CHAIN, bytes(kds.MAX_FILE + 1), MalformedError),
    ("another chip's certificate", LEAF, Machine(seed=b"2").endorsement(), VerificationError),
    ("an older firmware's certificate", LEAF, Machine(tcb=sev_snp.Tcb(3, 0, 8, 115)).endorsement(), VerificationError),
    ("a rogue certificate", LEAF, Machine(rogue=True).endorsement(), SignatureError),
    ("a VLEK", LEAF, Machine(vlek=True).endorsement(), VerificationError),
    ("a bit of the certificate", LEAF, MILAN.endorsement()[:-1] + b"\0", TeelogError),
    ("nothing", LEAF, b"", MalformedError),
    ("busy", LEAF, Reply(b"", 429, {"Retry-After": "10"}), UnavailableError),
    ("broken", LEAF, Reply(b"", 500), UnavailableError),
    ("no such chip", LEAF, Reply(b"", 404), RefusedError),
    ("a list by another key", LIST, sev_snp.revoked("Milan", NOW - WEEK, NOW + WEEK, key="rogue"), SignatureError),
    ("another product's list", LIST, sev_snp.revoked("Genoa", NOW - WEEK, NOW + WEEK), VerificationError),
    ("a list of last year", LIST, sev_snp.revoked("Milan", NOW - 60 * WEEK, NOW - WEEK), VerificationError),
    ("a list of next year", LIST, sev_snp.revoked("Milan", NOW + WEEK, NOW + 9 * WEEK), VerificationError),
    ("no list", LIST, b"0", MalformedError),
    ("a revoked intermediate", LIST, sev_snp.revoked("Milan", NOW - 1, NOW + WEEK, (0x10000,)), VerificationError),
]  # fmt: skip


@pytest.mark.parametrize(("path", "answer", "error"), [each[1:] for each in LIES], ids=[each[0] for each in LIES])
async def test_A_16_a_lie_of_the_service_is_told_and_not_written(
    server: Peer, tmp_path: Path, path: str, answer: bytes | Reply, error: type[TeelogError]
):
    vendors.amd(server, MILAN)
    server.answers[path] = answer
    with pytest.raises(error):
        await fetch(server, tmp_path, MILAN.report())
    assert not any(name.endswith(".der") for name in names(tmp_path))
    body = answer.body if isinstance(answer, Reply) else answer
    kept = [each.read_bytes() for each in tmp_path.iterdir()]
    assert body not in kept or path == LIST  # a list that revokes something is a good list
    # The right answer, later, is taken: nothing of the lie stays in the way.
    vendors.amd(server, MILAN)
    assert (await fetch(server, tmp_path, MILAN.report(), again=True)).lacking is None


async def test_a_failed_fetch_leaves_the_good_file_alone(server: Peer, tmp_path: Path):
    vendors.amd(server, MILAN)
    found = await fetch(server, tmp_path, MILAN.report())
    before = {each.path: each.path.read_bytes() for each in found.files}
    server.answers[CHAIN] = ROGUE
    with pytest.raises(UntrustedKey):
        await fetch(server, tmp_path, MILAN.report(), again=True)
    assert {each: each.read_bytes() for each in before} == before


# -- Intel ------------------------------------------------------------------------------------------------------------


def quote_of(kind: str, platform_: Platform = PLATFORM) -> bytes:
    return platform_.tdx(report_data=NONCE) if kind == "tdx" else platform_.sgx(report_data=NONCE)


@pytest.mark.parametrize("kind", ["tdx", "sgx"])
@pytest.mark.parametrize("as_hex", [True, False], ids=["hex", "DER"])
async def test_collateral_comes_in_one_file_that_verifies_the_quote(
    server: Peer, tmp_path: Path, kind: str, as_hex: bool
):
    made = PLATFORM.collateral(kind.upper(), **IN_FORCE)
    vendors.pccs(server, PLATFORM, made, kind, as_hex=as_hex)
    found = await fetch(server, tmp_path, quote_of(kind))
    (path,) = found.endorsements
    assert path.name == f"collateral-{kind}-{PLATFORM.fmspc.hex()}-platform.json"
    assert json.loads(path.read_bytes()) == json.loads(made)
    evidence = platform.parse(quote_of(kind))
    assert evidence.hardware([path.read_bytes()], NOW, intel.roots()).outcome is Outcome.VERIFIED
    again = await fetch(server, tmp_path, quote_of(kind, Platform(seed=b"2")))
    assert [each.fetched for each in again.files] == [False]
    assert len(server.asked) == 4


async def test_collateral_that_says_out_of_date_is_as_good_as_any(server: Peer, tmp_path: Path):
    vendors.pccs(server, PLATFORM, PLATFORM.collateral(status="OutOfDate", **IN_FORCE))
    (path,) = (await fetch(server, tmp_path, quote_of("tdx"))).endorsements
    evidence = platform.parse(quote_of("tdx"))
    assert "TCB status: OutOfDate" in evidence.hardware([path.read_bytes()], NOW, intel.roots()).details


async def test_collateral_that_ran_out_is_fetched_anew(server: Peer, tmp_path: Path):
    old = PLATFORM.collateral(issued=NOW - 2 * WEEK, next_update=NOW - WEEK)
    name = f"collateral-tdx-{PLATFORM.fmspc.hex()}-platform.json"
    (tmp_path / name).write_bytes(old)
    vendors.pccs(server, PLATFORM, old)
    with pytest.raises(VerificationError, match="not in force"):
        await fetch(server, tmp_path, quote_of("tdx"))
    assert (tmp_path / name).read_bytes() == old
    vendors.pccs(server, PLATFORM, PLATFORM.collateral(**IN_FORCE))
    assert [each.fetched for each in (await fetch(server, tmp_path, quote_of("tdx"))).files] == [True]


@pytest.mark.parametrize("name", intel_real.ALL)
async def test_real_collateral_in_the_answers_of_a_cache_becomes_the_file_that_the_quote_needs(
    server: Peer, tmp_path: Path, name: str
):
    case = intel_real.load(name)
    given = case.first()
    evidence = platform.parse(case.raw)
    assert isinstance(evidence, Quoted)
    asked = pccs.wanted(evidence.quote)
    vendors.cache(server, asked.fmspc, given.collateral, asked.kind, asked.authority)
    async with HttpClient(10) as http:
        found = await Fetching(http, tmp_path, given.now, url=server.url).fetch(evidence)
    (path,) = found.endorsements
    before, after = (evidence.hardware([each], given.now) for each in (given.collateral, path.read_bytes()))
    assert after == before
    assert (after.outcome is Outcome.VERIFIED) == (name in intel_real.GENUINE)


COLLATERAL_LIES: dict[str, tuple[bytes, type[TeelogError]]] = {
    "another root": (PLATFORM.collateral(rogue=True, **IN_FORCE), UntrustedKey),
    "another kind of TEE": (PLATFORM.collateral("SGX", **IN_FORCE), VerificationError),
    "another platform": (Platform(fmspc=bytes(6)).collateral(**IN_FORCE), VerificationError),
    "another PCE": (PLATFORM.collateral(tcb_info={"pceId": "0001"}, **IN_FORCE), VerificationError),
    "another enclave": (PLATFORM.collateral(qe_identity={"id": "QE"}, **IN_FORCE), VerificationError),
    "another version": (PLATFORM.collateral(tcb_info={"version": 9}, **IN_FORCE), NotEstablished),
    "not yet in force": (PLATFORM.collateral(issued=NOW + WEEK, next_update=NOW + 2 * WEEK), VerificationError),
    "a revoked platform": (PLATFORM.collateral(revoked=(PLATFORM.serial,), **IN_FORCE), VerificationError),
    "a revoked authority": (PLATFORM.collateral(revoked_authorities=(2,), **IN_FORCE), VerificationError),
}


@pytest.mark.parametrize("lie", COLLATERAL_LIES)
async def test_A_16_collateral_that_does_not_hold_is_not_written(server: Peer, tmp_path: Path, lie: str):
    made, error = COLLATERAL_LIES[lie]
    vendors.pccs(server, PLATFORM, made)
    with pytest.raises(error):
        await fetch(server, tmp_path, quote_of("tdx"))
    assert names(tmp_path) == set()


TCB = f"/tdx/certification/v4/tcb?fmspc={PLATFORM.fmspc.hex().upper()}"


def _patched(server: Peer, path: str, **changes: object) -> None:
    reply = server.answers[path]
    assert isinstance(reply, Reply)
    server.answers[path] = Reply(**{"body": reply.body, "headers": reply.headers, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.replace(b'"UpToDate"', b'"OutOfDate"', 1),
        lambda body: body.replace(b'{"tcbInfo":{', b'{"tcbInfo":{ ', 1),
        lambda body: body[:-1],
        lambda body: body + b"{}",
        lambda body: body.replace(b"signature", b"signatur"),
        lambda body: b'{"tcbInfo":[' + b"[" * 10_000,
        lambda body: b"\xff" + body,
        lambda body: bytes(1 << 20),
        lambda body: b"",
    ],
    ids=["changed", "a space", "truncated", "more", "no signature", "deep", "no UTF-8", "long", "empty"],
)
async def test_A_05_a_statement_that_is_not_as_signed_is_refused(
    server: Peer, tmp_path: Path, spoil: Callable[[bytes], bytes]
):
    vendors.pccs(server, PLATFORM, PLATFORM.collateral(**IN_FORCE))
    reply = server.answers[TCB]
    assert isinstance(reply, Reply)
    _patched(server, TCB, body=spoil(reply.body))
    with pytest.raises((MalformedError, SignatureError)):
        await fetch(server, tmp_path, quote_of("tdx"))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("value", [None, "", "%ff", "no certificates", "-----BEGIN CERTIFICATE-----"])
async def test_an_issuer_chain_that_is_none_is_refused(server: Peer, tmp_path: Path, value: str | None):
    vendors.pccs(server, PLATFORM, PLATFORM.collateral(**IN_FORCE))
    _patched(server, TCB, headers={} if value is None else {"TCB-Info-Issuer-Chain": value})
    with pytest.raises(MalformedError):
        await fetch(server, tmp_path, quote_of("tdx"))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("body", [b"", b"0", b"zz", b"\xff", b"30"])
async def test_a_revocation_list_that_is_none_is_refused(server: Peer, tmp_path: Path, body: bytes):
    vendors.pccs(server, PLATFORM, PLATFORM.collateral(**IN_FORCE))
    server.answers["/sgx/certification/v4/rootcacrl"] = body
    with pytest.raises(MalformedError):
        await fetch(server, tmp_path, quote_of("tdx"))
    assert names(tmp_path) == set()


# -- both -------------------------------------------------------------------------------------------------------------


async def test_hosts_are_the_vendors_and_tls(tmp_path: Path):
    for url in (kds.BASE, pccs.BASE, pccs.ROOT_LIST):
        assert url.startswith("https://")
    assert kds.BASE == "https://kdsintf.amd.com"
    assert pccs.BASE.endswith(".trustedservices.intel.com")
    async with HttpClient(1) as http:
        for raw in (MILAN.report(), quote_of("tdx")):
            with pytest.raises(ConfigError, match="plain http"):
                await Fetching(http, tmp_path, NOW, PINS, "http://kds.example").fetch(platform.parse(raw))


async def test_A_16_a_redirect_to_another_host_is_refused(server: Peer, tmp_path: Path):
    vendors.amd(server, MILAN)
    with vendors.served(MILAN) as elsewhere:
        server.answers[LEAF] = Reply(b"", 302, {"Location": elsewhere.url + LEAF})
        with pytest.raises(MalformedError, match="redirects"):
            await fetch(server, tmp_path, MILAN.report())
        assert elsewhere.asked == []


@pytest.mark.parametrize("tee", ["sev-snp", "tdx"])
async def test_for_a_guest_on_azure_its_machines_endorsements_are_fetched(server: Peer, tmp_path: Path, tee: str):
    vm = Vm(tee)
    evidence = platform.parse(vm.evidence())
    vendors.amd(server, vm.machine())
    vendors.pccs(server, PLATFORM, PLATFORM.collateral(**IN_FORCE))
    roots = Roots(vm.roots().pins)
    async with HttpClient(10) as http:
        found = await Fetching(http, tmp_path, NOW, roots, server.url).fetch(evidence)
    files = [path.read_bytes() for path in found.endorsements]
    assert evidence.hardware(files, NOW, roots).outcome is Outcome.VERIFIED


async def test_evidence_that_brings_its_chain_asks_nobody(server: Peer, tmp_path: Path):
    with pytest.raises(NotEstablished, match="nothing is fetched for nitro"):
        await fetch(server, tmp_path, nitro.Hypervisor().document())
    assert server.asked == []


async def test_a_folder_that_cannot_be_made_is_told(server: Peer, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="cannot make"):
        await fetch(server, tmp_path / "file" / "folder", MILAN.report())
