"""The ``require`` block of a variant: how a TEE must be configured beside its registers (protocol section 3).

In the log it is any flat JSON object. Reading it (``read``) is strict in what it promises: a member that this version
does not know, or whose value it cannot interpret, is listed in ``unknown``, and a verifier that meets one must answer
``not established``, never success. So a block written for a newer verifier stays loggable and fails closed.
What applies is the stricter of this block and the verifier's trust file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from teelog.errors import MalformedError
from teelog.statement.strict_json import Members, Scalar, pointer_step

Block = Annotated[dict[str, Scalar | list[Scalar] | Annotated[dict[str, Scalar], Members]], Members]
"""How the block lies in a statement: at most one level of nesting, no floats."""

_Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
_HexDigits = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{2}){1,64}\Z")]


class MinTcb(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Least security versions of an AMD processor, each 0 to 255; ``fmc`` from Turin on."""

    bl: _Byte
    tee: _Byte
    snp: _Byte
    ucode: _Byte
    fmc: _Byte | None = None


class Require(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this version understands. None: not asked for.

    debug: whether a debuggable TEE is asked for (false forbids it, and so does a verifier on its own).
    min_tcb: SEV-SNP. guest_policy: SEV-SNP policy bits by name, the most that may be set. platform_info: SEV-SNP
    platform bits by name, as they must be. host_data: hex of the platform's field, exact.
    What follows, by platform: tcb_status on, TDX and SGX (teelog.evidence.tdx.policy, teelog.evidence.sgx.policy);
    max_age on, Nitro (teelog.evidence.nitro.policy); implementation_id on, CCA (teelog.evidence.cca.policy);
    paravisor on, Azure (teelog.evidence.azure.policy).
    """

    debug: bool | None = None
    min_tcb: MinTcb | None = None
    guest_policy: dict[str, bool | int] | None = None
    platform_info: dict[str, bool] | None = None
    host_data: _HexDigits | None = None
    tcb_status: tuple[str, ...] | None = None
    deny_advisories: tuple[str, ...] | None = None
    min_tcb_evaluation_data_number: Annotated[int, msgspec.Meta(ge=0)] | None = None
    sept_ve_disable: bool | None = None
    migratable: bool | None = None
    service_td: tuple[_HexDigits, ...] | None = None
    mrseam: tuple[_HexDigits, ...] | None = None
    min_tee_tcb_svn: _HexDigits | None = None
    mrconfigid: _HexDigits | None = None
    mrowner: _HexDigits | None = None
    mrownerconfig: _HexDigits | None = None
    provision_key: bool | None = None
    config_id: _HexDigits | None = None
    min_config_svn: Annotated[int, msgspec.Meta(ge=0)] | None = None
    isv_family_id: _HexDigits | None = None
    isv_ext_prod_id: _HexDigits | None = None
    max_age: Annotated[int, msgspec.Meta(ge=1)] | None = None
    pcr3: _HexDigits | None = None
    pcr4: _HexDigits | None = None
    pcr8: _HexDigits | None = None
    role: str | None = None
    instance: str | None = None
    implementation_id: tuple[_HexDigits, ...] | None = None
    instance_id: tuple[_HexDigits, ...] | None = None
    config: tuple[_HexDigits, ...] | None = None
    signer_ids: tuple[_HexDigits, ...] | None = None
    components: dict[str, _HexDigits] | None = None
    personalization: _HexDigits | None = None
    hash_algorithm: str | None = None
    paravisor: tuple[_HexDigits, ...] | None = None
    tee: tuple[str, ...] | None = None
    secure_boot: bool | None = None
    console: bool | None = None


# As in ``ear``: before there are threads that could use the type for the first time, all at once.
msgspec.json.Decoder(Require)


def read(block: Mapping[str, object]) -> tuple[Require, tuple[str, ...]]:
    """The block's meaning, and the members that have none here: each makes the check ``not established``."""
    known: dict[str, object] = {}
    unknown = []
    for name, value in block.items():
        if value is None:  # demands nothing, so nobody means it
            unknown.append(name)
            continue
        try:
            msgspec.convert({name: value}, Require)
        except msgspec.ValidationError:
            unknown.append(name)
        else:
            known[name] = value
    return msgspec.convert(known, Require), tuple(unknown)


def check_known(block: Mapping[str, object], where: str) -> None:
    """For those who write a release: every member must mean something here. Raises MalformedError."""
    _, unknown = read(block)
    if unknown:
        raise MalformedError(
            "no verifier of this version could establish this requirement",
            where=f"{where}/{pointer_step(unknown[0])}",
            expected=", ".join(Require.__struct_fields__),
        )
