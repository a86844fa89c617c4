"""Pages drawn from the code say what the code says."""

import runpy

import pytest

from tests.source_tree import ROOT

DRAWN = runpy.run_path(str(ROOT / "docs" / "drawn.py"))


@pytest.mark.parametrize("name", sorted(DRAWN["PAGES"]))
def test_a_drawn_page_is_up_to_date(name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == DRAWN["PAGES"][name](), "run python docs/drawn.py"
