"""What all tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the slowest file, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


def pytest_collection_finish() -> None:
    """One thread per process: test processes run in parallel, and results are the same on every machine."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five datasets, simulated, small and in their published layouts; tests must not change them."""
    from deflect.data.simulate import simulate
    from deflect.settings import DATASETS
    from deflect.settings.simulation import SimulationSize

    folder = tmp_path_factory.mktemp("raw")
    for name in DATASETS:
        simulate(name, folder / name, SimulationSize(train=6, val=2, test=3, pixels=48), seed=2)
    return folder
