"""The sources of cardbill as text and syntax trees, for tests that read and do not import them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "cardbill"
TESTS = ROOT / "tests"


def read_sources() -> dict[str, str]:
    """Every module's text under its name without `cardbill.`.

    `storage/memory.py` is `storage.memory`, `storage/__init__.py` is `storage.__init__`.
    """
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted target of every import, wherever it stands.

    That is at the top, in a function, under TYPE_CHECKING, or by `import_module("...")`. For
    `from package import name` it is `package.name`, whether that is a module or not.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node.level, node.module or "")
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    name = argument.value
                    dots = len(name) - len(name.lstrip("."))
                    yield node.lineno, _absolute(module, dots, name[dots:])


def lines_for_typing(source: str) -> set[int]:
    """The lines under `if TYPE_CHECKING:`, which never run."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.If)
        and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for inner in node.body
        for line in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1)
    }


def _absolute(module: str, level: int, name: str) -> str:
    if level == 0:
        return name
    home = ["cardbill", *module.split(".")][: -level or None]
    return ".".join([*home, *([name] if name else [])])


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
