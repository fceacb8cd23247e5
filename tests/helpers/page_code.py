"""The Python code of documentation pages, which tests run."""

from __future__ import annotations

import re

from paths import ROOT


def python_blocks(page: str, section: str = "") -> list[str]:
    """The Python blocks of a page, or of its section ``## section``."""
    text = (ROOT / page).read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
