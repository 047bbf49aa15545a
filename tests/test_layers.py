"""The arrows of the architecture: who may import whom inside holdfast, read from the source.

`MAY_SEE` is the drawing of docs/architecture.md as data. A unit is a top-level module or package of
holdfast. Imports inside functions and under ``TYPE_CHECKING`` count: a type is knowledge too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).parents[1] / "src" / "holdfast"

KNOWN_TO_ALL: Final = frozenset({"holdfast.errors", "holdfast.clock", "holdfast.events", "holdfast._version"})
BELOW_POLICIES: Final = KNOWN_TO_ALL | {
    "holdfast._body",
    "holdfast._calls",
    "holdfast._deadline",
    "holdfast._families",
    "holdfast._waiting",
    "holdfast._wire",
    "holdfast.background",
    "holdfast.call",
    "holdfast.core",
}
# Middleware is handed in: a family never sees a policy.
FAMILY: Final = BELOW_POLICIES | {
    "holdfast._door",
    "holdfast.by_origin",
    "holdfast.pipeline",
    "holdfast.pools",
}
STORE_CONTRACT: Final = frozenset({"holdfast.stores.base"})
CLIENT_SIDE: Final = BELOW_POLICIES | STORE_CONTRACT | {"holdfast.auth", "holdfast.client", "holdfast.pipeline"}
ALL_BUT_TESTING: Final = CLIENT_SIDE | {
    "holdfast._history",
    "holdfast.drill",
    "holdfast.graphql",
    "holdfast.httpx",
    "holdfast.httpx2",
    "holdfast.policies",
    "holdfast.pools",
    "holdfast.stores",
    "holdfast.sync",
    "holdfast.telemetry",
    "holdfast.webhooks",
}

# Unit -> the units or modules that it may import, itself apart. From the bottom up: each sees only what
# stands above its line.
MAY_SEE: Final[Mapping[str, frozenset[str]]] = {
    "holdfast._version": frozenset(),
    "holdfast.errors": frozenset(),
    "holdfast.clock": frozenset({"holdfast.errors"}),
    "holdfast.events": frozenset({"holdfast.errors"}),
    "holdfast.core": frozenset({"holdfast.errors"}),
    "holdfast._body": KNOWN_TO_ALL,
    "holdfast._families": KNOWN_TO_ALL,
    "holdfast.call": KNOWN_TO_ALL | {"holdfast.core"},
    "holdfast._deadline": KNOWN_TO_ALL | {"holdfast.call"},
    "holdfast._history": KNOWN_TO_ALL | {"holdfast.call"},
    "holdfast._waiting": KNOWN_TO_ALL | {"holdfast.core"},
    "holdfast._wire": KNOWN_TO_ALL | {"holdfast._body", "holdfast.call", "holdfast.core"},
    "holdfast._describe": KNOWN_TO_ALL,
    "holdfast.background": KNOWN_TO_ALL | {"holdfast._deadline"},
    "holdfast._calls": KNOWN_TO_ALL
    | {"holdfast._deadline", "holdfast._wire", "holdfast.background", "holdfast.call", "holdfast.core"},
    "holdfast.pools": BELOW_POLICIES,
    "holdfast.stores": BELOW_POLICIES,
    "holdfast.policies": BELOW_POLICIES | STORE_CONTRACT,
    "holdfast.by_origin": BELOW_POLICIES,
    "holdfast._entry": BELOW_POLICIES | {"holdfast.by_origin", "holdfast.policies"},
    "holdfast._layers": BELOW_POLICIES | {"holdfast.policies", "holdfast.stores"},  # it makes the default store
    "holdfast._changes": BELOW_POLICIES | {"holdfast._layers", "holdfast.policies"},
    "holdfast.pipeline": BELOW_POLICIES
    | {"holdfast._changes", "holdfast._describe", "holdfast._entry", "holdfast._layers", "holdfast.by_origin"}
    | {"holdfast.policies"},
    "holdfast.asgi": KNOWN_TO_ALL | {"holdfast._deadline"},
    "holdfast._door": BELOW_POLICIES | {"holdfast.by_origin"},
    "holdfast.httpx": FAMILY,
    "holdfast.httpx2": FAMILY,
    "holdfast.auth": BELOW_POLICIES
    | {"holdfast.stores"}
    # the lane to an authorization server, when it first sends
    | {"holdfast.pipeline", "holdfast.policies", "holdfast.httpx", "holdfast.httpx2"},
    "holdfast.client": BELOW_POLICIES
    | STORE_CONTRACT
    | {"holdfast._history", "holdfast.auth", "holdfast.by_origin", "holdfast.pipeline"}
    | {"holdfast.httpx", "holdfast.httpx2"},  # the one that a service uses, when it first sends
    "holdfast.graphql": CLIENT_SIDE,
    "holdfast.webhooks": BELOW_POLICIES | STORE_CONTRACT,
    "holdfast.sync": CLIENT_SIDE,
    "holdfast.telemetry": KNOWN_TO_ALL | {"holdfast.background", "holdfast.core"},
    "holdfast.drill": BELOW_POLICIES | {"holdfast.pipeline"},
    "holdfast.testing": BELOW_POLICIES | {"holdfast.pipeline", "holdfast.stores"},
    "holdfast.cli": ALL_BUT_TESTING,
    "holdfast.__main__": frozenset({"holdfast.cli"}),
    "holdfast": ALL_BUT_TESTING - {"holdfast.httpx", "holdfast.httpx2"},
}

# What lies under us, and the units that may know it; every other distribution is nobody's secret.
HTTP_LIBRARIES: Final[Mapping[str, frozenset[str]]] = {
    "httpx": frozenset({"holdfast.httpx"}),
    "httpcore": frozenset({"holdfast.httpx"}),
    "httpx2": frozenset({"holdfast.httpx2"}),
    "httpcore2": frozenset({"holdfast.httpx2"}),
}

Imports = Mapping[str, frozenset[str]]


def imports_of(tree: ast.AST, known: frozenset[str], module: str, *, is_package: bool) -> Iterator[str]:
    """Absolute names of the modules that a source imports; of ours, as deep as `known` goes."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(source, names, level):
                base = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                origin = ".".join([*base, *([source] if source else [])])
                # `from package import name`: the name may itself be a module.
                deeper = {f"{origin}.{alias.name}" for alias in names}
                yield from deeper & known or {origin}


def read(sources: Mapping[str, str], packages: frozenset[str]) -> Imports:
    """Module -> what it imports, for sources by module name."""
    known = frozenset(sources)
    return {
        module: frozenset(imports_of(ast.parse(text), known, module, is_package=module in packages)) - {module}
        for module, text in sources.items()
    }


def unit_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def upward_arrows(imports: Imports) -> list[str]:
    """Each import that the drawing does not allow, as `importer -> imported`."""
    return sorted(
        f"{module} -> {target}"
        for module, targets in imports.items()
        for target in targets
        if not allowed(unit_of(module), target)
    )


def allowed(unit: str, target: str) -> bool:
    top = target.partition(".")[0]
    if top in HTTP_LIBRARIES:
        return unit in HTTP_LIBRARIES[top]
    if top != "holdfast" or unit_of(target) == unit != "holdfast":
        return True
    may_see = MAY_SEE.get(unit, frozenset())  # a unit without a line sees nothing, until it gets one
    return not may_see.isdisjoint({target, unit_of(target)})


def cycle(imports: Imports) -> list[str]:
    """A ring of modules that import each other, or nothing."""
    sorter = TopologicalSorter({module: targets & imports.keys() for module, targets in imports.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]
        return ring
    return []


@pytest.fixture(scope="module")
def imports() -> Imports:
    names = {path: module_name(path) for path in sorted(SOURCE.rglob("*.py"))}
    packages = frozenset(name for path, name in names.items() if path.name == "__init__.py")
    return read({name: path.read_text("utf-8") for path, name in names.items()}, packages)


def module_name(path: Path) -> str:
    parts = ("holdfast", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_arrows_point_down_only(imports: Imports) -> None:
    assert upward_arrows(imports) == []


def test_no_modules_import_each_other(imports: Imports) -> None:
    assert cycle(imports) == []


def test_every_unit_has_its_place_in_the_drawing(imports: Imports) -> None:
    assert {unit_of(module) for module in imports} <= MAY_SEE.keys()


def test_the_drawing_itself_points_down() -> None:
    above: set[str] = set()
    for unit, seen in MAY_SEE.items():
        # A line may name only what stands above it, or what is known to all.
        late = {unit_of(target) for target in seen} - above - KNOWN_TO_ALL
        assert late == set(), f"{unit} sees {late} before their line"
        above.add(unit)


@pytest.mark.parametrize(
    ("module", "source", "arrows"),
    [
        ("holdfast.errors", "import holdfast.clock", ["holdfast.errors -> holdfast.clock"]),
        ("holdfast.core.retry", "from holdfast.errors import Refused", []),
        ("holdfast.core.retry", "from holdfast.core import window", []),
        ("holdfast.core.retry", "from holdfast import clock", ["holdfast.core.retry -> holdfast.clock"]),
        ("holdfast.core.retry", "from ..clock import Clock", ["holdfast.core.retry -> holdfast.clock"]),
        ("holdfast.core.retry", "from .. import clock", ["holdfast.core.retry -> holdfast.clock"]),
        ("holdfast.core.retry", "import holdfast", ["holdfast.core.retry -> holdfast"]),
        (
            "holdfast.core.retry",
            "if TYPE_CHECKING:\n    from holdfast.events import Retried",
            ["holdfast.core.retry -> holdfast.events"],
        ),
        (
            "holdfast.policies.retry",
            "def late():\n    from holdfast.pipeline import Pipeline",
            ["holdfast.policies.retry -> holdfast.pipeline"],
        ),
        ("holdfast.policies.cache", "from holdfast.stores.base import Store", []),
        ("holdfast.policies.cache", "from holdfast.stores import base", []),
        (
            "holdfast.policies.cache",
            "from holdfast.stores.memory import MemoryStore",
            ["holdfast.policies.cache -> holdfast.stores.memory"],
        ),
        ("holdfast.policies.retry", "import httpx", ["holdfast.policies.retry -> httpx"]),
        ("holdfast.httpx", "import httpx, httpcore", []),
        ("holdfast.httpx", "import httpx2", ["holdfast.httpx -> httpx2"]),
        (
            "holdfast.httpx",
            "from holdfast.policies.retry import Retrying",
            ["holdfast.httpx -> holdfast.policies.retry"],
        ),
        (
            "holdfast.cli.demo",
            "from holdfast.testing import Origin",
            ["holdfast.cli.demo -> holdfast.testing"],
        ),
        ("holdfast", "from holdfast.pipeline import Pipeline", []),
        ("holdfast", "from holdfast.httpx import wrap", ["holdfast -> holdfast.httpx"]),
        ("holdfast.novelty", "import holdfast.errors", ["holdfast.novelty -> holdfast.errors"]),
    ],
)
def test_the_reader_sees_each_planted_arrow(module: str, source: str, arrows: list[str]) -> None:
    others = dict.fromkeys(
        (
            "holdfast",
            "holdfast.clock",
            "holdfast.core",
            "holdfast.core.window",
            "holdfast.stores",
            "holdfast.stores.base",
        ),
        "",
    )
    packages = frozenset({"holdfast", "holdfast.core", "holdfast.stores"})
    assert upward_arrows(read({**others, module: source}, packages)) == arrows


@pytest.mark.parametrize(
    ("sources", "ring"),
    [
        ({"a": "import b", "b": "import c", "c": ""}, set()),
        ({"a": "import b", "b": "import a"}, {"a", "b"}),
        ({"a": "import b", "b": "def late():\n    import c", "c": "from a import x"}, {"a", "b", "c"}),
    ],
)
def test_the_reader_sees_each_planted_ring(sources: Mapping[str, str], ring: set[str]) -> None:
    assert set(cycle(read(sources, frozenset()))) == ring
