"""The sections of the page with numbers and figures, as HTML. Everything that a user wrote is escaped here."""

from __future__ import annotations

from html import escape

from deflect.checking.facts import Facts, SplitFacts
from deflect.checking.finding import percent
from deflect.checking.labels import IMAGES, PIXELS, POSITIVES, TARGET
from deflect.checking.usual import usual


def overview(facts: Facts, licence: str) -> dict[str, str]:
    """Counts, units and sources in short lines."""
    card, bands = facts.card, facts.card.bands
    sizes = ", ".join(f"{name} {split.n:,}" for name, split in facts.splits.items())
    side = f"{card.image_size} × {card.image_size} pixels"
    width = card.image_size * card.gsd
    return {
        "Task": f"{card.task}, {len(card.classes)} {'target' if card.task.endswith('regression') else 'classes'}",
        "Images": f"{sizes}; {side} of {card.gsd:g} m ({width / 1000:.3g} km)"
        if width >= 1000
        else f"{sizes}; {side} of {card.gsd:g} m ({width:.3g} m)",
        "Bands": f"{bands.sensor}: {', '.join(f'{band.name} ({band.wavelength:g} nm)' for band in bands)}",
        "Reflectance": f"value in the file {_offset(card.offset)}× {_numbers(card.scale)}",
        "Not measured": f"values {_numbers(card.nodata)}, and those that are not finite"
        if card.nodata
        else "values that are not finite, and what the files mask; no nodata value is set",
        "Source": card.source or "not stated",
        "Licence": licence or "not stated",
    }


def _offset(offset: float | tuple[float, ...]) -> str:
    return "" if offset == 0 else f"+ ({_numbers(offset)}), then "


def _numbers(values: float | tuple[float, ...]) -> str:
    values = values if isinstance(values, tuple) else (values,)
    return ", ".join(f"{value:g}" for value in values)


def labels(facts: Facts) -> str:
    """A table of classes by split with bars, or histograms of a target."""
    kind = facts.splits["train"].labels.kind
    if kind == TARGET:
        from deflect.checking.figures import target_histogram

        name = facts.card.classes[0]
        values = {split: found.labels.values for split, found in facts.splits.items()}
        means = "; ".join(
            f"{split} {each.mean():.3g} ± {each.std():.3g}" for split, each in values.items() if len(each)
        )
        text = f"{name}, mean and standard deviation: {means}"
        shown = f'<img alt="{escape(text)}" src="{target_histogram(name, values)}">'
        return f'<figure class="one">{shown}<figcaption>{escape(text)}.</figcaption></figure>'
    header = "".join(f"<th>{name}</th>" for name in facts.splits)
    rows = [
        f"<tr><td>{escape(title)}</td>{''.join(_bar(split, place) for split in facts.splits.values())}</tr>"
        for place, title in enumerate(facts.card.classes)
    ]
    what = {IMAGES: "Images", PIXELS: "Pixels", POSITIVES: "Images with the label"}[kind]
    part = " of the images that were read" if kind == PIXELS and facts.sampled else ""
    nothing = ", ".join(f"{name} {percent(split.labels.unlabelled)}" for name, split in facts.splits.items())
    if kind == POSITIVES:
        nothing = ", ".join(f"{name} {percent(split.labels.blank.mean())}" for name, split in facts.splits.items())
    return (
        f'<p class="notes">{what}{part}, and their share in the split. Without label: {nothing}.</p>\n'
        f'<div class="wide"><table>\n<tr><th>class</th>{header}</tr>\n' + "\n".join(rows) + "\n</table></div>"
    )


def _bar(split: SplitFacts, place: int) -> str:
    share, count = split.labels.shares[place], split.labels.counts[place]
    fill = f"linear-gradient(to right, #cfe3f2 {100 * share:.1f}%, transparent {100 * share:.1f}%)"
    return f'<td class="bar" style="background-image: {fill}">{count:,} ({percent(share)})</td>'


def reflectance(facts: Facts) -> str:
    """One histogram per band."""
    from deflect.checking.figures import band_histogram

    bands, known = facts.card.bands, usual(facts.card.bands)
    figures = []
    for place, band in enumerate(bands.names):
        values = {split: found.pixels[:, place] for split, found in facts.splits.items()}
        means = ", ".join(f"{split} {each.mean():.3f}" for split, each in values.items() if len(each))
        text = escape(f"Reflectance of {band}, mean: {means}")
        figures.append(f'<figure><img alt="{text}" src="{band_histogram(band, values, known)}"></figure>')
    titles = "; ".join(f"{one.title} ({one.source})" for one in known)
    grey = (
        f"Grey bars, from the lowest up: mean ± 2 standard deviations of published datasets of {bands.sensor} that "
        f"have this band: {titles}. Other places and seasons may be right outside of them."
        if known
        else f"No dataset of sensor {bands.sensor} has published statistics in the catalog to compare with."
    )
    text = f"Random pixels of each split; those that are 0 in every band are left out. {grey}"
    return f'<p class="notes">{escape(text)}</p>\n<div class="panels">\n' + "\n".join(figures) + "\n</div>"


def places(facts: Facts) -> str:
    """The map, and which files of different splits meet."""
    found = facts.places
    if found is None or not found.found:
        return f'<p class="notes">No map: {escape(facts.no_places or "no file says where it is")}.</p>'
    from deflect.checking.figures import location_map

    counts = ", ".join(f"{split} {len(boxes) - found.missing[split]}" for split, boxes in found.boxes.items())
    text = f"Longitude and latitude of images by split: {counts}; without a place: {sum(found.missing.values())}"
    shown = f'<img alt="{escape(text)}" src="{location_map(found)}">'
    parts = [f'<figure class="map">{shown}<figcaption>{escape(text)}.</figcaption></figure>']
    for one in found.meetings:
        pairs = "; ".join(f"{second} and {first}" for first, second in one.examples)
        line = (
            f"{one.second} and {one.first}: {one.overlapping:,} images of {one.second} overlap, {one.touching:,} touch"
        )
        parts.append(f"<p>{escape(f'{line}, e.g. {pairs}')}.</p>")
    return "\n".join(parts) if len(parts) > 1 else f"{parts[0]}\n<p>No images of different splits meet.</p>"
