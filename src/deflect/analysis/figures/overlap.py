"""How much the errors of each two methods overlap."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from deflect.analysis.figures.style import PAGE, empty, folded, heatmap, provenance, styled
from deflect.analysis.looks import ordered, title
from deflect.analysis.overlap import Agreement, load_overlap
from deflect.analysis.records import StudyRuns


@styled
def error_overlap(study: StudyRuns) -> Figure:
    """Cohen's kappa of every two methods' errors, below the diagonal; above it, images that both get wrong in percent.

    In brackets is the share that both would get wrong if they failed independently. The diagonal has the kappa of a
    method with itself in another seed, where there are several.
    """
    pairs = load_overlap(study)
    methods = ordered(pairs["first"])
    figure = Figure(figsize=(PAGE, 0.3 * max(len(methods), 4) + 0.8), layout="constrained")
    provenance(figure, study, "classification", "below: kappa; above: both wrong in % (if independent)")
    if pairs.empty:
        return empty(figure, "No two methods have predictions of the same classification.")
    wide = pairs.pivot(index="first", columns="second").reindex(index=methods)
    both, expected, kappa = (wide[name].reindex(columns=methods).to_numpy() for name in Agreement._fields)
    text = np.array([[f"{round(value, 2) + 0:.2f}".replace("-", "−") for value in row] for row in kappa], dtype=object)
    above = np.triu_indices(len(methods), 1)
    text[above] = [f"{100 * b:.0f} ({100 * e:.0f})" for b, e in zip(both[above], expected[above], strict=True)]
    shown = np.tril(kappa) + 0 * both  # white above the diagonal, blank without a pair
    axes = figure.subplots()
    names = list(map(title, methods))
    options = {"annot_kws": {"fontsize": 6.5}, "linewidths": 0.5, "xticklabels": [folded(name, 9) for name in names]}
    heatmap(axes, shown, 6.5, names, vmax=1, cmap="Blues", annot=text, fmt="", **options)
    return figure
