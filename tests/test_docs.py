"""The pages do what they say: code blocks run, links lead somewhere, docstrings' examples hold.

Fenced blocks marked ``python`` run in order, page by page, in one namespace for each page; ``await`` may
stand at the top level. A block marked ``python no-run`` is only compiled. A block inside an HTML comment
runs and is not shown: the place for an origin on loopback that the visible blocks talk to.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import linecache
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from types import CodeType
from typing import Any, Final
from unittest import mock

import pytest

import holdfast
from holdfast import HoldfastError, errors

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE: Final = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,}) *(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)(?P=ticks) *$",
    re.MULTILINE | re.DOTALL,
)
LINK: Final = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of Python."""

    page: str
    line: int  # of the first line of code
    code: str
    runs: bool

    def compiled(self) -> CodeType:
        # Blank lines in front make the traceback's line numbers those of the page.
        text = "\n" * (self.line - 1) + self.code
        linecache.cache[self.page] = (len(text), None, text.splitlines(keepends=True), self.page)
        code: CodeType = compile(text, self.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        return code


def blocks_of(text: str, page: str) -> Iterator[Block]:
    for found in FENCE.finditer(text):
        language, *words = found["info"].split() or [""]
        if language == "python":
            indent = found["indent"]
            code = re.sub(f"^{indent}", "", found["code"], flags=re.MULTILINE)
            yield Block(page, text.count("\n", 0, found.start("code")) + 1, code, "no-run" not in words)


def run_page(text: str, page: str) -> dict[str, Any]:
    """Runs a page from top to bottom as one program, and hands back the names that it made.

    What it puts into the environment is gone with it.
    """
    namespace: dict[str, Any] = {"__name__": "page"}
    with mock.patch.dict(os.environ), asyncio.Runner() as runner:
        for block in blocks_of(text, page):
            code = block.compiled()
            if not block.runs:
                continue
            outcome = eval(code, namespace)
            if inspect.iscoroutine(outcome):
                runner.run(outcome)
    return namespace


def settings_of(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """By class, what a page of tables gives as default of each setting; in code font, it is an expression."""
    for section in text.split("\n## `")[1:]:
        yield section.partition("`")[0], dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))


def modules_with_examples() -> Iterator[str]:
    """By their source: what has no example need not even be imported."""
    source = ROOT / "src"
    families = {"holdfast.httpx": "httpx", "holdfast.httpx2": "httpx2"}
    for path in sorted(source.glob("holdfast/**/*.py")):
        name = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        if ">>>" in path.read_text("utf-8") and (name not in families or util.find_spec(families[name])):
            yield name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_code_block_runs_as_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what an example writes must not land in the tree
    run_page(page.read_text("utf-8"), page.relative_to(ROOT).as_posix())


def test_each_relative_link_leads_to_a_file() -> None:
    lost = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for found in LINK.finditer(FENCE.sub("", page.read_text("utf-8")))
        if (target := found["target"].partition("#")[0]) and "://" not in target and not (page.parent / target).exists()
    ]
    assert lost == []


@pytest.mark.parametrize("source", ["the page", "the docstring"])
def test_the_tree_of_errors_is_that_of_the_classes(source: str) -> None:
    text = (ROOT / "docs/errors.md").read_text("utf-8") if source == "the page" else errors.__doc__ or ""
    drawn: dict[str, str] = {}
    above = [(-1, "HoldfastError")]
    for indent, name in re.findall(r"^([ |│]*)[+├└][-─]{2} (\w+)", text, re.MULTILINE):
        while above[-1][0] >= len(indent):
            above.pop()
        drawn[name] = above[-1][1]
        above.append((len(indent), name))
    named: list[Any] = [getattr(errors, name) for name in errors.__all__]
    kinds = [kind for kind in named if isinstance(kind, type) and issubclass(kind, HoldfastError)]
    assert drawn == {kind.__name__: kind.__base__.__name__ for kind in kinds if kind is not HoldfastError}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "rows"),
    [pytest.param(name, rows, id=name) for name, rows in settings_of((ROOT / "docs/settings.md").read_text("utf-8"))],
)
def test_each_setting_is_listed_with_its_default(name: str, rows: dict[str, str]) -> None:
    transport = importlib.import_module("holdfast.httpx").ResilientTransport
    names = {"ResilientTransport": transport, **{known: getattr(holdfast, known) for known in holdfast.__all__}}
    parameters = inspect.signature(names[name]).parameters
    assert sorted(rows) == sorted(parameters.keys() - {"_"})
    stated = {field: eval(text[1:-1], names) for field, text in rows.items() if text.startswith("`")}
    assert stated == {field: parameters[field].default for field in stated}


@pytest.mark.parametrize("name", [*modules_with_examples()])
def test_each_docstring_example_holds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Ellipses, because a repr may carry figures that are not the point of an example.
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


PAGE: Final = """
# A page
```python
made = [1]
```
Text, and a block of another language:
```bash
exit 1
```
1. In a list:
   ```python
   async def two():
       return 2
   made.append(await two())
   ```
<!--
```python
hidden = True
```
-->
```python no-run
raise SystemExit(await_nothing)
```
"""


def test_a_page_is_one_program() -> None:
    names = run_page(PAGE, "page.md")
    assert names["made"] == [1, 2]
    assert names["hidden"] is True


@pytest.mark.parametrize(
    ("block", "error"),
    [("```python\n1 / 0\n```", ZeroDivisionError), ("```python no-run\n1 /\n```", SyntaxError)],
)
def test_a_block_that_fails_is_seen_with_its_line(block: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        run_page(f"# Title\n\n{block}\n", "page.md")
    line = caught.value.lineno if isinstance(caught.value, SyntaxError) else caught.traceback[-1].lineno + 1
    assert line == 4
