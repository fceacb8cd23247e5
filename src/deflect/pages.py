"""Self-contained HTML pages: a template beside the module that fills it, with the style that all pages share."""

from __future__ import annotations

from pathlib import Path
from string import Template

_STYLE = Path(__file__).with_name("page.css")


def fill(template: Path, **parts: str) -> str:
    """The page of a ``template`` with ``$name`` for each of the ``parts``, which are HTML, and ``$style``.

    Raises:
        KeyError: the template has a name that is not among the parts.
    """
    return Template(template.read_text(encoding="utf-8")).substitute(
        style=_STYLE.read_text(encoding="utf-8").rstrip(), **parts
    )
