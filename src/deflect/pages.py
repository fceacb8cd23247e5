"""Self-contained HTML pages: a template beside the module that fills it, with the head that all pages share."""

from __future__ import annotations

from pathlib import Path
from string import Template

_HEAD = Path(__file__).with_name("page_head.html")


def fill(template: Path, **parts: str) -> str:
    """The page of a ``template`` with ``$name`` for each of the ``parts``, which are HTML.

    ``$head`` is the start of every page, with its title and style; the template goes on with styles of its own.

    Raises:
        KeyError: the template has a name that is not among the parts.
    """
    head = Template(_HEAD.read_text(encoding="utf-8").rstrip()).substitute(title=parts["title"])
    return Template(template.read_text(encoding="utf-8")).substitute(head=head, **parts)
