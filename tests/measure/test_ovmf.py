"""OVMF images are read in one way or refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.measure import ovmf, sev_snp
from teelog.measure.guid import guid
from teelog.measure.kernel_hashes import KernelHashes
from tests.measure import images
from tests.measure.images import (
    CPUID,
    FOOTER,
    KERNEL_HASHES,
    METADATA,
    RESET_BLOCK,
    SEC_MEM,
    SECRETS,
    UNHURRIED,
    image,
    metadata,
)

GOOD = image()
HASHES = KernelHashes(bytes(32), bytes(32), bytes(32))


def test_guid_bytes_are_stored_as_uefi_does():
    assert guid(FOOTER).hex() == "de82b596b21ff745baeaa366c55a082d"


def test_an_image_gives_its_layout():
    firmware = ovmf.parse(GOOD)
    assert [(part.gpa, part.size, part.type) for part in firmware.layout.sections] == list(images.SECTIONS)
    assert firmware.layout.reset_eip == images.RESET_EIP
    assert firmware.layout.hashes_table_gpa == images.TABLE_GPA
    assert firmware.svsm_entry is None
    assert firmware.gpa() == (1 << 32) - len(GOOD)


def test_an_image_without_sev_entries_has_an_empty_layout():
    layout = ovmf.parse(image(entries=[])).layout
    assert layout == ovmf.Layout((), None, None)
    with pytest.raises(MalformedError, match="no SEV-SNP metadata"):
        sev_snp.launch_digest(bytes(48), layout, None, sev_snp.Vcpus(1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "impossible size"),
        (bytes(50), "impossible size"),
        (bytes(4096), "GUIDed table"),
        (GOOD[1:], "impossible size"),
        (GOOD + bytes(4096), "GUIDed table"),
        (bytes(ovmf.MAX_IMAGE + 4096), "impossible size"),
        (image(table_length=17), "impossible length"),
        (image(table_length=0), "impossible length"),
        (image(pages=1, table_length=0xFFFF), "impossible length"),
        (image(table_length=39), "impossible length"),
        (image(table_length=18 + 22 + 17), "inside an entry"),
        (image(entries=[(RESET_BLOCK, b"\1\0\0\0"), (RESET_BLOCK, b"\2\0\0\0")]), "twice"),
        (image(entries=[(FOOTER, b"")]), "twice"),
        (image(entries=[(RESET_BLOCK, b"\1\0\0")]), "too short"),
        (image(entries=[(METADATA, b"")]), "too short"),
        (image(metadata_from_end=0), "outside"),
        (image(metadata_from_end=15), "outside"),
        (image(metadata_from_end=len(GOOD) + 1), "outside"),
        (image(metadata_from_end=0xFFFFFFFF), "outside"),
        (image(block=metadata(magic=b"ASEW")), "not ASEV"),
        (image(block=metadata(version=2)), "not ASEV"),
        (image(block=metadata(count=0xFFFFFFFF)), "too many"),
        (image(block=metadata(count=7)), "length does not fit"),
        (image(block=metadata(size=0)), "length does not fit"),
        (image(block=metadata(size=0xFFFFFFFF)), "length does not fit"),
        (image(block=metadata([], count=100, size=16 + 1200)), "length does not fit"),
        (image(block=metadata([(0x800000, 0x1000, 5)])), "unknown type"),
        (image(block=metadata([(0x800001, 0x1000, SEC_MEM)])), "whole pages"),
        (image(block=metadata([(0x800000, 0x1001, SEC_MEM)])), "whole pages"),
        (image(block=metadata([(0x800000, 0, SEC_MEM)])), "whole pages"),
        (image(block=metadata([(0xFFFFF000, 0x2000, SEC_MEM)])), "whole pages"),
        (image(block=metadata([(0x800000, 0x2000, SECRETS)])), "not one page"),
        (image(block=metadata([(0x800000, 0x2000, CPUID)])), "not one page"),
        (image(block=metadata([(0x800000, 0x2000, KERNEL_HASHES)])), "not one page"),
        (image(block=metadata([(0, ovmf.MAX_SECTION_BYTES + 4096, SEC_MEM)])), "too large"),
        (image(block=metadata([(0, ovmf.MAX_SECTION_BYTES, SEC_MEM), (0, 4096, SEC_MEM)])), "too large"),
    ],
)
def test_what_no_launcher_takes_is_refused(data: bytes, message: str):
    with pytest.raises(MalformedError, match=message):
        ovmf.parse(data)


def test_a_reset_address_of_zero_is_refused():
    layout = ovmf.parse(image(entries=[(RESET_BLOCK, bytes(4))])).layout
    with pytest.raises(MalformedError, match="further processors"):
        layout.ap_eip()


def test_an_image_must_fit_below_its_end():
    firmware = ovmf.parse(GOOD)
    assert firmware.gpa(end=len(GOOD)) == 0
    with pytest.raises(MalformedError):
        firmware.gpa(end=len(GOOD) - 4096)
    with pytest.raises(MalformedError):
        firmware.gpa(end=len(GOOD) + 1)


def _read(data: bytes) -> None:
    """Parsing and measuring end in a value or a MalformedError, never in another exception."""
    try:
        firmware = ovmf.parse(data)
        for hashes in (None, HASHES):
            assert len(sev_snp.launch_digest(bytes(48), firmware.layout, hashes, sev_snp.Vcpus(2))) == 48
    except MalformedError:
        return


@UNHURRIED
@given(st.integers(0, len(GOOD)), st.booleans())
def test_a_truncated_image_is_no_surprise(length: int, keep_end: bool):
    _read(GOOD[len(GOOD) - length :] if keep_end else GOOD[:length])


@UNHURRIED
@given(st.lists(st.tuples(st.integers(1, 1024), st.integers(0, 7)), min_size=1, max_size=4))
def test_flipped_bits_are_no_surprise(flips: list[tuple[int, int]]):
    data = bytearray(GOOD)
    for from_end, bit in flips:
        data[-from_end] ^= 1 << bit
    _read(bytes(data))


@UNHURRIED
@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF) | st.integers(0, 200),
    st.integers(0, 0xFFFFFFFF) | st.integers(0, 300),
)
def test_lying_lengths_are_no_surprise(table: int, from_end: int, size: int, count: int):
    _read(image(table_length=table))
    _read(image(metadata_from_end=from_end))
    _read(image(metadata_from_end=from_end % 2048))
    _read(image(block=metadata(size=size, count=count)))


@UNHURRIED
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFFF).map(lambda page: page * 4096) | st.integers(0, 0xFFFFFFFF),
            st.integers(0, 16).map(lambda pages: pages * 4096) | st.integers(0, 0xFFFFFFFF),
            st.sampled_from([1, 2, 3, 4, 16]) | st.integers(0, 0xFFFFFFFF),
        ),
        max_size=8,
    ),
    st.integers(0, 0xFFFFFFFF),
)
def test_strange_sections_are_no_surprise(sections: list[tuple[int, int, int]], eip: int):
    entries = [(METADATA, struct.pack("<I", 1024)), (RESET_BLOCK, struct.pack("<I", eip))]
    _read(image(block=metadata(sections), entries=entries))


@UNHURRIED
@given(st.binary(max_size=300), st.integers(0, 0xFFFF))
def test_a_table_of_noise_is_no_surprise(noise: bytes, length: int):
    data = bytearray(image(table_length=length))
    data[-50 - len(noise) : -50] = noise
    _read(bytes(data))
