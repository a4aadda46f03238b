"""What a user gets: the wheel, in an environment that holds nothing else (docs/decisions/0001-layout.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.project.sources import ROOT, sources

pytestmark = pytest.mark.timeout(600)


def call(*command: str | Path, cwd: Path, code: int | None = 0) -> str:
    """Runs without this checkout's influence; stdout and stderr together."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert code is None or done.returncode == code, f"{command} gave {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built through the sdist from a copy of the sources: a stale build/ cannot leak into it."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("teelog", "cli", "log_server", "witness", "tests"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    # No isolation: the build needs no network, setuptools is among the dev dependencies.
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", place / "dist", source, cwd=place)
    (found,) = (place / "dist").glob("*.whl")
    return found


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment of its own. place: an empty folder to run in."""

    bin: Path
    place: Path


def install(wheel: Path, extras: str, place: Path) -> Installed:
    venv.create(place / "venv", with_pip=False, symlinks=True)
    installed = Installed(place / "venv" / "bin", place)
    pip = [sys.executable, "-m", "pip", "--python", installed.bin / "python", "install", "--quiet", "--no-compile"]
    call(*pip, "--disable-pip-version-check", f"{wheel}{extras}", cwd=place)
    return installed


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install teelog`: what a verifier installs."""
    return install(wheel, "", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install teelog[cli,server,witness]`."""
    return install(wheel, "[cli,server,witness]", tmp_path_factory.mktemp("full"))


def test_the_wheel_holds_one_import_package_and_all_of_it(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"teelog"}
    assert not [name for name in names if "tests" in name]
    shipped = {name.removesuffix(".py").replace("/", ".") for name in names if name.endswith(".py")}
    assert {name.removesuffix(".__init__") for name in shipped} == {source.module for source in sources()}
    assert "teelog/py.typed" in names


@pytest.mark.parametrize("name", ["cli", "log_server", "witness", "tests"])
def test_the_folders_are_no_packages_of_their_own(full: Installed, name: str):
    told = call(full.bin / "python", "-c", f"import {name}", cwd=full.place, code=1)
    assert f"No module named '{name}'" in told


def test_the_packages_are_found_under_teelog(full: Installed):
    names = ", ".join(sorted({f"{source.module}" for source in sources()} - {"teelog.cli.__main__"}))
    call(full.bin / "python", "-W", "error", "-c", f"import {names}", cwd=full.place)


def test_a_verifier_needs_the_base_dependencies_only(base: Installed):
    verifying = ("teelog.tlog", "teelog.statement", "teelog.keys", "teelog.strict", "teelog.errors")
    verifying += ("teelog.appraisal", "teelog.evidence", "teelog.trust", "teelog.verdict")
    core = [source.module for source in sources() if source.module.startswith(verifying)]
    call(base.bin / "python", "-c", f"import {', '.join(core)}", cwd=base.place)
    assert "No module named" in call(base.bin / "python", "-c", "import aiohttp", cwd=base.place, code=1)


VERIFY = """
import pathlib, sys, time
import teelog
from teelog import Check, Expect, LoggedFile

place, nonce = pathlib.Path(sys.argv[1]), bytes.fromhex(sys.argv[2])
read = lambda name: (place / name).read_bytes()
given = dict(
    evidence=read("report.bin"),
    endorsements=[read("chain.pem")],
    release=LoggedFile(read("release.json"), read("release.tlog-proof")),
    namespaces=[LoggedFile(read("ns.json"), read("ns.tlog-proof"))],
    trust=teelog.trust.parse(read("trust.toml"), read),
    now=int(time.time()),
    without=[Check.ALLOWED_NOW, Check.BINDING],
)
stream = "acme.example/inference/stable"
print(teelog.verify(**given, expect=Expect(stream, nonce=nonce)).overall)
try:
    teelog.verify(**given, expect=Expect(stream, nonce=b"another"))
except teelog.NotVerified as error:
    print(error.message)
"""


def test_a_machine_is_verified_with_the_base_dependencies_only(base: Installed, tmp_path: Path):
    from tests.cli import machine

    made = machine.world(tmp_path)
    told = call(base.bin / "python", "-W", "error", "-c", VERIFY, made.folder, machine.NONCE.hex(), cwd=base.place)
    assert told == "verified-with-waivers\nfreshness: the report data answers another request\n"


def test_the_command_without_its_extra_says_what_to_install(base: Installed):
    told = call(base.bin / "teelog", "version", cwd=base.place, code=6)
    assert told == "error: the command line is not installed\nnext: pip install 'teelog[cli]'\n"


def test_the_command_runs(full: Installed):
    assert call(full.bin / "teelog", "version", cwd=full.place).startswith("teelog ")


@pytest.mark.long
def test_the_demo_runs_from_the_wheel(full: Installed):
    call(full.bin / "teelog", "demo", cwd=full.place)
