"""The one runner: every check of the project is a session here, and CI runs nothing else.

`nox` runs what a change needs; `nox -l` lists the rest. A Python that is not found is passed over.
There is no lock file: `lowest` and `highest` test both ends of the ranges in pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # a Python that is not here is passed over
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "families", "lowest", "docs"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.14t"]
FAMILIES = ("httpx", "httpx2")
# What leans on a Python, a family or a dependency: enough to trust one more of them.
SMOKE = (
    "auth/test_credentials.py",
    "auth/test_jwt.py",
    "auth/test_oauth.py",
    "auth/test_secret_stores.py",
    "client/test_calls.py",
    "client/test_decode.py",
    "client/test_over_sockets.py",
    "client/test_streams.py",
    "faults/test_families.py",
    "faults/test_protocol.py",
    "policies/test_breaker.py",
    "policies/test_limiter_door.py",
    "stores/test_encrypted.py",
    "stores/test_memory.py",
    "telemetry",
    "test_anything_awaitable.py",
    "test_cache.py",
    "test_import.py",
    "test_pools.py",
    "test_public_names.py",
    "test_retry.py",
)
HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite, on each Python found; `-- ARGS` go to pytest."""
    install(session, "test")
    pytest(session, *session.posargs)


@nox.session(python=PYTHONS)
def smoke(session: nox.Session) -> None:
    """The smoke set on one more Python."""
    install(session, "test")
    pytest(session, *smoke_tests(), *session.posargs)


@nox.session
@nox.parametrize("family", FAMILIES, ids=FAMILIES)
def families(session: nox.Session, family: str) -> None:
    """One family without the other: it must import and work with the other not installed."""
    install(session, "test")
    (other,) = set(FAMILIES) - {family}
    # httpx is a dependency by our metadata, so its absence has to be made; the SDKs and plugins of the
    # absent family go with it, or their own imports fail.
    users = {"httpx": ["pytest-httpx", "respx"], "httpx2": ["openai", "anthropic"]}[other]
    uninstall(session, other, f"httpcore{other.removeprefix('httpx')}", *users)
    pytest(session, *smoke_tests(), *session.posargs, families=family)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The smoke set with each dependency at the lower bound that pyproject.toml states."""
    install(session, "test", *(f"{name}=={version}" for name, version in lower_bounds().items()))
    pytest(session, *smoke_tests(), *session.posargs)


@nox.session
def highest(session: nox.Session) -> None:
    """The smoke set with each dependency as new as its range allows, in a fresh environment."""
    session.install("--upgrade", *requirements())
    install(session, "test")
    pytest(session, *smoke_tests(), *session.posargs)


@nox.session(python=["3.13", "3.14"])  # sys.monitoring is of 3.12, and quick of 3.13
def coverage(session: nox.Session) -> None:
    """The whole suite, with the coverage gate of pyproject.toml."""
    install(session, "test")
    session.run("coverage", "erase")
    measured = {"COVERAGE_CORE": "sysmon", "COVERAGE_PROCESS_START": str(HERE / "pyproject.toml")}
    # By its full name: processes that a test starts elsewhere are measured as well.
    pytest(session, *session.posargs, COVERAGE_FILE=str(HERE / ".coverage"), **measured)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, over the source and tests/typing; mypy over the tests as well."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff's rules and its formatting; `-- --fix` applies both."""
    session.install(*group("lint"))
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix", ".")
        session.run("ruff", "format", ".")
        return
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def docs(session: nox.Session) -> None:
    """Every example and link of the pages; then the site, if there is a configuration to build it from."""
    readme(session)
    if Path("zensical.toml").exists():
        session.install(*group("docs"))
        session.run("zensical", "build", "--clean", "--strict")


@nox.session
def readme(session: nox.Session) -> None:
    """The code blocks of README.md and docs/, and the docstrings' examples, executed."""
    install(session, "test")
    pytest(session, "tests/test_docs.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks beside the peers, interleaved; takes minutes. `-- ARGS` go to `python -m benchmarks`."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """What the whole suite leaves out: tests marked `slow`, each pair of family and event loop, more examples."""
    install(session, "test")
    all_of_it = ("-m", "not conformance", "--every-pair", "--hypothesis-profile=soak")
    pytest(session, *all_of_it, "-o", "faulthandler_timeout=1800", *session.posargs)


@nox.session
def programs(session: nox.Session) -> None:
    """The demo at its own pace, and the fleet example with all of its 500 sites: its first view within 5 seconds."""
    install(session, "test")
    pytest(session, "-m", "slow", "-n", "0", "tests/cli", "tests/examples", *session.posargs)


@nox.session
def oauth(session: nox.Session) -> None:
    """OAuth beside real authorization servers, of npm; HOLDFAST_NODE_MODULES names where they are."""
    install(session, "test")
    pytest(session, "-n", "4", "tests/oauth", *session.posargs)  # half of it is waiting


@nox.session
def conformance(session: nox.Session) -> None:
    """The HTTP cache suite on every kind of cache, the public part in real time; `-- -rP` shows what each does."""
    install(session, "test")
    pytest(session, "-m", "conformance", "-n", "4", "tests/conformance", *session.posargs)  # half of it is waiting


def install(session: nox.Session, name: str, *pins: str) -> None:
    session.install("-e", ".", *group(name), *pins)


def uninstall(session: nox.Session, *packages: str) -> None:
    if session.venv_backend == "uv":
        session.run("uv", "pip", "uninstall", *packages, external=True)
    else:
        session.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", *packages)


def pytest(session: nox.Session, *arguments: str, families: str = ",".join(FAMILIES), **env: str) -> None:
    """Runs tests; those that fail are asked once more, one by one, since real sockets stall on a shared machine.

    Both runs are printed, and who fails twice fails. A family whose package went missing by accident must fail, not
    be passed over.
    """
    command = ("python", "-m", "pytest", *arguments)
    env["HOLDFAST_REQUIRE_FAMILIES"] = families
    try:
        session.run(*command, env=env)
    except CommandFailed:
        session.run(*command, "-n", "0", "--last-failed", "--last-failed-no-failures", "none", env=env)


def smoke_tests() -> list[str]:
    return [f"tests/{name}" for name in SMOKE]


def group(name: str) -> list[str]:
    """A dependency group as plain requirements, so that no session depends on how new its pip is."""
    return list(nox.project.dependency_groups(PROJECT, name))


def requirements() -> list[str]:
    """What holdfast depends on, its extras included, as pyproject.toml states it."""
    project = PROJECT["project"]
    return [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]


def lower_bounds() -> dict[str, str]:
    """The lowest version of each dependency that states one: `anyio>=4.16,<5` gives anyio 4.16."""
    found = (re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement) for requirement in requirements())
    return {match[1]: match[2] for match in found if match}
