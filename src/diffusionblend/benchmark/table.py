"""A table as a value, and as Markdown, LaTeX and CSV."""

import csv as csv_format
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

DASH = "\u2013"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    DASH: "--",
    ">": "$>$",
    "<": "$<$",
}


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table: a text, or a number with its spread.

    Attributes:
        text: The text, if it is no number.
        value: The number; NaN is a missing one.
        spread: Its standard deviation, if it has one.
        decimals: Digits behind the point.
        best: Whether it is the best of its column.
        signed: Whether a positive number has its sign.
    """

    text: str = ""
    value: float | None = None
    spread: float | None = None
    decimals: int = 2
    best: bool = False
    signed: bool = False

    def __str__(self) -> str:
        """Return what is read."""
        if self.value is None:
            return self.text
        if math.isnan(self.value):
            return DASH
        number = f"{self.value:{'+' if self.signed else ''}.{self.decimals}f}"
        known = self.spread is not None and not math.isnan(self.spread)
        return f"{number} ± {self.spread:.{self.decimals}f}" if known else number


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it is.
        head: Headings of the columns.
        rows: Entries, as many a row as there are headings.
        notes: Sentences below.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()


def mark_best(
    column: Sequence[Entry], best: Callable[[Iterable[float]], float] = max
) -> list[Entry]:
    """Return entries with the best number marked; what reads the same is equally good."""
    shown = [_rounded(entry) for entry in column]
    known = [value for value in shown if not math.isnan(value)]
    top = best(known) if len(known) > 1 else None
    return [replace(e, best=v == top) for e, v in zip(column, shown, strict=True)]


def markdown(table: Table) -> str:
    """Return the table in Markdown, the best in bold, its notes below."""
    numbers = _numbers(table)
    rule = ["---:" if number else "---" for number in numbers]
    lines = [_line(table.head), _line(rule)]
    lines += [_line([f"**{e}**" if e.best else str(e) for e in row]) for row in table.rows]
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n\n{notes}\n"


def latex(table: Table) -> str:
    """Return the table in LaTeX, for the package booktabs."""
    columns = "".join("r" if number else "l" for number in _numbers(table))
    rows = [
        [rf"\textbf{{{escaped(str(e))}}}" if e.best else escaped(str(e)) for e in row]
        for row in table.rows
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped('. '.join(t.rstrip('.') for t in (table.title, *table.notes)))}.}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escaped, table.head)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def csv(table: Table) -> str:
    """Return the table in CSV: numbers as they are, a spread in a column of its own."""
    spread = [any(row[c].spread is not None for row in table.rows) for c in range(len(table.head))]
    stream = io.StringIO()
    writer = csv_format.writer(stream, lineterminator="\n")
    writer.writerow(
        heading
        for title, has in zip(table.head, spread, strict=True)
        for heading in ([title, f"{title} (std)"] if has else [title])
    )
    for row in table.rows:
        writer.writerow(
            value
            for entry, has in zip(row, spread, strict=True)
            for value in ([_plain(entry), _plain_spread(entry)] if has else [_plain(entry)])
        )
    return stream.getvalue()


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _numbers(table: Table) -> list[bool]:
    """Return which columns hold numbers, and stand right."""
    return [any(row[c].value is not None for row in table.rows) for c in range(len(table.head))]


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entry.replace('|', chr(92) + '|') for entry in entries)} |"


def _rounded(entry: Entry) -> float:
    return math.nan if entry.value is None else round(entry.value, entry.decimals)


def _plain(entry: Entry) -> str:
    if entry.value is None:
        return entry.text
    return "" if math.isnan(entry.value) else f"{entry.value:.{entry.decimals + 2}f}"


def _plain_spread(entry: Entry) -> str:
    known = entry.spread is not None and not math.isnan(entry.spread)
    return f"{entry.spread:.{entry.decimals + 2}f}" if known else ""
