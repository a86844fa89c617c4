"""Writes the page of the museum: `python -m tests.museum`."""

from tests.museum.page import PAGE, draw

PAGE.write_text(draw(), encoding="utf-8")
print(PAGE)
