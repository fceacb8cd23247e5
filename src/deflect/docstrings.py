"""What docstrings say about the fields of a dataclass: the pages of docs/ and the schema repeat it."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

#: ``name: text``, with lines that are indented further.
ENTRY = re.compile(r"^( *)(\w+): (.*(?:\n\1 +.*)*)", flags=re.MULTILINE)


def field_meanings(cls: type) -> dict[str, str]:
    """By field, the text of the line ``name: text`` in the docstring of a dataclass, else of its nearest base."""
    names = {field.name for field in fields(cls)}
    entries = [entry for part in reversed(cls.__mro__) for entry in ENTRY.findall(inspect.cleandoc(part.__doc__ or ""))]
    return {name: " ".join(text.split()) for _, name, text in entries if name in names}
