"""Tables as Markdown and LaTeX, the best in bold."""

from collections.abc import Iterable, Iterator

from diffusionblend.show.report.tables import Cell, Table

_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "≤": r"$\leq$", "\u2013": "--", ">": "$>$", "<": "$<$",
})  # fmt: skip


def markdown(table: Table) -> str:
    """Return a table in Markdown, its notes below."""
    rule = ["---", *("---:" if column.number else "---" for column in table.columns)]
    rows = ([f"**{_text(c)}**" if c.best else _text(c) for c in row] for row in _rows(table))
    lines = "\n".join(map(_line, (_head(table), rule, *rows)))
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"**{table.caption}**\n\n{lines}\n\n{notes}\n"


def latex(table: Table, notes: Iterable[str] = ()) -> str:
    """Return a table in LaTeX, for the package booktabs; its notes and others are the caption."""
    caption = ". ".join(text.rstrip(".") for text in (table.caption, *table.notes, *notes))
    rows = [[_escaped(_text(c), bold=c.best) for c in row] for row in _rows(table)]
    head, *body = (" & ".join(row) + r" \\" for row in ([*map(_escaped, _head(table))], *rows))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(caption)}.}}",
        rf"\begin{{tabular}}{{l{''.join('r' if c.number else 'l' for c in table.columns)}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, bold: bool = False) -> str:
    """Return text that LaTeX prints as it is."""
    text = text.translate(_LATEX)
    return rf"\textbf{{{text}}}" if bold else text


def _head(table: Table) -> list[str]:
    return [table.corner, *(column.heading for column in table.columns)]


def _rows(table: Table) -> Iterator[list[Cell]]:
    return ([Cell(name), *cells] for name, cells in table.rows)


def _text(cell: Cell) -> str:
    return f"{cell.text} ± {cell.spread}" if cell.spread else cell.text


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entry.replace('|', chr(92) + '|') for entry in entries)} |"
