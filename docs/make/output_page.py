"""The table of the run record in docs/output.md, generated from `deflect.record`."""

from __future__ import annotations

import re
from pathlib import Path

from deflect.analysis.render import pipe_table
from deflect.record import FIELDS, type_name

PAGE = Path(__file__).parents[1] / "output.md"


def output_page() -> str:
    """docs/output.md with a new table of the run record."""
    rows = [[f"`{key}`", type_name(field.type), field.meaning] for key, field in FIELDS.items()]
    made = f"<!-- made: record -->\n{pipe_table(['key', 'type', 'meaning'], rows)}<!-- end -->"
    return re.sub(r"<!-- made: record -->\n.*?<!-- end -->", lambda _: made, PAGE.read_text(), flags=re.DOTALL)
