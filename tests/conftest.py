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
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# No deadline: shared machines stall. In CI the same examples every time, so that red means the change.
settings.register_profile("dev", deadline=None, max_examples=50, stateful_step_count=30)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.register_profile("soak", deadline=None, max_examples=400)  # --hypothesis-profile=soak
settings.load_profile("ci" if IN_CI else "dev")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of each async test: both, one after the other."""
    backend: str = request.param
    return backend


@pytest.fixture(params=FAMILY_NAMES)
def family(request: pytest.FixtureRequest) -> FamilyModules:
    """httpx and httpx2, one after the other."""
    return modules_of(request.param)


def modules_of(name: str) -> FamilyModules:
    """The modules of one family; skips only where its package is not installed and nobody requires it."""
    if util.find_spec(name) is None and name not in required_families():
        pytest.skip(f"{name} is not installed here")
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: an address differs between processes; use ids=spelled")
    if not (config.getoption("every_pair") or any("::" in argument for argument in config.args)):
        left_out = pairs_in_turn(items)
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=[*left_out])


def pairs_in_turn(items: list[pytest.Item]) -> set[pytest.Item]:
    """Of each test, some of the four pairs of family and event loop: those left out.

    Two of the four, so that each test runs on both families and both loops; of one with four rows and more one
    for each row, so that those of a long table together run on all four, and of one marked ``heavy`` one. They take
    turns: each file sees every pair. Where there is no family, each row of such tests runs on one of the two loops.
    """
    tests: defaultdict[tuple[bool, object], list[tuple[pytest.Item, int, int]]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            indices = item.callspec.indices
            if "anyio_backend" in indices:
                has_family = "family" in indices
                tests[has_family, item.function].append((item, indices.get("family", 0), indices["anyio_backend"]))
    left_out: set[pytest.Item] = set()
    numbers = {True: itertools.count(), False: itertools.count()}
    for (has_family, _), pairs in tests.items():
        number = next(numbers[has_family])
        # A row is known by its place among those of its pair: pytest numbers some parameters over all pairs.
        turns = Counter({(family, loop): number for _, family, loop in pairs})
        all_of_them = 4 if has_family else 2
        if len(turns) < all_of_them:
            continue
        is_heavy = pairs[0][0].get_closest_marker("heavy") is not None
        takes_one = is_heavy or len(pairs) >= all_of_them * 4
        for item, family, loop in pairs:
            turn = turns[family, loop]
            turns[family, loop] += 1
            has_turn = (turn + family + loop) % 2 == 0
            if has_family and not (has_turn and (not takes_one or (turn // 2 + family) % 2 == 0)):
                left_out.add(item)
            if not has_family and takes_one and not has_turn:
                left_out.add(item)
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
