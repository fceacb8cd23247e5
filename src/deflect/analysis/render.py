"""Printed tables: cells with marks, written as Markdown, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deflect.files import write_text

if TYPE_CHECKING:
    import pandas as pd

GAP = "–"
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
#: These are other characters in LaTeX's default font encoding.
_LATEX |= {
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "²": r"$^2$",
}


class Cell(NamedTuple):
    """One cell; ``mark`` is "", "best" (bold) or "second" (underlined).

    ``runs`` are those behind its number: ``dataset/gfm/method``, each a name or ``*`` for all.
    """

    text: str
    mark: str = ""
    runs: str = ""


#: A row of cells, or the title of a section.
Row = str | list[Cell]


@dataclass
class PrintedTable:
    """A table to read."""

    title: str
    header: list[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


class Table(NamedTuple):
    """A result as a tidy table for programs and a printed one for readers."""

    frame: pd.DataFrame
    printed: PrintedTable

    def write(self, base: Path | str) -> None:
        """Write ``{base}.csv`` (tidy), ``{base}.md`` and ``{base}.tex``, each atomically."""
        csv = self.frame.to_csv(index=False, lineterminator="\n")
        for suffix, text in {"csv": csv, "md": markdown(self.printed), "tex": latex(self.printed)}.items():
            write_text(Path(f"{base}.{suffix}"), text)


def ranked(means: Sequence[float], intervals: Sequence[float], unranked: Sequence[bool] | None = None) -> list[Cell]:
    """Scores of one column or row with the best and second best marked, except those that are ``unranked``."""
    left_out = unranked or [False] * len(means)
    ranks = marks([math.nan if out else mean for mean, out in zip(means, left_out, strict=True)])
    return [Cell(score(mean, ci95), mark) for mean, ci95, mark in zip(means, intervals, ranks, strict=True)]


def marks(values: Sequence[float], decimals: int = 1) -> list[str]:
    """ "best" for the highest value and "second" for the next; values that are printed alike get the same mark."""
    printed = [round(value, decimals) if math.isfinite(value) else -math.inf for value in values]
    names = dict(zip(sorted(set(printed) - {-math.inf}, reverse=True), ("best", "second"), strict=False))
    return [names.get(value, "") for value in printed]


def score(mean: float, ci95: float = math.nan, decimals: int = 1, sign: str = "-") -> str:
    """``53.2 ± 0.8``, ``53.2`` without an interval, or a dash for a gap; with ``sign="+"`` as `signed`."""
    if not math.isfinite(mean):
        return GAP
    text = signed(mean, decimals) if sign == "+" else f"{mean:.{decimals}f}".replace("-", "−")
    return text + (f" ± {ci95:.{decimals}f}" if math.isfinite(ci95) else "")


def signed(value: float, decimals: int = 1) -> str:
    """``+1.2`` or ``−1.2``, with a minus sign."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def interval(value: float, low: float, high: float) -> str:
    """A difference with the bounds of its interval: ``+1.2 [−0.3, +2.7]``."""
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def counted(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count} {noun}{'s' * (count > 1)}"


def thousands(count: float) -> str:
    """Parameters in thousands, to three digits below a million: 0.13, 24.6, 303,302."""
    if not math.isfinite(count):
        return GAP
    return f"{count / 1e3:.3g}" if count < 1e6 else f"{count / 1e3:,.0f}"


def share(percent: float) -> str:
    """Share of parameters to two digits below 10 %: 0.21 %, 53 %, 100 %."""
    if not math.isfinite(percent):
        return GAP
    return f"{percent:.0f} %" if percent == 0 or percent >= 10 else f"{percent:.2g} %"


def span(texts: Iterable[str]) -> str:
    """One text where all agree, else first–last of the given sorted texts."""
    distinct = list(dict.fromkeys(texts)) or [GAP]
    return distinct[0] if len(distinct) == 1 else f"{distinct[0]}–{distinct[-1]}"


def pipe_table(header: Sequence[object], rows: Iterable[Sequence[object]], align: str = "---") -> str:
    """A GitHub table; ``align`` is for all columns but the first. Bars within cells are escaped."""
    lines = [header, ["---", *[align] * (len(header) - 1)], *rows]
    texts = ([re.sub(r"(?<!\\)\|", r"\|", str(cell)) for cell in line] for line in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in texts)


def markdown(table: PrintedTable) -> str:
    """The table for GitHub, between its title and its notes."""
    wrap = {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}
    empty = [""] * (len(table.header) - 1)
    sections = ([Cell(row, "best"), *map(Cell, empty)] if isinstance(row, str) else row for row in table.rows)
    rows = [[wrap[cell.mark].format(plain(cell.text)) for cell in row] for row in sections]
    notes = "".join(f"* {plain(note)}\n" for note in table.notes)
    return f"**{plain(table.title)}**\n\n{pipe_table(list(map(plain, table.header)), rows, '---:')}\n{notes}"


#: What Markdown would not show as it is: emphasis, code, HTML, entities, mathematics, links, cell borders.
_MARKED = re.compile(r"[\\`*$|~]|(?<!\w)_|_(?!\w)|<(?=[\w/!?])|&(?=#?\w+;)|(?<=\])[(\[]")


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKED.sub(r"\\\g<0>", text)


def latex(table: PrintedTable) -> str:
    """A ``table`` for LaTeX; needs the packages booktabs and graphicx.

    With more than 6 columns it spans the page (``table*``); if still wider than the text, it is scaled down.
    """
    wrap = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
    columns = len(table.header)
    kind = "table*" if columns > 6 else "table"
    lines = [rf"\begin{{{kind}}}", r"\centering", rf"\caption{{{_tex(table.title)}}}"]
    lines.append(r"\resizebox{\ifdim\width>\linewidth \linewidth\else\width\fi}{!}{%")
    lines += [rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}", r"\toprule", _ampersands(map(_tex, table.header))]
    if not table.rows or not isinstance(table.rows[0], str):
        lines.append(r"\midrule")
    for row in table.rows:
        if isinstance(row, str):
            lines += [r"\midrule", rf"\multicolumn{{{columns}}}{{l}}{{\textit{{{_tex(row)}}}}} \\"]
        else:
            lines.append(_ampersands(wrap[cell.mark].format(_tex(cell.text)) for cell in row))
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\footnotesize {_tex(note)}" for note in table.notes]
    return "\n".join([*lines, rf"\end{{{kind}}}", ""])


def html(table: PrintedTable, address: Callable[[str], str] = lambda runs: "") -> str:
    """The table for a web page, without its notes.

    Args:
        address: of the `Cell.runs` of a number; empty for no link.
    """

    def text(cell: Cell) -> str:
        shown = wrap[cell.mark].format(escape(cell.text))
        link = address(cell.runs) if cell.runs else ""
        return f'<a href="{escape(link)}">{shown}</a>' if link else shown

    wrap = {"": "{}", "best": "<b>{}</b>", "second": "<u>{}</u>"}
    lines = ["<table>", f"<caption>{escape(table.title)}</caption>"]
    lines.append("<tr>" + "".join(f"<th>{escape(name)}</th>" for name in table.header) + "</tr>")
    for row in table.rows:
        if isinstance(row, str):
            lines.append(f'<tr><th colspan="{len(table.header)}">{escape(row)}</th></tr>')
        else:
            lines.append("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _ampersands(cells: Iterable[str]) -> str:
    first, *others = cells
    guard = "{}" if first.startswith(("[", "*")) else ""  # else LaTeX reads it as an option of the line break before
    return " & ".join([guard + first, *others]) + r" \\"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
