"""What all tests share."""

from __future__ import annotations

import sys

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest comes first, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


def pytest_collection_finish() -> None:
    """One thread: processes run side by side, and results stay the same bits on every machine."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
