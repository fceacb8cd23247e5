"""The order of the tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest comes first, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")
