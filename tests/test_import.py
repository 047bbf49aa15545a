"""What an import brings along: nothing unasked for, nothing undeclared, nothing over the network."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import util
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import modules_of

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "holdfast"
# Each dependency's distribution and module have one name. An extra is imported when used, not before.
DECLARED: Final = frozenset(
    re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
) - {"httpx"}
MAY_IMPORT_BESIDES: Final = {
    "httpx.py": frozenset({"httpx", "httpcore"}),
    "httpx2.py": frozenset({"httpx2", "httpcore2"}),
    "client/inputs.py": frozenset({"annotationlib"}),  # the standard library's, from Python 3.14 on
    "client/decode_msgspec.py": frozenset({"msgspec"}),  # these two are imported only for such a type
    "client/decode_pydantic.py": frozenset({"pydantic"}),
    "telemetry/opentelemetry.py": frozenset({"opentelemetry"}),
    "telemetry/prometheus.py": frozenset({"prometheus_client"}),
    "testing/plugin.py": frozenset({"pytest"}),  # itself imported only by pytest
    "testing/faulty/h2.py": frozenset({"h2"}),  # itself imported only by an origin that is to speak HTTP/2
}

# Prints the modules that importing the named ones adds, any use of a socket on the way, and the dataclasses of ours
# whose methods that compiles: each takes half a millisecond.
PROBE: Final = """
import importlib, json, sys
reached = []
def watch(event, _):
    if event in ("socket.connect", "socket.getaddrinfo"):
        reached.append(event)
sys.addaudithook(watch)
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
modules = set(sys.modules) - before
ours = [sys.modules[name] for name in modules if name.partition(".")[0] == "holdfast"]
named = {value for module in ours for value in vars(module).values() if isinstance(value, type)}
compiled = [value.__name__ for value in named if getattr(getattr(value, "__dataclass_params__", None), "init", False)]
print(json.dumps({"modules": sorted(modules), "reached": reached, "compiled": sorted(compiled)}))
"""

FAMILY_OF: Final = {"holdfast.httpx": "httpx", "holdfast.httpx2": "httpx2"}


@cache
def told(*names: str) -> dict[str, list[str]]:
    """What `PROBE` prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[str]] = json.loads(done.stdout)
    assert answer["reached"] == [], f"importing {names} used the network"
    return answer


def imported_by(*names: str) -> frozenset[str]:
    """The modules that a fresh interpreter loads for these."""
    return frozenset(told(*names)["modules"])


def all_modules() -> list[str]:
    """Every module of ours that can be imported here; a family's only where its package is."""
    found = ["holdfast", *(info.name for info in pkgutil.walk_packages([str(SOURCE)], "holdfast."))]
    return [
        name
        for name in found
        if not name.endswith("__main__") and (name not in FAMILY_OF or util.find_spec(FAMILY_OF[name]))
    ]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "holdfast",
            {"httpx", "httpx2", "httpcore", "httpcore2", "tenacity", "aiolimiter", "trio", "asyncio"},
        ),
        ("holdfast.errors", {"httpx", "httpx2", "tenacity", "anyio"}),
        ("holdfast.client.service", {"httpx", "httpx2", "tenacity", "pydantic", "msgspec", "attrs", "trio", "uuid"}),
        ("holdfast.testing", {"httpx", "httpx2", "tenacity", "h2", "trio", "hypothesis", "pytest"}),
        ("holdfast.httpx", {"httpx2", "httpcore2", "tenacity", "aiolimiter", "trio", "h2", "sqlite3"}),
        ("holdfast.httpx2", {"httpx", "httpcore", "tenacity", "aiolimiter", "trio", "h2", "sqlite3"}),
    ],
)
def test_an_import_brings_only_what_was_asked_for(module: str, absent: set[str]) -> None:
    if module in FAMILY_OF:
        modules_of(FAMILY_OF[module])
    assert imported_by(module) & absent == set()


@pytest.mark.parametrize("module", FAMILY_OF)
def test_a_transport_with_the_defaults_imports_little(module: str) -> None:
    """What `benchmarks.imports` times, as what it is made of: a module is a fifth of a millisecond and more."""
    family = modules_of(FAMILY_OF[module]).name
    below = ("asyncio", family, "anyio", "cachetools", "dataclasses", "sniffio")
    added = sorted(imported_by(*below, module) - imported_by(*below))
    assert {name.partition(".")[0] for name in added} == {"holdfast"}
    assert len(added) <= 44, f"import what only some need where they need it: {added}"
    assert told(*below, module)["compiled"] == [], "a setting is a `core.settings.Settings`, anything else a `Value`"


@pytest.mark.parametrize("module", FAMILY_OF)
def test_the_resource_layer_imports_little_beside_a_transport(module: str) -> None:
    modules_of(FAMILY_OF[module])
    added = sorted(imported_by(module, "holdfast.client.service") - imported_by(module))
    assert {name.partition(".")[0] for name in added} == {"holdfast"}
    assert len(added) <= 25, f"import what only some need where they need it: {added}"
    assert told(module, "holdfast.client.service")["compiled"] == []


COMMANDS: Final = """
import json, sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from holdfast.cli import main
files = []
for arguments in sys.argv[1:]:
    with suppress(SystemExit), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        main(arguments.split())
    files.append(sorted(name.partition("cli.")[2] for name in sys.modules if name.startswith("holdfast.cli.")))
print(json.dumps(files))
"""


def test_a_command_imports_itself_alone() -> None:
    asked = ["--version", "--help", "nothing", "log --help"]
    done = subprocess.run([sys.executable, "-c", COMMANDS, *asked], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], [], [], ["log"]]


def test_importing_all_of_it_reaches_no_network() -> None:
    assert "holdfast" in imported_by(*all_modules())


def test_each_module_imports_only_declared_dependencies() -> None:
    undeclared: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        allowed = DECLARED | MAY_IMPORT_BESIDES.get(name, frozenset()) | sys.stdlib_module_names | {"holdfast"}
        if found := set(imported_at_once(ast.parse(path.read_text("utf-8")))) - allowed:
            undeclared[name] = found
    assert undeclared == {}


def imported_at_once(node: ast.AST) -> Iterator[str]:
    """Top-level names of the modules that running a source imports, whatever is called later."""
    match node:
        case ast.Import(names):
            yield from (alias.name.partition(".")[0] for alias in names)
        case ast.ImportFrom(module=str(source), level=0):
            yield source.partition(".")[0]
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            return
        case ast.If(test=ast.Name("TYPE_CHECKING")):
            for statement in node.orelse:
                yield from imported_at_once(statement)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from imported_at_once(child)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b, c", {"a", "c"}),
        ("from a.b import c", {"a"}),
        ("from . import a", set()),
        ("try:\n    import a\nexcept ImportError:\n    import b", {"a", "b"}),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", {"b"}),
        ("class A:\n    import a\n    def b(self):\n        import c", {"a"}),
    ],
)
def test_the_reader_sees_what_runs_at_import(source: str, found: set[str]) -> None:
    assert set(imported_at_once(ast.parse(source))) == found
