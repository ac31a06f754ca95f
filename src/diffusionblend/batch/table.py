"""Tables of scans: CSV, or Parquet where pandas can read it."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import check_small, check_texts, has_suffix, naming

PARQUET = ".parquet"
TABLES = (".csv", PARQUET)
MAX_BYTES = 2**28
"""Of a table, which is read as a whole: a million scans have less."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table, with their numbers from 1: what stands in which column.

    Empty cells are left out.

    Args:
        path: A `.csv` with a line of names first, or a `.parquet`.
    """
    if path.exists():
        check_small(path, MAX_BYTES, "a table of scans")
    rows = _parquet(path) if has_suffix(path, (PARQUET,)) else _csv(path)
    for number, row in enumerate(rows, start=1):
        with naming(f"{path}, row {number}"):
            check_texts(row.values())
        yield number, {name.strip(): value for name, value in row.items() if name and value}


def _csv(path: Path) -> Iterator[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                if None in row:
                    raise csv.Error(f"the line of {row.get('scan')} has too many cells")
                yield {name: (value or "").strip() for name, value in row.items()}
    except OSError as error:
        raise CorruptInput(f"{path}: {error.strerror}; expected a table of scans") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorruptInput(f"{path}: is no CSV ({error}); repair it") from error


def _parquet(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise CorruptInput(f"{path}: no such file; expected a table of scans")
    try:
        import pandas as pd

        frame = pd.read_parquet(path)
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet needs pandas and pyarrow; run `pip install pandas pyarrow`, "
            "or give a .csv"
        ) from error
    except (OSError, ValueError) as error:
        raise CorruptInput(f"{path}: is no Parquet ({error}); make it again") from error
    for row in frame.to_dict("records"):
        yield {str(name): _text(value) for name, value in row.items()}


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a table can hold
    return "" if value is None or value != value else str(value)  # NaN is no cell  # noqa: PLR0124
