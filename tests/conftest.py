"""Both event loops, both families, hypothesis profiles, and a guard that keeps every test on this machine."""

from __future__ import annotations

import gc
import importlib
import ipaddress
import itertools
import os
import re
import signal
import sys
import warnings
from collections import Counter, defaultdict
from importlib import util
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import FAMILY_NAMES, FamilyModules

BUILT_ON = {
    "httpx": ("httpx", "httpcore", "holdfast.httpx", "pytest_httpx", "respx", "tests.oauth.browser"),
    "httpx2": (
        "httpx2",
        "httpcore2",
        "holdfast.httpx2",
        "anthropic",
        "openai",
        "fastapi.testclient",
        "starlette.testclient",
    ),
}
AXES = {"family": FAMILY_NAMES, "anyio_backend": ("asyncio", "trio")}
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# No deadline: shared machines stall. In CI the same examples every time, so that red means the change.
settings.register_profile("dev", deadline=None, max_examples=50, stateful_step_count=30)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.register_profile("soak", deadline=None, max_examples=400)  # --hypothesis-profile=soak
settings.load_profile("ci" if IN_CI else "dev")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of each async test: see `pytest_generate_tests`."""
    backend: str = request.param
    return backend


@pytest.fixture
def family(request: pytest.FixtureRequest) -> FamilyModules:
    """httpx or httpx2: see `pytest_generate_tests`."""
    return modules_of(request.param)


def modules_of(name: str) -> FamilyModules:
    """The modules of one family; skips only where its package is not installed and nobody requires it."""
    if util.find_spec(name) is None and name not in required_families():
        pytest.skip(f"{name} is not installed here: pip install {name}")
    return FamilyModules(name, importlib.import_module(name), importlib.import_module(f"holdfast.{name}"))


def required_families() -> frozenset[str]:
    """Families that must be there: named by HOLDFAST_REQUIRE_FAMILIES (commas between), in CI all."""
    stated = os.environ.get("HOLDFAST_REQUIRE_FAMILIES", ",".join(FAMILY_NAMES) if IN_CI else "")
    return frozenset(filter(None, stated.split(",")))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Where a family is absent on purpose, passes over the files that cannot even be imported without it."""
    if collection_path.suffix == ".py" and any(
        imports_family(collection_path, name)
        for name in FAMILY_NAMES
        if util.find_spec(name) is None and name not in required_families()
    ):
        return True
    return None  # pytest's own rules go on


def imports_family(path: Path, name: str) -> bool:
    """Whether a test file imports a family, or a package that is built on it, as soon as it is read."""
    modules = "|".join(map(re.escape, BUILT_ON[name]))
    return re.search(rf"^(?:import|from) +(?:{modules})\b", path.read_text("utf-8"), re.MULTILINE) is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-pair", action="store_true", help="each test on both families times both event loops")


def pytest_xdist_auto_num_workers() -> int | None:
    """One more than there are cores: a part of the tests waits for sockets, timers and other processes."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores() + 1


def cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def takes_every_pair(config: pytest.Config) -> bool:
    """By --every-pair, or because one test is named."""
    return bool(config.getoption("every_pair")) or any("::" in argument for argument in config.args)


_numbers = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs each test on two of the four pairs of family and event loop: on both families and both loops.

    They take turns, so each file sees every pair. A test that has only one of the two runs on both of it.
    """
    stated = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    # Names come as one text with commas or as a sequence: in the one as in the other, these are found by `in`.
    names = [name for name in AXES if name in metafunc.fixturenames and not any(name in some for some in stated)]
    if len(names) < len(AXES) or takes_every_pair(metafunc.config):
        for name in names:
            metafunc.parametrize(name, AXES[name], indirect=True)
        return
    families, loops = AXES.values()
    turned = loops if next(_numbers) % 2 else loops[::-1]
    metafunc.parametrize(names, [*zip(families, turned, strict=True)], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: an address differs between processes; use ids=spelled")
    if not takes_every_pair(config):
        left_out = rows_in_turn(items)
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=[*left_out])


def rows_in_turn(items: list[pytest.Item]) -> set[pytest.Item]:
    """Of a test with four rows and more, and of one marked ``heavy``, each row runs on one of the test's two ways.

    The ways are its two pairs of family and event loop, or the two loops. Those left out come back.
    """
    tests: defaultdict[object, list[tuple[pytest.Item, int]]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            indices = item.callspec.indices
            if "anyio_backend" in indices:
                tests[item.function].append((item, indices["anyio_backend"]))
    left_out: set[pytest.Item] = set()
    for number, rows in enumerate(tests.values()):
        # A row is known by its place among those of its way: pytest numbers some parameters over all of them.
        turns = Counter({way: number for _, way in rows})
        is_heavy = rows[0][0].get_closest_marker("heavy") is not None
        if len(turns) < 2 or not (is_heavy or len(rows) >= 2 * 4):
            continue
        for item, way in rows:
            if (turns[way] + way) % 2:
                left_out.add(item)
            turns[way] += 1
    return left_out


def pytest_collection_finish() -> None:
    """Thousands of collected tests are not looked at again by each collection of garbage that one of them needs."""
    gc.collect()
    gc.freeze()


_last_file = ""


def pytest_runtest_logstart(nodeid: str) -> None:
    """What the tests of another file imported and left is not looked at either."""
    global _last_file
    file = nodeid.partition("::")[0]
    if file != _last_file:
        _last_file = file
        with warnings.catch_warnings(action="ignore"):  # of garbage that its own file may leave to the collector
            gc.collect()
        gc.freeze()


def refuse_to_leave_this_machine(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: a connection to any address but a loopback one is a mistake in a test."""
    if event != "socket.connect":
        return
    _, address = arguments
    if not isinstance(address, tuple):
        return  # a Unix socket
    host = str(address[0]).partition("%")[0]
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise RuntimeError(f"a test tried to reach {host}; tests talk to loopback addresses alone")


sys.addaudithook(refuse_to_leave_this_machine)

# Images set it, and then each of some forty processes that tests start compiles all that it imports of ours: 11 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A script's shell has what it starts with `&` ignore SIGINT, and so does all that is started from there: tests that
# interrupt a program would wait for its end for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
