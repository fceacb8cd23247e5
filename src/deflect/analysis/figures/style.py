"""The style of all figures, parts that they share, and saving with the same bytes each time."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deflect.analysis.figures.fonts import BASE, fit, fitted
from deflect.analysis.looks import look, titles
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import counted
from deflect.files import atomic_path

#: Widths in inches of one and of two columns of a conference page.
COLUMN, PAGE = 3.4, 7.0
GREY, LIGHT = "#666666", "#EEEEEE"
#: On top of matplotlib's defaults, so that a user's matplotlibrc has no effect.
STYLE: Any = {
    "font.family": BASE,
    "text.parse_math": False,  # names written by users may contain dollar signs
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "deflect",
}
P = ParamSpec("P")
FigureOrAxes = TypeVar("FigureOrAxes", Figure, Axes)


@contextmanager
def _style() -> Iterator[None]:
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # `fonts.fit` names them all in one line
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a drawing function: it runs with the project's style, whatever the caller's settings."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            figure = draw(*args, **kwargs)
            fit(figure)
            return figure

    return wrapped


def save(figure: Figure, base: Path | str) -> Path:
    """Write ``{base}.png`` (150 dpi) and ``{base}.pdf`` without dates or versions; returns the png's path."""
    base = Path(base)
    for kind in ("png", "pdf"):
        with atomic_path(base.with_name(f"{base.name}.{kind}")) as aside:
            aside.write_bytes(encode(figure, kind))
        figure.set_layout_engine("none")  # the layout is done; doing it again would take most of the time
    return base.with_name(f"{base.name}.png")


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a ``png`` or ``pdf`` file, equal on every call."""
    dates = {"pdf": ("CreationDate", "ModDate", "Creator", "Producer"), "png": ("Software",)}
    buffer = io.BytesIO()
    with _style():
        if fitted(figure):
            mpl.rcParams["pdf.fonttype"] = 3  # type 42 loses the characters of OpenType fonts such as Noto CJK
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(dates[kind]))  # type: ignore[arg-type]
    return buffer.getvalue()


def canvas(rows: int, columns: int, width: float, height: float, **kwargs: object) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` x ``columns`` axes with room for labels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)  # type: ignore[call-overload]
    return figure, [list(row) for row in axes]


def folded(title: str, width: int = 16) -> str:
    """A title in up to three lines of ``width`` characters, truncated."""
    return "\n".join(textwrap.wrap(title, width, max_lines=3, placeholder="…"))


#: Markers in drawing order, so that marks at the same place all remain visible; others lie below.
_ON_TOP = "Dhsop>vP^X*"


def point(axes: Axes, x: float, row: Any) -> None:
    """Draw the mark of a method and its interval; ``row`` is a row of `scores.averages`."""
    style = look(row.method)
    size = 8.5 if style.marker == "*" else 5.5
    mark: Any = {"marker": style.marker, "markersize": size, "markeredgecolor": "white", "markeredgewidth": 0.5}
    order = 5 + _ON_TOP.find(style.marker) / 10
    interval: Any = {"yerr": row.ci95 if row.n > 1 else None, "elinewidth": 0.9, "capsize": 2}
    axes.errorbar(x, row.mean, **interval, **mark, color=style.colour, linestyle="none", zorder=order)


def heatmap(axes: Axes, values: Any, labelsize: float, names: list[str] | bool = True, **options: Any) -> None:
    """Values from 0 as colours, with the ``names`` of the rows (True: those of a table) close to the cells."""
    axes.grid(False)
    sns.heatmap(values, ax=axes, vmin=0, cbar=False, yticklabels=names, **options)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(axis="both", labelsize=labelsize, length=0, rotation=0, pad=1)


def method_handles(methods: Iterable[str]) -> list[Line2D]:
    """Legend entries with the marks of methods."""
    looks = [look(method) for method in methods]
    return [Line2D([], [], color=s.colour, marker=s.marker, linestyle="none", label=s.label) for s in looks]


def method_legend(figure: Figure, methods: Iterable[str]) -> None:
    """The marks of methods above the panels, in one line for up to eight, else in lines of five."""
    handles = method_handles(methods)
    columns = 8 if len(handles) <= 8 else 5
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, columnspacing=1, handletextpad=0.2)


def provenance(figure: Figure, study: StudyRuns, *more: str) -> None:
    """The line under a figure: data, study, seeds, and ``more``."""
    parts = [study.data, f"study {study.name}", counted(study.main.seed.nunique(), "seed"), *filter(None, more)]
    line = int(24 * figure.get_figwidth())  # characters of this size that fit
    figure.supxlabel(textwrap.fill(" · ".join(parts), line), fontsize=6, color=GREY, x=0.01, ha="left")


def missing(methods: Iterable[str]) -> str:
    """The part of a provenance line that names methods with missing runs."""
    return f"runs missing: {names}" if (names := titles(methods)) else ""


def empty(target: FigureOrAxes, text: str = "runs missing") -> FigureOrAxes:
    """A message in place of data; returns ``target``."""
    place: Any = {"transform": target.transAxes} if isinstance(target, Axes) else {}
    target.text(0.5, 0.5, text, ha="center", va="center", color=GREY, wrap=True, **place)
    return target
