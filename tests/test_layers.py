"""Imports point one way, held over the syntax tree: nothing here imports cardbill."""

from collections.abc import Iterator, Mapping

import pytest

from tests.source_tree import PACKAGE, TESTS, imports, read_sources

# Lowest first. A module imports from lower layers, and in its own layer from what is listed before
# it. A name stands for the module or, once split, for the folder of that name with all that is in
# it; `x.__init__` is the folder's own file alone.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    (
        "names",
        "money",
        "numberplans",
        "dialing",
        "dialplans",
        "locales",
        "numberplaces",
        "instants",
        "status",
        "denials",
        "csvfiles",
        "workbooks",
        "luhn",
        "callerid",
    ),
    (
        "seals",
        "keyring",
        "pins",
        "cardnumbers",
        "increments",
        "rating",
        "access",
        "dialled",
        "tariffs",
        "terms",
        "bands",
        "deckindex",
        "decks",
        "codecells",
        "dateforms",
        "dialects",
        "ratecells",
        "deckchecks",
        "decklines",
        "explaining",
        "disclosing",
        "deckfiles",
        "jurisdictions",
        "taxforms",
        "taxes",
        "taxengines",
        "taxterms",
        "taxregions",
        "batches",
        "uploading",
        "exchange",
        "accesscost",
        "deckdiff",
        "throttling",
        "groups",
        "cycles",
        "charges",
        "debts",
        "packages",
        "buckets",
        "callterms",
        "usagelimits",
        "saleterms",
    ),
    ("flags", "carriers", "routing", "plans", "catalogueitems", "catalogue"),
    (
        "holds",
        "calls",
        "endings",
        "ledger",
        "statementwords",
        "statements",
        "operations",
        "rerating",
        "cards",
        "holdterms",
        "cardstate",
        "taxing",
        "saletaxes",
        "charging",
        "passing",
    ),
    (
        "answers",
        "reach",
        "authorization",
        "settling",
        "accounting",
        "transferring",
        "registration",
        "recounting",
        "quoting",
        "purses",
        "feewords",
        "posters",
        "ivr",
    ),
    (
        "storage.contract",
        "storage.checks",
        "storage.memory",
        "storage.sqlite_schema",
        "storage.sqlite_connections",
        "storage.sqlite_adding",
        "storage.sqlite",
        "storage.postgres_faults",
        "storage.postgres_connections",
        "storage.postgres_schema",
        "storage.postgres_rows",
        "storage.postgres_statements",
        "storage.postgres_recent",
        "storage.postgres_swaps",
        "storage.postgres_steps",
        "storage.postgres_attempts",
        "storage.postgres_adding",
        "storage.postgres",
        "storage.aio.bridge",
        "storage.aio.contract",
        "storage.aio.relay",
        "storage.aio.waiting",
        "storage.aio.memory",
        "storage.aio.sqlite",
        "storage.aio.postgres_connections",
        "storage.aio.postgres",
        "storage.aio.__init__",
        "storage.__init__",
    ),
    (
        "proofs",
        "books",
        "rows",
        "paging",
        "steps",
        "journal",
        "keymarks",
        "numbering",
        "presented",
        "attempts",
        "denialcounts",
        "gate",
        "shelf",
        "inquiry",
        "stating",
        "callers",
        "taxdesk",
        "runner",
        "accounts",
        "rekeying",
        "retention",
        "control",
        "exporting",
        "deckwriting",
        "intake",
        "issuing",
        "reports",
        "laws",
        "evidence",
        "audit",
        "callflow",
        "engine",
        "opening",
        "aio.wrapping",
        "aio.parts",
        "aio.engine",
        "aio.__init__",
        "bulk",
    ),
    ("contrib", "cli", "__main__"),
    ("__init__", "__main__"),
)
DOMAIN_LAYERS = LAYERS[:6]

# Stores know no rules: of the domain they may know only these.
STORAGE_MAY_IMPORT = {"errors", "instants", "storage"}

# May import anything, and is imported by nobody.
TESTING = "testing"

MAX_LINES = 600

RANK = {name: rank for rank, name in enumerate(name for layer in LAYERS for name in layer)}


def entry(module: str) -> str | None:
    """The row of the table that a module falls under."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in RANK or name == TESTING), None)


def resolve(target: str, modules: Mapping[str, str]) -> str | None:
    """The module of cardbill that an import target names, or None for somebody else's."""
    parts = target.split(".")
    if parts[0] != "cardbill":
        return None
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[1:length])
        for module in (name, f"{name}.__init__" if name else "__init__"):
            if module and module in modules:
                return module
    return ".".join(parts[1:]) or "__init__"


def dependencies(modules: Mapping[str, str]) -> Iterator[tuple[str, int, str]]:
    for module, source in modules.items():
        for line, target in imports(module, source):
            imported = resolve(target, modules)
            if imported is not None and imported != module:
                yield module, line, imported


def violations(modules: Mapping[str, str]) -> list[str]:
    found = [
        f"{module}: place it in LAYERS (tests/test_layers.py)"
        for module in modules
        if entry(module) is None
    ]
    for module, line, imported in dependencies(modules):
        where = f"{module}, line {line}: imports {imported}"
        here, there = entry(module), entry(imported)
        if here is None or here == TESTING:
            continue
        if there is None:
            found.append(f"{where}, which LAYERS does not place")
        elif there == TESTING:
            found.append(f"{where}, but nobody imports {TESTING}")
        elif module.startswith("storage.") and imported.split(".")[0] not in STORAGE_MAY_IMPORT:
            found.append(f"{where}, but a store may import only {sorted(STORAGE_MAY_IMPORT)}")
        elif here != there and RANK[there] > RANK[here]:
            found.append(f"{where}, which lies above it")
    found += [f"a cycle: {' -> '.join(cycle)}" for cycle in cycles(modules)]
    return list(dict.fromkeys(found))


def cycles(modules: Mapping[str, str]) -> list[list[str]]:
    """Circles of imports; the ranks cannot see one inside a folder."""
    graph: dict[str, list[str]] = {}
    for module, _, imported in dependencies(modules):
        if entry(module) != TESTING:
            graph.setdefault(module, []).append(imported)
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for imported in graph.get(module, ()):
                visit(imported, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])
    return found


def test_imports_point_one_way():
    found = violations(read_sources())
    assert not found, "\n".join(found)


def test_no_file_is_too_long_to_hold_in_the_head():
    files = [path for folder in (PACKAGE, TESTS) for path in folder.rglob("*.py")]
    lengths = {str(path): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_the_sources_are_where_this_test_looks():
    assert (PACKAGE / "errors.py").is_file()


def test_a_lower_layer_or_an_earlier_file_may_be_imported():
    assert (
        violations(
            {
                "__init__": "from cardbill.engine import Engine",
                "errors": "",
                "money": "import moneyed\nfrom cardbill.errors import CardbillError",
                "dialing": "from cardbill import errors, money",
                "instants": "",
                "cards.__init__": "from cardbill.cards.holds import hold",
                "cards.holds": "from cardbill.cards import state\nfrom .state import Card",
                "cards.state": "from ..money import units",
                "storage.contract": "from cardbill import errors, instants",
                "storage.memory": "from .contract import Storage",
                "engine": "import cardbill.storage.memory",
                "testing.fakes": "import cardbill",
            }
        )
        == []
    )


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("errors", "from cardbill import money", "lies above"),
        ("errors", "from .money import Currency", "lies above"),
        ("money", "import cardbill.dialing", "lies above"),
        ("money", "def f():\n    from cardbill.engine import Engine", "line 2: imports engine"),
        (
            "money",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cardbill import engine",
            "line 3: imports engine",
        ),
        ("money", 'import importlib\nimportlib.import_module("cardbill.engine")', "lies above"),
        ("money", "import cardbill", "imports __init__, which lies above"),
        ("money", "from cardbill.storage.contract import Storage", "lies above"),
        ("engine", "from cardbill.testing.fakes import Clock", "nobody imports testing"),
        ("engine", "from cardbill import Engine", "imports __init__, which lies above"),
        ("storage.memory", "from cardbill.money import units", "a store may import only"),
        ("storage.memory", "from ..engine import Engine", "a store may import only"),
        ("storage.contract", "from . import memory", "lies above"),
        ("surprise", "", "place it"),
        ("storage.surprise", "", "place it"),
        ("cards.holds", "from . import settling", "a cycle: cards."),
    ],
)
def test_the_check_finds_a_violation(module: str, source: str, complaint: str):
    others = {
        "__init__": "",
        "money": "",
        "dialing": "",
        "engine": "",
        "storage.contract": "",
        "storage.memory": "",
        "cards.settling": "from .holds import hold",
        "testing.fakes": "",
    }
    found = violations(others | {module: source})
    assert any(complaint in line for line in found), found
