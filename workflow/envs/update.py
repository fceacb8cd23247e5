"""Write environment.yml and workflow/envs/deflect.yml with exactly the pins of requirements.lock."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.11"


def pins() -> list[str]:
    """The lock's requirements without hashes, e.g. ``numpy==2.4.6 ; python_full_version < '3.12'``."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line.rstrip(" \\") for line in lines if re.match(r"[a-z0-9]", line)]


def environment(name: str, comment: str, requirements: list[str]) -> str:
    head = f"# Generated from requirements.lock by workflow/envs/update.py. {comment}\n"
    head += f"name: {name}\nchannels:\n  - conda-forge\n  - nodefaults\n"
    head += f"dependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n"
    return head + "".join(f'      - "{line}"\n' for line in requirements)


def environments() -> dict[Path, str]:
    """Every conda environment file of the project and what must stand in it."""
    return {
        # conda and mamba run pip in the folder of the file, so the dot is the project.
        ROOT / "environment.yml": environment("deflect", "The project and its packages.", [*pins(), "-e ."]),
        ROOT / "workflow/envs/deflect.yml": environment(
            "deflect-rules", "What `snakemake --use-conda` builds.", pins()
        ),
    }


if __name__ == "__main__":
    for path, text in environments().items():
        path.write_text(text)
