"""Paths of the project, and of real images that only some machines have."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests/helpers"
FIXTURES = ROOT / "tests/fixtures"
SNAPSHOTS = ROOT / "tests/snapshots"
REAL_VIT = ROOT.parent / "shared/weights/dinov2_small_fp16.safetensors"
REAL = ROOT.parent / "shared/data/real"
needs_real_vit = pytest.mark.skipif(not REAL_VIT.is_file(), reason="the real weights are not on this machine")
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not on this machine")
