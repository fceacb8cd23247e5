"""``deflect train``, ``deflect tune`` and ``deflect evaluate``."""

from __future__ import annotations

import sys
from argparse import Namespace

from deflect.config import load
from deflect.errors import DeflectError, one_line
from deflect.settings.study import RunName
from deflect.trained import evaluate as evaluation
from deflect.training.grid import grid, searches, train_all, tune_all


def train(args: Namespace) -> int:
    chosen = {field: getattr(args, field) for field in RunName._fields}
    return train_all(grid(load(args.config, args.study), chosen, args.device, args.threads))


def tune(args: Namespace) -> int:
    chosen = {field: getattr(args, field) for field in ("dataset", "gfm", "method")}
    return tune_all(searches(load(args.config, args.study), chosen, args.device, args.threads))


def evaluate(args: Namespace) -> int:
    """Evaluate every run; the exit code is 1 if one of them fails or differs from its record."""
    code = 0
    for run in args.runs:
        try:
            found = evaluation.evaluate(run)
            print(found)
            code |= not found.agrees
        except (DeflectError, OSError) as error:
            print(f"deflect: {one_line(error)}", file=sys.stderr)
            code = 1
    return code
