"""The efficiency figure to point at: score against share of tuned parameters, of methods on average and of each run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.markers import MarkerStyle

from deflect.analysis import scores
from deflect.analysis.explore.addresses import Addresses
from deflect.analysis.explore.runs import score
from deflect.analysis.figures.efficiency import log_axis, pareto
from deflect.analysis.looks import ORACLE, look, ordered, title
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import counted, share
from deflect.analysis.render import score as written

#: Stands for all datasets or all GFMs.
ALL = "*"
#: Averages over what is chosen, and single runs among it.
CHOSEN = "!datum.single && datum.dataset == dataset && datum.gfm == gfm"
RUNS = "single && datum.single && (dataset == '*' || datum.dataset == dataset) && (gfm == '*' || datum.gfm == gfm)"


def efficiency(study: StudyRuns, addresses: Addresses) -> dict[str, Any]:
    """The figure in Vega-Lite: choices of dataset and GFM, points that are links, a legend that highlights."""
    points = pd.DataFrame([*_averages(study, addresses), *_runs(study, addresses)])
    ticks, zero = log_axis(points.tuned)
    points["x"] = points.tuned.where(points.tuned > 0, zero)
    methods = ordered(study.main.method)
    looks = [look(method) for method in methods]
    chosen = {
        axis: alt.param(
            name=axis,
            value=ALL,
            bind=alt.binding_select(
                options=[ALL, *names], labels=[f"all {label}s", *map(study.title, names)], name=f"{label} "
            ),
        )
        for axis, label, names in (
            ("dataset", "dataset", ordered(study.main.dataset)),
            ("gfm", "GFM", ordered(study.main.gfm)),
        )
    }
    legend = alt.selection_point(name="highlighted", fields=["method"], bind="legend")
    alone = points[(points.dataset == ALL) & (points.gfm == ALL)].empty  # no method has all of its runs yet
    single = alt.param(name="single", value=alone, bind=alt.binding_checkbox(name="single runs "))

    x = alt.X(
        "x:Q",
        title="share of GFM parameters tuned (%)",
        scale=alt.Scale(type="log", domain=[zero / 1.6, max(190, 1.5 * float(points.tuned.max()))], nice=False),
        axis=alt.Axis(
            values=[zero, *ticks] if (points.tuned == 0).any() else ticks,
            labelExpr=f"datum.value < {ticks[0]} ? '0' : format(datum.value, '~g')",
        ),
    )
    y = alt.Y("score:Q", title="test score (%)", scale=alt.Scale(zero=False, nice=False, padding=12))
    base = alt.Chart(points).encode(x=x, y=y)
    means = base.transform_filter(CHOSEN)
    runs = base.transform_filter(RUNS)
    marked = {
        "color": alt.Color(
            "method:N", scale=alt.Scale(domain=[s.label for s in looks], range=[s.colour for s in looks]), title=None
        ),
        "shape": alt.Shape(
            "method:N", scale=alt.Scale(domain=[s.label for s in looks], range=[outline(s.marker) for s in looks])
        ),
        "href": "href:N",
        "description": "name:N",
        "tooltip": [
            alt.Tooltip("name:N", title="method"),
            alt.Tooltip("text:N", title="score (%)"),
            alt.Tooltip("share:N", title="tuned"),
        ],
    }
    chart = alt.layer(
        means.transform_filter("datum.front").mark_line(interpolate="step-after", color="#BBBBBB", strokeWidth=1.5),
        alt.Chart(points)
        .transform_filter(CHOSEN)
        .transform_filter(f"datum.method == '{title(ORACLE)}'")
        .mark_rule(strokeDash=[4, 2])
        .encode(y=y),
        runs.mark_point(filled=True, size=36, cursor="pointer").encode(
            opacity=alt.condition(legend, alt.value(0.35), alt.value(0.03)), **marked
        ),
        means.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.5)
        .encode(y="low:Q", y2="high:Q", color=marked["color"]),
        means.mark_point(filled=True, size=170, cursor="pointer", stroke="white", strokeWidth=0.7).encode(
            opacity=alt.condition(legend, alt.value(1), alt.value(0.12)), **marked
        ),
    )
    return (
        chart.add_params(*chosen.values(), single, legend)
        .properties(width="container", height=380, background="transparent")
        .configure_legend(
            orient="bottom",
            columns=alt.ExprRef("width < 420 ? 2 : width < 700 ? 4 : 6"),
            labelLimit=0,
            labelFontSize=12,
            symbolOpacity=1,
        )
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#eeeeee")
        .configure_view(stroke=None)
        .to_dict()
    )


def outline(marker: str) -> str:
    """A marker of matplotlib as the path of an SVG symbol, from -1 to 1."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    parts = path.to_polygons(closed_only=False)
    size = 3 if marker == "*" else 2  # the star is larger in all figures
    return "".join(
        "M" + "L".join(f"{size * x:.3g},{-size * y:.3g}" for x, y in np.asarray(part)) + "Z" for part in parts
    )


def _averages(study: StudyRuns, addresses: Addresses) -> Iterator[dict[str, Any]]:
    """Every method's average over all datasets and GFMs, and for each dataset, each GFM and each of both."""
    for within in ([], ["dataset"], ["gfm"], ["dataset", "gfm"]):
        table = scores.averages(study, within).dropna(subset=["mean"])
        groups = table.groupby(within) if within else [((), table)]
        for key, group in groups:
            where = dict.fromkeys(("dataset", "gfm"), ALL) | dict(zip(within, key, strict=True))
            front = pareto(group.tuned_percent.tolist(), group["mean"].tolist())
            for i, row in enumerate(group.itertuples()):
                pattern = f"{where['dataset']}/{where['gfm']}/{row.method}"
                names = [study.title(name) for name in where.values() if name != ALL]
                names += [title(row.method), counted(addresses.count(pattern), "run")]
                yield _point(row, row.mean, where, ", ".join(names), addresses.of(pattern)) | {
                    "text": written(row.mean, row.ci95),
                    "low": row.mean - row.ci95 if np.isfinite(row.ci95) else None,
                    "high": row.mean + row.ci95 if np.isfinite(row.ci95) else None,
                    "front": i in front,
                    "single": False,
                }


def _runs(study: StudyRuns, addresses: Addresses) -> Iterator[dict[str, Any]]:
    for row in study.main.itertuples():
        where = {"dataset": row.dataset, "gfm": row.gfm}
        name = f"{study.title(row.dataset)}, {study.title(row.gfm)}, {title(row.method)}, seed {row.seed}"
        value = score(row)
        yield _point(row, value, where, name, addresses.run(row.run)) | {"text": written(value), "single": True}


def _point(row: Any, value: float, where: dict[str, str], name: str, href: str) -> dict[str, Any]:
    tuned = float(row.tuned_percent)
    own = {"method": title(row.method), "name": name, "score": value, "tuned": tuned, "share": share(tuned)}
    return {**where, **own, "href": href}
