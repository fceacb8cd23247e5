"""Mutation tests: change one place of the code at a time (cosmic-ray) and run the tests of its module.

    make mutation                                 # a seeded sample of every module, about half an hour on 2 cores
    make mutation ARGUMENTS="--only heads --sample 20 --seed 1"

Prints for each module how many changes the tests noticed, and each change that they did not. Works on copies.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parents[2]
#: By module: its files under src/deflect and its tests, the quickest first.
MODULES: dict[str, tuple[str, list[str]]] = {
    "methods": ("methods/**/*.py", ["deflect", "methods", "misuse", "adapters", "export"]),
    "settings": ("settings/*.py", ["config", "methods", "training"]),
    "spectral": ("spectral/*.py", ["spectral", "measured_pixels", "misuse", "deflect"]),
    "heads": ("heads/*.py", ["heads", "training"]),
    "training": ("training/*.py", ["metrics", "batches", "training", "record", "training_errors", "resume"]),
    "data/checks": ("data/checks.py", ["checks", "prepare", "measured_pixels"]),
    "data/statistics": ("data/statistics.py", ["checks", "prepare", "measured_pixels"]),
    "analysis/scores": ("analysis/scores.py", ["tables", "ranks", "figures"]),
    "analysis/ranks": ("analysis/ranks.py", ["ranks"]),
}
#: Tests that start processes are slow and left out, and so is the module that they test.
QUICK = "not processes and not process_that and not sigkill"
STARTS_PROCESSES = "context.py"
#: Lines that need no test.
LEFT_OUT = ("TYPE_CHECKING", "log.", "print(")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=MODULES, default=list(MODULES), metavar="MODULE")
    parser.add_argument("--sample", type=int, default=30, help="places per module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to measure")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        root = chosen.root.resolve()
        running = [pool.submit(measure, module, root, chosen.sample, chosen.seed) for module in chosen.only]
        for report in as_completed(running):
            print(report.result(), flush=True)


def measure(module: str, root: Path, size: int, seed: int) -> str:
    """How many changes of the sample the tests notice, and the others as diffs."""
    pattern, tests = MODULES[module]
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        for file in subprocess.check_output(listed, cwd=root, text=True).splitlines():
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, file, follow_symlinks=False)
        os.environ["PYTHONPATH"] = f"{name}/src"
        files = [file for test in tests for file in Path("tests").rglob(f"test_{test}.py")]
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
        command += ["-k", QUICK, *map(str, files)]
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        longest = 3 * (time.monotonic() - started)
        modules = [path for path in sorted(Path("src/deflect").glob(pattern)) if path.name != STARTS_PROCESSES]
        sample = places(modules, size, seed)
        results = [mutate_and_test([mutation], shlex.join(command), longest) for mutation in sample]
    alive = [result.diff for result in results if not result.is_killed]
    share = f"{module}: {len(results) - len(alive)} of {len(results)} noticed"
    return "\n\n".join([share, *map(str, alive)])


def places(files: list[Path], size: int, seed: int) -> list[MutationSpec]:
    """One random change at each of ``size`` random places of the files."""
    with use_db(":memory:", WorkDB.Mode.create) as database:
        init(files, database, {})
        mutations = [mutation for item in database.work_items for mutation in item.mutations]
    by_place: dict[tuple[str, tuple[int, int]], list[MutationSpec]] = {}
    texts = {str(file): file.read_text() for file in files}
    lines = {path: text.splitlines() for path, text in texts.items()}
    silent = {path: annotated(text) for path, text in texts.items()}
    for mutation in sorted(mutations, key=lambda m: (m.module_path, m.start_pos, m.operator_name, m.occurrence)):
        path, line = str(mutation.module_path), mutation.start_pos[0]
        text = lines[path][line - 1]
        guard = text[: mutation.start_pos[1]].endswith("strict=")  # zip of equal lengths
        if not (guard or mutation.start_pos in silent[path] or any(word in text for word in LEFT_OUT)):
            by_place.setdefault((path, mutation.start_pos), []).append(mutation)
    draw = random.Random(seed)
    return [draw.choice(by_place[place]) for place in draw.sample(sorted(by_place), min(size, len(by_place)))]


def annotated(text: str) -> set[tuple[int, int]]:
    """Every position (line, column) inside a type annotation, which is never evaluated."""
    found: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(text)):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                for line in range(part.lineno, part.end_lineno + 1):
                    first = part.col_offset if line == part.lineno else 0
                    last = part.end_col_offset if line == part.end_lineno else 200
                    found |= {(line, column) for column in range(first, last)}
    return found


if __name__ == "__main__":
    main()
