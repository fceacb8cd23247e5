"""Paths of the project, and of real images that only some machines have."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests/helpers"
FIXTURES = ROOT / "tests/fixtures"
SNAPSHOTS = ROOT / "tests/snapshots"
REAL = ROOT.parent / "shared/data/real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not on this machine")
