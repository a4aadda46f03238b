"""Digests of files, and what initdata fill."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teelog.errors import MalformedError, NotEstablished, TeelogError
from teelog.measure import initdata
from tests.commands import teelog
from tests.measure.damage import unharmed
from tests.measure.releases import stating
from tests.vectors import vectors

INITDATA = b'algorithm = "sha384"\nversion = "0.1.0"\n\n[data]\n"policy.rego" = "package p"\n'
RIMS = ("NV_GPU_DRIVER_GH100_570.124.03.xml", "NV_SWITCH_BIOS_5612_0002_890_9610550001.xml")


def test_coco_kata_initdata_toml_fills_the_fields_as_stated_recomputed():
    stated = json.loads(vectors("measure/coco-kata/expected.json").read_bytes())
    ran = teelog("measure", "file", vectors("measure/coco-kata/initdata.toml"), "--initdata", "--json")
    (value,) = ran.json["values"]
    assert (ran.json["kind"], value["how"], value["when"]) == ("initdata", "recomputed", {"algorithm": "sha384"})
    assert value["values"] == {
        "digest_sha384": stated["digest_sha384"],
        **{name: stated[name] for name in initdata.FIELDS},
    }


def test_nv_switch_bios_rim_yields_its_golden_values_extracted():
    path = vectors(f"measure/nvidia/{RIMS[1]}")
    ran = teelog("measure", "file", path, "--rim", "--at", "2026-11-01", "--json")
    assert ran.code == 0, ran.stderr
    (value,) = ran.json["values"]
    assert (ran.json["kind"], value["how"]) == ("nvidia-rim", "extracted")
    assert value["when"] == {"edition": "SWITCH", "product": "LS10", "version": "96.10.55.00.01"}
    stated = set()
    for resource in re.findall(r"<[a-zA-Z0-9]*:?Resource [^>]*>", path.read_text()):
        words = dict(re.findall(r"([A-Za-z0-9:]+)=[\"']([^\"']*)[\"']", resource))
        if (words.get("type"), words.get("active")) == ("Measurement", "True"):
            hashes = [words[name].lower() for name in words if re.fullmatch(r"(.*:)?Hash[0-9]+", name)]
            stated |= {(words["index"], each) for each in hashes}
    found = {(name.removeprefix("index_").split(".")[0], digest) for name, digest in value["values"].items()}
    assert found == stated
    assert len({index for index, _ in found}) == 31


def test_nv_gpu_driver_rim_whose_signature_does_not_hold_yields_no_value():
    # A sample of NVIDIA's own tests, changed after it was signed: valid for one day of 2025.
    path = vectors(f"measure/nvidia/{RIMS[0]}")
    ran = teelog("measure", "file", path, "--rim", "--at", "2025-01-01T12:00:00Z")
    assert (ran.code, ran.stdout) == (1, b"")
    assert "signature" in ran.stderr
    assert teelog("measure", "file", path, "--rim").code == 1
    assert teelog("measure", "file", path, "--at", "2025-01-01").code == 2
    assert teelog("measure", "file", path, "--rim", "--initdata").code == 2


@pytest.mark.parametrize("name", RIMS)
def test_nvidia_rim_is_named_by_its_digest_as_nothing_in_it_can_be_recomputed(name: str):
    path = vectors(f"measure/nvidia/{name}")
    ran = teelog("measure", "file", path, "--json")
    (value,) = ran.json["values"]
    assert (value["how"], value["values"]["sha256"]) == ("recomputed", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_file_has_its_digests_and_a_release_may_name_any(name: str, tmp_path: Path):
    (tmp_path / "f").write_bytes(b"f" * 300_000)
    own = hashlib.new(name, b"f" * 300_000).hexdigest()
    assert teelog("measure", "file", tmp_path / "f", "--json").json["values"][0]["values"][name] == own
    for digest, code in (({name: own}, 0), ({name: own, "other": "00"}, 0), ({name: "00" * (len(own) // 2)}, 1)):
        release = stating(tmp_path / "release.json", digest=digest)
        assert teelog("measure", "file", tmp_path / "f", "--expect", release).code == code
    release = stating(tmp_path / "release.json", digest={"sha1": "00" * 20})
    assert teelog("measure", "file", tmp_path / "f", "--expect", release).code == 3


@pytest.mark.parametrize(("algorithm", "size"), [("sha256", 32), ("sha384", 48), ("sha512", 64)])
def test_digest_is_cut_or_filled_to_the_field(algorithm: str, size: int):
    raw = INITDATA.replace(b"sha384", algorithm.encode())
    digest = hashlib.new(algorithm, raw).digest()
    _, found = initdata.measure(raw)
    assert found["snp_host_data"] == digest[:32]
    assert found["tdx_mrconfigid"] == digest[:48].ljust(48, b"\0")
    assert found["cca_rpv"] == digest + bytes(64 - size)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (b"", MalformedError), (b"\xff", MalformedError), (b"a = ", MalformedError), (INITDATA[:20], MalformedError),
        (b"a = " + b"[" * 5000, MalformedError), (b"a = " + b"[" * 900, MalformedError),
        (b" " * (initdata.MAX_BYTES + 1), MalformedError), (b"\n" * 1_000_000, MalformedError),
        (INITDATA.replace(b"version", b"#"), MalformedError), (b"#\n" * 400_000, MalformedError),
        (b'algorithm = "sha256"\n' + INITDATA, MalformedError),
        (INITDATA.replace(b'"sha384"', b"384"), MalformedError),
        (INITDATA.replace(b"sha384", b"sha1"), NotEstablished), (INITDATA.replace(b"0.1.0", b"0.2.0"), NotEstablished),
    ],
)  # fmt: skip
def test_what_is_no_initdata_is_refused(bad: bytes, kind: type[TeelogError]):
    with pytest.raises(kind):
        initdata.measure(bad)


def test_A_48_damaged_initdata_are_refused_or_others():
    assert unharmed(INITDATA, initdata.measure) == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_A_48_arbitrary_bytes_raise_nothing_else(junk: bytes):
    for raw in (junk, INITDATA + junk):
        try:
            initdata.measure(raw)
        except TeelogError:
            continue
