"""The readme of the packages: README.md without links into the project, which lead nowhere on PyPI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = r"\((?!https?:)[^)]*\)"


class Readme(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = re.sub(rf"!\[[^]]*\]{RELATIVE}\n*", "", text)  # pictures
        text = re.sub(rf"\[([^]]+)\]{RELATIVE}", r"\1", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
