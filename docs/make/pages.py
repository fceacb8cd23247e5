"""Write every file that repeats what the code knows: ``make docs`` (all), ``make schema`` (the JSON schema alone)."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from configuration_page import configuration_page, schema
from croissant import croissant
from datasets_page import datasets_page
from gfms_page import gfms_page
from methods_page import methods_page
from output_page import output_page
from reproduction_page import reproduction_page

from deflect.data.catalog import DATASETS

ROOT = Path(__file__).parents[2]
#: How each file is made.
PAGES = {
    "workflow/schemas/config.schema.json": schema,
    "docs/configuration.md": configuration_page,
    "docs/datasets.md": datasets_page,
    "docs/gfms.md": gfms_page,
    "docs/methods.md": methods_page,
    "docs/output.md": output_page,
    "docs/reproduction.md": reproduction_page,
} | {f"docs/croissant/{name}.json": partial(croissant, name) for name in DATASETS}

if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        (ROOT / name).write_text(PAGES[name]())
