"""The report of a batch: a page in Markdown and a table, from the journals of all parts."""

import csv
import io
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from diffusionblend.batch.journal import STEM, Entry, read_journals
from diffusionblend.io.remote import Place, write_text

SLOWEST = 5
_COLUMNS = (
    "name", "result", "seconds", "method", "machine", "part", "finished", "warnings", "kind",
    "failure", "scan",
)  # fmt: skip


def write_report(folder: Place) -> Place:
    """Write `batch.md` and `batch.csv` of all that the journals of a folder say.

    Returns:
        The page.
    """
    entries = [entry for _, entry in sorted(read_journals(folder).items())]
    page = folder / f"{STEM}.md"
    write_text(page, _page(entries))
    write_text(folder / f"{STEM}.csv", _table(entries))
    return page


def _page(entries: Sequence[Entry]) -> str:
    made = [entry for entry in entries if entry.result == "made"]
    failed = [entry for entry in entries if entry.result == "failed"]
    parts = [f"# Batch\n\n{len(made)} scans made, {len(failed)} failed."]
    if failed:
        rows = ((e.name, e.kind, e.failure, e.scan) for e in failed)
        parts.append("## Failed\n\n" + _rows(("volume", "kind", "why", "scan"), rows))
    if made:
        parts.append("## Times\n\n" + _times(made))
        parts.append("## Shares\n\n" + _shares(made))
    counts = Counter(code for entry in made for code in entry.warnings)
    if counts:
        warned = ((code, str(count)) for code, count in counts.most_common())
        parts.append("## Warnings\n\n" + _rows(("warning", "scans"), warned))
    return "\n\n".join(parts) + "\n"


def _times(made: Sequence[Entry]) -> str:
    seconds = [entry.seconds for entry in made]
    slowest = sorted(made, key=lambda entry: -entry.seconds)[:SLOWEST]
    median, total = statistics.median(seconds), sum(seconds)
    text = f"A scan took {median:.1f} s (median), at most {max(seconds):.1f} s; all of them "
    text += f"took {total / 3600:.2f} hours. The slowest:\n\n"
    return text + _rows(("volume", "seconds"), ((e.name, f"{e.seconds:.1f}") for e in slowest))


def _shares(made: Sequence[Entry]) -> str:
    """Return what each machine, part and method had of the work."""
    total = sum(entry.seconds for entry in made) or 1.0
    rows = []
    for what in ("machine", "part", "method"):
        for which in sorted({getattr(entry, what) for entry in made} - {""}):
            its = [entry.seconds for entry in made if getattr(entry, what) == which]
            share = f"{100 * sum(its) / total:.0f} %"
            rows.append((f"{what} {which}", str(len(its)), f"{sum(its):.1f}", share))
    return _rows(("of", "scans", "seconds", "share"), rows)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _table(entries: Sequence[Entry]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in entries:
        values = {name: getattr(entry, name) for name in _COLUMNS}
        values["warnings"] = " ".join(entry.warnings)
        writer.writerow(values.values())
    return file.getvalue()
