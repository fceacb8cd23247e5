"""The page of a dataset as self-contained HTML, the same bytes for the same data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from deflect.checking import pictures, sections
from deflect.checking.facts import Facts
from deflect.checking.suspicions import Checked
from deflect.pages import fill

CALM = "Nothing suspicious found in these checks"
LIMIT = "No check can see whether labels are right or whether the images suit the question: look at them below."
SIMULATED = "<b>Simulated data.</b> These images were composed by this project; they are no measurements."


def page(facts: Facts, checked: list[Checked], title: str, licence: str) -> str:
    """The page.

    Args:
        checked: from `suspicions.run_checks`.
    """
    return fill(
        Path(__file__).with_name("page.html"),
        title=escape(f"{title}: before you train"),
        banner=f'<p class="banner">{SIMULATED}</p>' if facts.card.simulated else "",
        verdict=verdict(checked),
        checked="\n".join(f"<li>{escape(one.title)}: {escape(_result(one))}</li>" for one in checked),
        sample=_sample(facts),
        facts="\n".join(
            f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>"
            for key, value in sections.overview(facts, licence).items()
        ),
        labels=sections.labels(facts),
        reflectance=sections.reflectance(facts),
        images=pictures.pictures(facts),
        places=sections.places(facts),
        pairs=pictures.pairs(facts),
        footer=f"Made by <code>deflect data check</code> of the store {facts.card.sha256[:12]}.",
    )


def verdict(checked: Iterable[Checked]) -> str:
    """Everything suspicious with what to do, or a calm line that names what was checked."""
    checked = list(checked)
    findings = [finding for one in checked for finding in one.findings]
    if not findings:
        done = "; ".join(one.title for one in checked if not one.skipped)
        return f'<p class="calm"><b>{CALM}:</b> {escape(done)}. {LIMIT}</p>'
    items = "\n".join(
        f'<li>{_prose(finding.found)} <span class="remedy">{_prose(finding.remedy)}</span></li>' for finding in findings
    )
    heading = "One thing looks suspicious" if len(findings) == 1 else f"{len(findings)} things look suspicious"
    return f'<div class="found"><b>{heading}</b>\n<ol>\n{items}\n</ol></div>\n<p class="notes">{LIMIT}</p>'


def _prose(text: str) -> str:
    """Text as HTML, with what is between backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _result(one: Checked) -> str:
    if one.skipped:
        return f"not checked ({one.skipped})"
    return f"{len(one.findings)} found, see above" if one.findings else "nothing found"


def _sample(facts: Facts) -> str:
    if not facts.sampled:
        return ""
    counts = ", ".join(f"{len(split.rows):,} of {split.n:,} in {name}" for name, split in facts.splits.items())
    return (
        f'<p class="notes"><b>A sample.</b> Of so many images a random part was read: {counts}. Pixels, masks, places '
        "and duplicates are those of this sample, so a rare fault may be missed. <code>deflect data duplicates</code> "
        "compares all images.</p>"
    )
