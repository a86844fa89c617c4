"""What a page's examples find when they start: files in their folder, names already defined."""

from collections.abc import Callable
from pathlib import Path

from cardbill.testing.report import Report
from tests.postgres_server import database

Setup = Callable[[Path, dict[str, object]], object]

# From a page's path relative to the project, as in "docs/how-to/import-a-deck.md", to a function
# that is given the folder the examples run in and the names they see.
SETUP: dict[str, Setup] = {
    "docs/how-to/prove-a-store.md": lambda folder, _: (folder / "report.json").write_text(
        Report().as_json(), encoding="utf-8"
    ),
    "docs/how-to/scale-out.md": lambda _, names: names.update(address=database()),
}
