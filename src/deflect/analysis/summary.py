"""The study on one HTML page: runs, results, differences from the paper, warnings."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from deflect.analysis import scores, tables
from deflect.analysis.audits import doubtful_labels, near_duplicates
from deflect.analysis.claims import verdicts
from deflect.analysis.comparison import INSIDE, NO_RUN, OUTSIDE, comparison, verdict_counts, why_not_comparable
from deflect.analysis.figures.efficiency import parameter_efficiency
from deflect.analysis.figures.style import encode
from deflect.analysis.looks import ORACLE, ordered, title, titles
from deflect.analysis.ranks import REFERENCE, evidence, ranks
from deflect.analysis.records import StudyRuns, devices, joules
from deflect.analysis.render import counted, html
from deflect.pages import fill
from deflect.settings.claims import Claims

FIGURE_TEXT = (
    "Average test score against the share of the GFM's parameters tuned (log axis, 0 left of the break). Dashed: full "
    "fine-tuning, the oracle. Grey: Pareto front. Bars: 95 % interval over seeds, where there are several."
)
SIMULATED = (
    "<b>Simulated data, small GFMs.</b> The images of this study are composed from measured spectra by this project, "
    "and its GFMs are small ones that it pretrained itself. It shows that the whole chain works; its numbers are not "
    "the paper's."
)
WHOLE = (
    "All runs of the grid are there, made by one state of code and data; no two that should differ have identical "
    "metrics."
)


def summary(
    study: StudyRuns,
    references: pd.DataFrame,
    claims: Claims,
    resamples: int = 10_000,
    duplicates: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """The summary page as self-contained HTML, the same bytes for the same records.

    Args:
        references: the paper's known numbers, from `comparison.load_references`.
        claims: the paper's claims, from `deflect.settings.claims.load_claims`.
        resamples: of the paired bootstrap.
        duplicates: by dataset, what `deflect.data.duplicates` found.
    """
    overview = tables.overview(study)
    return fill(
        Path(__file__).with_name("summary.html"),
        title=f"DEFLECT, replicated: the {study.name} study",
        banner=banner(study),
        facts="\n".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts(study).items()),
        figure=base64.b64encode(encode(parameter_efficiency(study), "png")).decode(),
        figure_text=escape(FIGURE_TEXT),
        evidence=_lines("p", [evidence(ranks(study, resamples).frame, study), economy(study)]),
        claims=html(verdicts(study, claims).printed),
        table=html(overview),
        notes=_lines("li", overview.notes),
        differences=_lines("li", differences(study, comparison(study, references).frame)),
        trust="\n".join([trust(study), _lines("p", [near_duplicates(study, duplicates), doubtful_labels(study)])]),
    )


def banner(study: StudyRuns) -> str:
    """What the numbers of a study that cannot be compared with the paper's do not claim, as HTML; or nothing."""
    if study.comparable:
        return ""
    reason = escape(f"No number is compared with the paper's: {why_not_comparable(study)}.")
    text = SIMULATED if study.simulated else reason
    return f'<p class="banner">{text}</p>'


def facts(study: StudyRuns) -> dict[str, str]:
    """Data, models and runs in short lines."""
    runs, found = study.main, sorted(set(study.runs.seed))
    codes = (record["code"] for record in study.runs.record)
    revisions = {f"{str(c['revision'] or 'no revision')[:12]}{' with changes' * bool(c.get('dirty'))}" for c in codes}
    seeds = f"seed{'s' * (len(found) > 1)} {', '.join(map(str, found))}"
    return {
        "Data": f"{study.data}: {', '.join(map(study.title, ordered(runs.dataset)))}",
        "GFMs": ", ".join(map(study.title, ordered(runs.gfm))),
        "Methods": titles(runs.method),
        "Runs": f"{len(runs)} of the main grid, {len(study.runs) - len(runs)} variants; {seeds}",
        "Training": f"{_duration(study.runs.train_s.sum())} in all, on {', '.join(devices(study.runs))}"
        + _energy(study),
        "Code": ", ".join(sorted(revisions)),
    }


def economy(study: StudyRuns) -> str:
    """Parameters tuned by each other method as a multiple of DEFLECT's."""
    complete = scores.averages(study).dropna(subset=["mean"])  # averages over different cells cannot be compared
    tuned = complete[complete.tuned_params > 0].set_index("method").tuned_params
    if REFERENCE not in tuned:
        return ""
    ratios = (tuned / tuned[REFERENCE]).drop([REFERENCE, ORACLE], errors="ignore")
    texts = [f"{title(method)} {ratio:.{0 if ratio >= 10 else 1}f} ×" for method, ratio in ratios.items()]
    heading = f"Parameters tuned beside {title(REFERENCE)}'s, on average over GFMs and datasets"
    return f"{heading}: {', '.join(texts)}." if texts else ""


def differences(study: StudyRuns, known: pd.DataFrame) -> list[str]:
    """Differences from the paper."""
    items = [
        "The paper's text could not be read in full when the method was written down. DEFLECT follows its abstract and "
        "public notes; every choice beyond them is stated in docs/reproduction.md; some are varied in the ablation.",
        f"{counted(study.main.seed.nunique(), 'training')} per cell; the paper does not say how many it has.",
        "Segmentation is averaged as mIoU and classification as macro F1; which F1 the paper reports is not known.",
    ]
    if others := ordered({*study.metrics.values()} - {"f1_macro", "f1_micro", "mIoU"}):
        items.append(f"Datasets of tasks that the paper does not have are averaged as {', '.join(map(title, others))}.")
    if study.comparable:
        counts = verdict_counts(known)
        verdicts = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in (INSIDE, OUTSIDE, NO_RUN))
        return [*items, f"Known numbers: {verdicts} of their tolerance or range; see tables/comparison.md."]
    why = "The GFMs do not have their published weights."
    if study.simulated:
        why = (
            "Data are simulated and the GFMs are small: the real data and GFMs are downloads of tens of gigabytes, "
            "and the mini study must run anywhere in minutes."
        )
    return [why, *items, "No number is compared with the paper's."]


def trust(study: StudyRuns) -> str:
    """Warnings, missing and stale runs as HTML, or a line that there are none."""
    missing = [f"missing: {run}" for run in study.missing]
    stale = [f"left out: {run} ({reason})" for run, reason in study.stale.itertuples(index=False)]
    dirty = sum(bool(record["code"].get("dirty")) for record in study.runs.record)
    edited = [f"{dirty} runs were made with uncommitted changes to the code."] if dirty else []
    warnings = [*study.warnings, *edited]
    found = [*warnings, *missing, *stale]
    if not found:
        return f"<p>{WHOLE}</p>"
    counts = f"<p>Warnings: {len(warnings)}. Runs missing: {len(missing)}, left out: {len(stale)}.</p>"
    shown = found[:30] + ([f"... and {len(found) - 30} more"] if len(found) > 30 else [])
    return f"{counts}\n<ul>\n{_lines('li', shown)}\n</ul>"


def _energy(study: StudyRuns) -> str:
    """The energy of the runs in kWh, where it is known."""
    known = joules(study.runs).dropna()
    some = f" by {len(known)} of {counted(len(study.runs), 'run')}" if len(known) < len(study.runs) else ""
    return f"; {known.sum() / 3.6e6:.2g} kWh{some}" if len(known) else ""


def _duration(seconds: float) -> str:
    """3 s, 12 min, 4.5 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _lines(tag: str, texts: Iterable[str]) -> str:
    """One HTML element per text; empty texts are left out."""
    return "\n".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts if text)
