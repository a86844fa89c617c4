"""How Sphinx builds these pages; `make docs` puts them into build/docs."""

import importlib
import inspect
from importlib.metadata import version as installed_version

from sphinx.application import Sphinx

import cardbill

project = "cardbill"
author = "The cardbill authors"
copyright = "2026, The cardbill authors"  # noqa: A001 - the name Sphinx asks for
release = version = installed_version("cardbill")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**/_*"]
html_theme = "furo"
html_title = f"cardbill {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# "Attributes:" sections and autodoc's members would otherwise both describe a field.
napoleon_use_ivar = True

# Several classes have an attribute of one name, `currency` say: a field list may mean any.
suppress_warnings = ["ref.python"]

API_PAGE = "reference/api"
API_MARK = "<!-- the public names -->"


def public_names() -> str:
    """An autodoc directive for each name in `cardbill.__all__`, under the module defining it."""
    by_module: dict[str, list[tuple[str, str]]] = {}
    for name in cardbill.__all__:
        public = getattr(cardbill, name)
        if inspect.ismodule(public):
            by_module.setdefault(public.__name__, []).insert(0, ("module", public.__name__))
            continue
        kind = "data"
        if inspect.isclass(public):
            kind = "exception" if issubclass(public, BaseException) else "class"
        elif inspect.isroutine(public):
            kind = "function"
        home = getattr(public, "__module__", "cardbill") if kind != "data" else "cardbill"
        by_module.setdefault(home, []).append((kind, f"cardbill.{name}"))
    return "\n".join(_section(module, names) for module, names in sorted(by_module.items()))


def _section(module: str, names: list[tuple[str, str]]) -> str:
    summary = (inspect.getdoc(importlib.import_module(module)) or "").split("\n\n")[0]
    lines = [f"## {module}", "", summary.replace("\n", " "), "", "```{eval-rst}"]
    for kind, name in names:
        lines += [f".. auto{kind}:: {name}"]
        if kind in {"class", "exception", "module"}:
            lines += ["   :members:"]
        lines += [""]
    return "\n".join([*lines, "```", ""])


def write_public_names(_app: Sphinx, page: str, source: list[str]) -> None:
    """Put the public names where the reference page asks for them."""
    if page == API_PAGE:
        source[0] = source[0].replace(API_MARK, public_names())


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", write_public_names)
