"""docs/datasets.md, generated from the catalog."""

from __future__ import annotations

from deflect.analysis.render import pipe_table
from deflect.data.catalog import AS_PUBLISHED, AUDIT, DATASETS, DatasetSheet
from deflect.data.disk import human
from deflect.data.fetch.sources import Source

HEAD = """# Datasets

<!-- Generated from src/deflect/data/catalog.yaml by `make docs`. Do not edit: a test compares. -->

`deflect data fetch NAME` downloads, verifies and unpacks a dataset into `data/raw/NAME`; `deflect data status` shows
which datasets are present. A file that you downloaded yourself goes into `data/raw/archives` under the name given
below: it is verified and used instead of a download. If no checksum is published, the first one found is kept in
`data/raw/archives/checksums.json` and enforced from then on. Files of Hugging Face are downloaded from the mirror in
`HF_ENDPOINT`, if it is set, with your token, if you have one.

In the project, bands are identified by sensor and name, images are reflectance (stored value x scale), pixels without a
label are -1, and splits are called train, val and test.
"""


def datasets_page() -> str:
    """The page as Markdown."""
    sheets = list(DATASETS.values())
    return "\n".join([HEAD, _overview(sheets), *map(_section, sheets)])


def _overview(sheets: list[DatasetSheet]) -> str:
    head = ("name", "task", "classes", "bands", "pixels", "m per pixel", "train / val / test", "metric", "licence")
    return pipe_table(
        head,
        (
            (
                f"[{sheet.name}](#{sheet.name})",
                sheet.task,
                len(sheet.classes),
                len(sheet.bands),
                sheet.image_size,
                f"{sheet.gsd:g}",
                " / ".join(map(str, sheet.splits.values())),
                sheet.metric,
                sheet.licence,
            )
            for sheet in sheets
        ),
    )


def _section(sheet: DatasetSheet) -> str:
    parts = [
        f"## {sheet.name}\n\n{sheet.title}. {sheet.citation}.\n",
        _facts(sheet),
        "Bands, in the order of channels:\n\n" + _bands(sheet),
        _left_out(sheet),
        _classes(sheet),
        "File:\n\n" + _file(sheet.source),
        "Notes:\n\n" + "".join(f"* {note}\n" for note in sheet.notes),
    ]
    return "\n".join(filter(None, parts))


def _facts(sheet: DatasetSheet) -> str:
    red, green, blue = (sheet.bands.names[channel] for channel in sheet.bands.rgb)
    mean, std = (f"{100 * tolerance:g} %" for tolerance in sheet.published_tolerance)
    facts = {
        "sensor": sheet.bands.sensor,
        "stored unit": sheet.unit,
        "scale to reflectance": f"{sheet.scale:.6g}",
        "possible reflectance": "{:g} to {:g}".format(*sheet.reflectance_range),
        "RGB": f"{red}, {green}, {blue}",
        "nodata": ", ".join(f"{value:g}" for value in sheet.nodata) + ", not finite" if sheet.nodata else "not finite",
        "published label of no class": "none" if sheet.unlabelled is None else sheet.unlabelled,
        "class = published label +": sheet.label_shift,
        "split sizes": "official" if sheet.splits_exact else "as commonly quoted; a difference is logged, not refused",
        "published statistics": f"{sheet.published_source}; a recomputation may differ by {mean} (mean), {std} (std)",
    }
    if sheet.doubtful_labels is not None:
        count = f"{sheet.doubtful_labels} of {sheet.splits['test']}"
        facts["doubtful test labels"] = (
            f"{count} in an [automatic audit]({AUDIT}); no person checked them, and hard images count too"
        )
    return pipe_table(("fact", "value"), facts.items())


def _bands(sheet: DatasetSheet) -> str:
    head = ("band", "role", "nm", "native m", "stored as", "mean", "std")
    columns = (sheet.stored_names, sheet.published_mean or (), sheet.published_std or ())
    rows = (
        (band.name, band.role, f"{band.wavelength:g}", f"{band.gsd:g}", f"`{stored}`", f"{mean:.6g}", f"{std:.6g}")
        for band, stored, mean, std in zip(sheet.bands, *columns, strict=True)
    )
    return pipe_table(head, rows)


def _classes(sheet: DatasetSheet) -> str:
    shares = [f" ({100 * share:.2g} %)" for share in sheet.class_fractions] or [""] * len(sheet.classes)
    named = (f"{index} {name}{share}" for index, (name, share) in enumerate(zip(sheet.classes, shares, strict=True)))
    return "Classes" + (" and published shares" if sheet.class_fractions else "") + ": " + ", ".join(named) + ".\n"


def _left_out(sheet: DatasetSheet) -> str:
    parts = []
    if sheet.left_out:
        parts.append("Left out: " + ", ".join(f"`{name}` ({why})" for name, why in sheet.left_out.items()) + ".\n")
    published = AS_PUBLISHED[sheet.name]
    if published is not sheet:
        parts.append(f"With `as_published`, the stored bands are read as {', '.join(published.bands.names)}.\n")
    return "\n".join(parts)


def _file(source: Source) -> str:
    addresses = (source.url, source.archive_url)
    links = ", ".join(f"[{label}]({url})" for label, url in zip(("primary", "second"), addresses, strict=False) if url)
    size = human(source.bytes) if source.bytes else "not stated"
    row = (source.layout, f"`{source.name}`", source.version, size, _checksum(source), links, source.by_hand)
    return pipe_table(("layout", "file", "version", "size", "checksum", "addresses", "by hand"), [row])


def _checksum(source: Source) -> str:
    for kind in ("sha256", "md5"):
        if digest := getattr(source, kind):
            return f"{kind} `{digest}`"
    return "recorded on first download"
