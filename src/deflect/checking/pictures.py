"""The sections of the page with images, as HTML. Everything that a user wrote is escaped here."""

from __future__ import annotations

from html import escape

import numpy as np

from deflect.checking.facts import Facts
from deflect.checking.labels import IMAGES, PIXELS, POSITIVES
from deflect.checking.thumbnails import CLASSES, NAMES, false_colour, groups, mask, picture, target

RGB = ("R", "G", "B")
#: Pairs of near-duplicates that are shown.
PAIRS = 8


def pictures(facts: Facts) -> str:
    """Random training images of each class with their labels."""
    card, train = facts.card, facts.splits["train"]
    roles = false_colour(card.bands)
    text = "Random images of train in natural colours, each stretched to its own range"
    if roles:
        text += f"; beside them {', '.join(NAMES[role] for role in roles)} as red, green and blue"
    if train.labels.kind == PIXELS or (train.split.labels.dtype.kind == "f" and train.split.labels.ndim == 3):
        text += "; then the labels"
    parts = [f'<p class="notes">{escape(text)}.</p>', _legend(facts)]
    for group in groups(train, card.classes):
        parts.append(f"<h3>{escape(group.title)}</h3>" if group.title else "")
        parts.append(f'<div class="shots">{"".join(_shot(facts, "train", row, roles) for row in group.rows)}</div>')
    if train.labels.kind in (IMAGES, POSITIVES) and len(card.classes) > CLASSES:
        parts.append(f'<p class="notes">The first {CLASSES} of {len(card.classes)} classes are shown.</p>')
    return "\n".join(filter(None, parts))


def _shot(facts: Facts, name: str, row: int, roles: tuple[str, ...]) -> str:
    """An image in natural and false colours, its label map if it has one, and its name."""
    split = facts.splits[name].split
    title, label = split.ids[row], _label(facts, name, row)
    text = escape(f"{name} image {title}{': ' if label else ''}{label}")
    shown = [picture(split, row, RGB)] + ([picture(split, row, roles)] if roles else [])
    values = split.labels[row]
    if split.labels.ndim == 3:
        ends = facts.splits["train"].labels.values
        is_target = values.dtype.kind == "f"
        shown.append(
            target(values, float(ends.min()), float(ends.max())) if is_target else mask(values, len(facts.card.classes))
        )
    tags = "".join(f'<img alt="{text}" src="{one}">' for one in shown)
    is_class = facts.splits[name].labels.kind == IMAGES  # the heading names it
    under = "<br>".join(map(escape, filter(None, [title, "" if is_class else label])))
    return f'<figure class="shot"><span>{tags}</span><figcaption>{under}</figcaption></figure>'


def _label(facts: Facts, name: str, row: int) -> str:
    labels = facts.splits[name].split.labels
    if labels.ndim == 3:
        return ""
    if labels.ndim == 2:
        return ", ".join(facts.card.classes[place] for place in np.flatnonzero(labels[row] == 1)) or "none"
    return f"{labels[row]:.3g}" if labels.dtype.kind == "f" else facts.card.classes[int(labels[row])]


def _legend(facts: Facts) -> str:
    if facts.splits["train"].labels.kind != PIXELS:
        return ""
    from deflect.analysis.figures.maps import UNLABELLED
    from deflect.analysis.looks import palette

    colours = [*palette(len(facts.card.classes)), UNLABELLED]
    entries = zip(colours, [*facts.card.classes, "unlabelled"], strict=True)
    return (
        '<div class="legend">'
        + "".join(f'<span><i style="background: {colour}"></i>{escape(title)}</span>' for colour, title in entries)
        + "</div>"
    )


def pairs(facts: Facts) -> str:
    """The most similar pairs of different splits side by side."""
    note = "A copy that is turned, shifted far, or has no pattern is not found."
    if not facts.pairs:
        return f'<p class="notes">No image of a split is nearly the same as one of another split. {note}</p>'
    shown = []
    for pair in facts.pairs[:PAIRS]:
        both = ((pair.first, pair.row), (pair.second, pair.other))
        names = [f"{name} {facts.splits[name].split.ids[row]}" for name, row in both]
        tags = "".join(
            f'<img alt="{escape(text)}" src="{picture(facts.splits[name].split, row, RGB)}">'
            for (name, row), text in zip(both, names, strict=True)
        )
        how = "exact copies" if pair.exact else f"similarity {pair.similarity:.3f}"
        under = "<br>".join(map(escape, [*names, how]))
        shown.append(f'<figure class="shot"><span>{tags}</span><figcaption>{under}</figcaption></figure>')
    text = f"{len(facts.pairs):,} pairs; the most similar ones: {note}"
    return f'<p class="notes">{text}</p>\n<div class="shots">{"".join(shown)}</div>'
