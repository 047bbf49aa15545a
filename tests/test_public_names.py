"""The public interface as one text file, so that a change of it is seen; and the two families as one source.

`python tests/test_public_names.py --write` writes the file anew, after a change that was meant.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
SNAPSHOT: Final = Path(__file__).with_name("public_names.txt")
MODULES: Final = (
    "holdfast",
    "holdfast.asgi",
    "holdfast.client",
    "holdfast.auth",
    "holdfast.errors",
    "holdfast.events",
    "holdfast.httpx",
    "holdfast.httpx2",
    "holdfast.testing",
)
# Lines that differ for a reason carry this mark, and are left out of the comparison.
FAMILY_MARK: Final = "# family:"


def described(module: ModuleType) -> str:
    """A module's public names, sorted, classes with their signature and public members."""
    lines = [f"# {module.__name__}"]
    for name in sorted(module.__all__):
        value = getattr(module, name)
        if inspect.isclass(value):
            lines += [
                f"class {name}{signature(value)}{bases(value)}",
                *(f"    {line}" for line in members(value)),
            ]
        elif inspect.isroutine(value):
            lines.append(f"def {name}{signature(value)}")
        elif typing.get_origin(value) is not None:
            lines.append(f"type {name} = {alias(value)}")
        else:
            lines.append(f"{name}: {type(value).__name__}")
    return "\n".join(lines) + "\n"


def alias(value: object) -> str:
    """Pythons print a union in two ways."""
    cases = typing.get_args(value) if typing.get_origin(value) in (typing.Union, types.UnionType) else (value,)
    return " | ".join(repr(annotation(case)) for case in cases)


def bases(cls: type) -> str:
    unsaid = {"object", "Generic", "Protocol"}
    told = [name for base in cls.__bases__ if (name := base.__name__) not in unsaid and not name.startswith("_")]
    return f" over {', '.join(told)}" if told else ""


def members(cls: type) -> Iterator[str]:
    """Public methods and properties that we define, inherited ones of ours included."""
    for name in sorted(our_members(cls)):
        if name.startswith("_"):
            continue
        match inspect.getattr_static(cls, name):
            case property():
                yield f".{name}"
            case classmethod() | staticmethod():
                yield f".{name}{signature(getattr(cls, name))} (on the class)"
            case member if inspect.isroutine(member):
                yield f"{'async ' if inspect.iscoroutinefunction(member) else ''}.{name}{signature(member)}"


def our_members(cls: type) -> set[str]:
    owners = (owner for owner in cls.__mro__ if owner.__module__.partition(".")[0] == "holdfast")
    return {name for owner in owners for name in vars(owner)}


def signature(value: object) -> str:
    """As written in the source, and the same on every Python and in every run."""
    if isinstance(value, type) and issubclass(value, BaseException) and "__init__" not in our_members(value):
        return "(...)"  # whatever the standard library's exceptions take
    try:
        found = inspect.signature(value)  # type: ignore[arg-type]  # what is not callable is told by the error
    except (TypeError, ValueError):
        return "(...)"  # made by the standard library: an enum, say
    parameters = [
        one.replace(annotation=annotation(one.annotation), default=default(one.default))
        for one in found.parameters.values()
        if one.name != "self"
    ]
    return str(found.replace(parameters=parameters, return_annotation=annotation(found.return_annotation)))


@dataclass(frozen=True)
class Plain:
    """A text that `inspect` prints as it stands."""

    text: str

    def __repr__(self) -> str:
        return self.text


def annotation(value: object) -> object:
    if value is inspect.Parameter.empty:
        return value
    if isinstance(value, typing.ForwardRef):  # of a NamedTuple's field, before Python 3.14
        value = value.__forward_arg__
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    return Plain(re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text))


def default(value: object) -> object:
    if value is inspect.Parameter.empty:
        return value
    # Addresses change with each run, and so does the order of a set of strings.
    text = re.sub(r"<[^<>]*>", "...", repr(value))
    return Plain(re.sub(r"(?<=\{)[^{}:]+(?=\})", lambda match: ", ".join(sorted(match[0].split(", "))), text))


def current() -> str:
    return "\n".join(described(importlib.import_module(name)) for name in MODULES)


def test_the_public_interface_is_as_recorded() -> None:
    from tests.conftest import modules_of  # not on top: this file is a program, too

    for name in ("httpx", "httpx2"):
        modules_of(name)  # where one is absent on purpose, there is not all of the interface
    recorded, now = SNAPSHOT.read_text("utf-8"), current()
    change = "".join(difflib.unified_diff(recorded.splitlines(True), now.splitlines(True), "recorded", "now"))
    assert not change, f"if it is meant, run `python tests/test_public_names.py --write`\n{change}"


def test_the_families_are_one_source() -> None:
    httpx, httpx2 = ((ROOT / "src/holdfast" / f"{name}.py").read_text("utf-8") for name in ("httpx", "httpx2"))
    change = "\n".join(difflib.unified_diff(shared_lines(as_httpx2(httpx)), shared_lines(httpx2), "httpx", "httpx2"))
    assert not change, f"holdfast/httpx.py and holdfast/httpx2.py differ:\n{change}"


def as_httpx2(source: str) -> str:
    """The httpx source with its libraries' names changed to the other family's."""
    return re.sub(r"\b(?:httpx\b|httpcore\b|Httpx(?!2))", r"\g<0>2", source)


def shared_lines(source: str) -> list[str]:
    return [line for line in source.splitlines() if FAMILY_MARK not in line]


def sample(name: str | None = "x", *, codes: frozenset[str] = frozenset({"b", "a"}), key: object = len) -> Path:
    """Holds each thing that may read differently from run to run."""
    return Path(name or str(codes), str(key))


def test_a_signature_reads_the_same_in_every_run() -> None:
    told = "(name: str | None = 'x', *, codes: frozenset[str] = frozenset({'a', 'b'}), key: object = ...)"
    assert signature(sample) == f"{told} -> Path"


@pytest.mark.parametrize(
    ("httpx", "httpx2", "same"),
    [
        ("import httpcore\nimport httpx\n", "import httpcore2\nimport httpx2\n", True),
        ("class A(httpx.B): ...\n", "class A(httpx2.B): ...\n", True),
        ("class HttpxFamily(httpx.B): ...\n", "class Httpx2Family(httpx2.B): ...\n", True),
        ("class A(httpx.B): ...\n", "class A(httpx2.C): ...\n", False),
        ("LAST = (0, 28)  # family: tested up to\n", "LAST = (2, 16)  # family: tested up to\n", True),
        ("LAST = (0, 28)\n", "LAST = (2, 16)\n", False),
    ],
)
def test_the_comparison_sees_each_drift(httpx: str, httpx2: str, same: bool) -> None:
    assert (shared_lines(as_httpx2(httpx)) == shared_lines(httpx2)) is same


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        SNAPSHOT.write_text(current(), "utf-8")
    else:
        print(__doc__)
