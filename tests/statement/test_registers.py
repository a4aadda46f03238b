"""Register completeness per platform: admission refuses less than what protocol section 3 asks for."""

from __future__ import annotations

import pytest

from teelog.errors import MalformedError
from teelog.statement import registers

H32, H48, H64 = "a1" * 32, "a1" * 48, "a1" * 64
COMPLETE: list[tuple[str, dict[str, str]]] = [
    ("sev-snp", {"measurement": H48}),
    ("tdx", {"mrtd": H48, "rtmr0": H48, "rtmr1": H48, "rtmr2": H48}),
    ("nitro", {"pcr0": H48, "pcr1": H48, "pcr2": H48}),
    ("sgx", {"mrenclave": H32}),
    ("sgx", {"mrsigner": H32, "isvprodid": "0001", "isvsvn": "0005"}),
    ("cca", {"rim": H32}),
    ("cca", {"rim": H64}),
    ("azure", {"pcr4": H32}),
]
MORE: list[tuple[str, dict[str, str]]] = [
    ("tdx", {"mrtd": H48, "rtmr0": "any", "rtmr1": H48, "rtmr2": H48, "rtmr3": H48}),
    ("nitro", {"pcr0": H48, "pcr1": H48, "pcr2": H48, "pcr8": H48}),
    ("sgx", {"mrenclave": H32, "mrsigner": H32}),
    ("cca", {"rim": H64, "rem0": "any"}),
    ("azure", {"pcr4": H32, "pcr11": H32}),
]


@pytest.mark.parametrize(("platform", "values"), COMPLETE + MORE)
def test_complete_set_is_accepted(platform: str, values: dict[str, str]) -> None:
    registers.check(platform, values)


@pytest.mark.parametrize(("platform", "values"), COMPLETE)
def test_every_required_register_is_required(platform: str, values: dict[str, str]) -> None:
    for name in values:
        with pytest.raises(MalformedError) as caught:
            registers.check(platform, {n: v for n, v in values.items() if n != name}, "/v")
        assert caught.value.where == "/v/registers"


@pytest.mark.parametrize(("platform", "values"), COMPLETE)
def test_value_is_lower_case_hex_of_exact_length(platform: str, values: dict[str, str]) -> None:
    for name, value in values.items():
        for wrong in (
            value[:-2],
            value + "00",
            value[:-1],
            value.upper() if "a" in value else "ABCD",
            "",
            "ANY",
            f"{value[:-1]}\n",
            "0x" + value[2:],
        ):
            with pytest.raises(MalformedError) as caught:
                registers.check(platform, {**values, name: wrong}, "/v")
            assert caught.value.where == f"/v/registers/{name}"


@pytest.mark.parametrize(("platform", "values"), COMPLETE)
def test_register_of_another_platform_is_refused(platform: str, values: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        registers.check(platform, {**values, "chip_id": H64})


@pytest.mark.parametrize(("platform", "values"), COMPLETE)
def test_variant_that_every_program_matches_is_refused(platform: str, values: dict[str, str]) -> None:
    with pytest.raises(MalformedError, match="every program"):
        registers.check(platform, dict.fromkeys(values, "any"))


def test_sgx_product_number_alone_fixes_no_program() -> None:
    with pytest.raises(MalformedError, match="every program"):
        registers.check("sgx", {"mrsigner": "any", "isvprodid": "0001", "isvsvn": "0005"})


def test_register_left_open_is_written_as_any() -> None:
    registers.check("tdx", {"mrtd": H48, "rtmr0": "any", "rtmr1": "any", "rtmr2": "any"})


@pytest.mark.parametrize("name", ["", "SEV-SNP", "sev", "sev-snp\n", "x" * 1000])
def test_unknown_platform_is_refused(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        registers.check(name, {"measurement": H48}, "/v")
    assert caught.value.where == "/v/platform"
