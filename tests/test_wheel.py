"""What a user installs: built from the tree as a release builds it, then opened."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
VERSION: Final = runpy.run_path(str(ROOT / "src" / "holdfast" / "_version.py"))["__version__"]
INFO: Final = f"holdfast-{VERSION}.dist-info"


def build(target: str, place: Path) -> Path:
    # The backend itself, not `python -m build`: its isolated environment would be downloaded.
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = place.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def contents(wheel: Path) -> frozenset[str]:
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.fixture(scope="module")
def stated(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"{INFO}/METADATA").decode())


def test_the_wheel_holds_the_package_and_nothing_else(contents: frozenset[str]) -> None:
    source = ROOT / "src"
    ours = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.suffix in {".py", ".typed"}}
    own_information = {f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    assert contents == ours | own_information
    assert "holdfast/py.typed" in contents


def test_the_wheel_runs_on_any_platform(wheel: Path) -> None:
    assert wheel.name == f"holdfast-{VERSION}-py3-none-any.whl"


def test_the_metadata_says_what_the_project_file_says(stated: Message) -> None:
    assert stated["Version"] == VERSION
    assert stated["Requires-Python"] == PROJECT["requires-python"]
    assert stated["License-Expression"] == "BSD-3-Clause"
    assert stated["Description-Content-Type"] == "text/markdown"
    assert set(stated.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


def test_the_metadata_asks_for_the_dependencies_and_offers_the_extras(stated: Message) -> None:
    asked = [Requirement(line) for line in stated.get_all("Requires-Dist", [])]
    required = {str(one) for one in asked if one.marker is None}
    assert required == {str(Requirement(line)) for line in PROJECT["dependencies"]}
    offered = {(str(one.marker), one.name) for one in asked if one.marker is not None}
    assert offered == {
        (f'extra == "{extra}"', Requirement(line).name)
        for extra, lines in PROJECT["optional-dependencies"].items()
        for line in lines
    }


def test_the_source_archive_holds_what_is_needed_to_build_and_to_test(tmp_path: Path) -> None:
    archive = build("sdist", tmp_path)
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "src/holdfast/py.typed",
        "noxfile.py",
    } <= held
    assert "tests/test_wheel.py" in held
    assert not {name for name in held if name.startswith((".venv", ".nox", ".git/", "dist"))}
