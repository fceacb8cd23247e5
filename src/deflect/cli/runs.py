"""``deflect train`` and ``deflect evaluate``."""

from __future__ import annotations

import sys
from argparse import Namespace

from deflect.config import load
from deflect.errors import DeflectError, one_line
from deflect.training import evaluate as evaluation
from deflect.training.grid import grid, train_all


def train(args: Namespace) -> int:
    config = load(args.config, args.study)
    return train_all(grid(config, args.dataset, args.gfm, args.method, args.seed, args.device, args.threads))


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
