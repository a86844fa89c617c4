"""Every Python example in the README, the documentation and the docstrings runs.

The blocks of one page share one namespace, in a temporary folder. A block may use `await` at its
top level. One that cannot run here has a comment on the line before its fence,
`<!-- not run: reason -->`; it must still compile, and is reported as a skipped subtest.
tests/docs_setup.py prepares pages that need more.
"""

import ast
import asyncio
import doctest
import gc
import importlib
import importlib.util
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import attrs
import pytest

from tests.docs_setup import SETUP
from tests.source_tree import ROOT

EXTRAS = {"numpy", "openpyxl", "psycopg", "pyarrow"}

NOT_RUN = re.compile(r"\s*<!--\s*not run:\s*(?P<reason>.+?)\s*-->\s*")
FENCE = re.compile(r"\s*(?P<fence>`{3,}|~{3,})\s*(?P<language>\S*).*")


@attrs.frozen
class Block:
    line: int  # of its first line of code
    code: str
    not_run: str | None


def python_blocks(text: str) -> Iterator[Block]:
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opening = FENCE.fullmatch(lines[at])
        at += 1
        if opening is None:
            continue
        start, fence = at, opening["fence"]
        while at < len(lines) and not _closes(lines[at], fence):
            at += 1
        if opening["language"] == "python":
            marked = NOT_RUN.fullmatch(lines[start - 2]) if start >= 2 else None
            code = textwrap.dedent("\n".join(lines[start:at]) + "\n")
            yield Block(start + 1, code, marked["reason"] if marked else None)
        at += 1


def _closes(line: str, fence: str) -> bool:
    line = line.strip()
    return line.startswith(fence) and not line.strip(fence[0])


def compiled(block: Block, page: Path) -> CodeType:
    """The block's code, with the page's own line numbers in its tracebacks."""
    padded = "\n" * (block.line - 1) + block.code
    code: CodeType = compile(
        padded, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    return code


def run_blocks(
    page: Path,
    blocks: list[Block],
    names: dict[str, object],
    subtests: pytest.Subtests,
) -> None:
    with asyncio.Runner() as runner:
        for block in blocks:
            if block.code.lstrip().startswith(">>>"):
                _run_session(page, block, names, subtests)
                continue
            code = compiled(block, page)
            if block.not_run:
                with subtests.test(f"{page.name}, line {block.line}"):
                    pytest.skip(f"not run: {block.not_run}")
            elif code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, names))
            else:
                exec(code, names)


def _run_session(
    page: Path, block: Block, names: dict[str, object], subtests: pytest.Subtests
) -> None:
    if block.not_run:
        with subtests.test(f"{page.name}, line {block.line}"):
            pytest.skip(f"not run: {block.not_run}")
        return
    session = doctest.DocTestParser().get_doctest(
        block.code, names, page.name, str(page), block.line - 1
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(session, clear_globs=False)
    names.update(session.globs)
    assert result.failed == 0, "see the report above"


def pages() -> list[str]:
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        page.relative_to(ROOT).as_posix()
        for page in found
        if page.is_file() and any(python_blocks(page.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize("name", pages())
def test_a_page_does_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    if name in SETUP:
        SETUP[name](tmp_path, names)
    page = ROOT / name
    run_blocks(page, list(python_blocks(page.read_text(encoding="utf-8"))), names, subtests)
    # What a page forgot to close must be complained of here, not in some later test.
    names.clear()
    gc.collect()


def test_every_prepared_page_exists():
    assert set(SETUP) <= set(pages())


def modules_with_doctests() -> list[str]:
    """Names of the modules whose text holds a prompt, found without importing any."""
    package = importlib.util.find_spec("cardbill")
    if package is None or package.submodule_search_locations is None:
        return []
    return sorted(_walk("cardbill", [Path(p) for p in package.submodule_search_locations]))


def _walk(package: str, folders: list[Path]) -> Iterator[str]:
    for folder in folders:
        if _has_prompt(folder / "__init__.py"):
            yield package
        for module in pkgutil.iter_modules([str(folder)]):
            if module.ispkg:
                yield from _walk(f"{package}.{module.name}", [folder / module.name])
            elif module.name != "__main__" and _has_prompt(folder / f"{module.name}.py"):
                yield f"{package}.{module.name}"


def _has_prompt(path: Path) -> bool:
    return path.is_file() and ">>> " in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", modules_with_doctests())
def test_a_docstring_does_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        pytest.skip(f"{name} needs {error.name}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0, "see the report above"
    assert result.attempted > 0, "a prompt that doctest does not find"


PAGE = """\
```python
total = 1
```

<!-- not run: needs a switch -->
```python
dial(total)
```

1. A list:

   ```python
   import asyncio
   await asyncio.sleep(0)
   total += 1
   ```

```text
not python
```

````md
```python
not looked at
```
````

```python
>>> total
2
```
"""


def test_blocks_are_found_with_their_lines():
    found = [(block.line, block.not_run) for block in python_blocks(PAGE)]
    assert found == [(2, None), (7, "needs a switch"), (13, None), (29, None)]


def test_blocks_share_their_names_and_may_await(subtests: pytest.Subtests):
    names: dict[str, object] = {}
    blocks = [block for block in python_blocks(PAGE) if not block.not_run]
    run_blocks(Path("page.md"), blocks, names, subtests)
    assert names["total"] == 2


def test_an_example_that_is_wrong_fails(subtests: pytest.Subtests):
    blocks = list(python_blocks("```python\nfine = 1\n\nassert fine == 2\n```\n"))
    with pytest.raises(AssertionError) as failure:
        run_blocks(Path("page.md"), blocks, {}, subtests)
    assert failure.traceback[-1].lineno == 3  # counted from 0


def test_a_session_that_is_wrong_fails(subtests: pytest.Subtests):
    blocks = list(python_blocks("```python\n>>> 1 + 1\n3\n```\n"))
    with pytest.raises(AssertionError, match="see the report above"):
        run_blocks(Path("page.md"), blocks, {}, subtests)


def test_a_block_that_is_not_run_must_still_compile(subtests: pytest.Subtests):
    blocks = list(python_blocks("<!-- not run: a sketch -->\n```python\ndial(\n```\n"))
    with pytest.raises(SyntaxError):
        run_blocks(Path("page.md"), blocks, {}, subtests)
