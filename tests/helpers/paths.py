"""Where tests find files of the project, and files beside it that only some machines have."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests/helpers"
FIXTURES = ROOT / "tests/fixtures"
SNAPSHOTS = ROOT / "tests/snapshots"
#: Real images and weights; tests that need them skip where they are absent.
REAL = ROOT.parent / "shared/data/real"
WEIGHTS = ROOT.parent / "shared/weights"
