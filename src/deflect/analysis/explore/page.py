"""The page as self-contained HTML: libraries, runs and records are in it, compressed."""

from __future__ import annotations

import base64
import gzip
import json
from html import escape
from pathlib import Path

from deflect.analysis import tables
from deflect.analysis.explore.addresses import Addresses
from deflect.analysis.explore.chart import efficiency
from deflect.analysis.explore.runs import COLUMNS, in_order, record, row
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import html
from deflect.analysis.summary import banner, facts, trust
from deflect.pages import fill


def page(study: StudyRuns) -> str:
    """The page, the same bytes for the same records and versions of the libraries.

    Raises:
        DataError: a file of a run changed since the run wrote it.
    """
    import itables.options  # both take a second
    from vl_convert import javascript_bundle

    runs, addresses = in_order(study), Addresses(study.runs.run)
    main = tables.main(study).printed
    here, datatables = Path(__file__).parent, Path(itables.options.dt_bundle)
    data = {
        "columns": list(COLUMNS.items()),
        "rows": [row(study, run) for run in runs.itertuples()],
        "records": {run.run: record(run) for run in runs.itertuples()},
        "chart": efficiency(study, addresses),
    }
    return fill(
        here / "page.html",
        title=escape(f"The {study.name} study, run by run"),
        banner=banner(study),
        facts="\n".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts(study).items()),
        main=html(main, addresses.of),
        notes="\n".join(f"<li>{escape(note)}</li>" for note in main.notes),
        trust=trust(study),
        data=packed(json.dumps(data, allow_nan=False, separators=(",", ":"))),
        vega=packed(javascript_bundle()),  # type: ignore[call-arg]  # its stub lacks the default
        datatables=packed(datatables.read_text(encoding="utf-8")),
        datatables_style=packed(datatables.with_suffix(".css").read_text(encoding="utf-8")),
        script=(here / "page.js").read_text(encoding="utf-8"),
    )


def packed(text: str) -> str:
    """Text as gzip in base64, a third of its size, in which no HTML can be hidden."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
