"""What became of each scan: one line of JSON for each, appended as it ends.

A line is written at once and under a lock, and begins anew after one that a full disk cut off.
Digests in it are those of files of a size and time of change, so that a file that has not changed
is not read again.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from diffusionblend.batch.part import ALL, Part
from diffusionblend.io.files import output_error, sha256

STEM, SUFFIX = "batch", ".jsonl"


class Stamp(msgspec.Struct, frozen=True):
    """A file as it was: its size, when it was changed, and its SHA-256."""

    bytes: int
    modified_ns: int
    sha256: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a scan.

    Attributes:
        name: Name of its volume, in the folder of the batch.
        scan: Its file.
        result: Whether there is a volume.
        finished: When, in UTC.
        seconds: How long it took, with reading and writing.
        method: Name of the method.
        machine: Where it was made.
        part: Which part of the batch that was.
        scan_stamp, volume_stamp: Both files.
        warnings: Codes of the warnings of its quality record.
        kind, failure: What it failed by, and in words.
    """

    name: str
    scan: str
    result: Literal["made", "failed"]
    finished: str
    seconds: float = 0.0
    method: str = ""
    machine: str = ""
    part: str = ""
    scan_stamp: Stamp | None = None
    volume_stamp: Stamp | None = None
    warnings: tuple[str, ...] = ()
    kind: str = ""
    failure: str = ""


def stamp(path: Path, known: Stamp | None = None) -> Stamp:
    """Return the stamp of a file; it is read unless it is as it was known."""
    told = path.stat()
    if known and (known.bytes, known.modified_ns) == (told.st_size, told.st_mtime_ns):
        return known
    return Stamp(told.st_size, told.st_mtime_ns, sha256(path))


def journal_of(folder: Path, part: Part) -> Path:
    """Return the journal of a part of a batch."""
    return folder / f"{named(part)}{SUFFIX}"


def named(part: Part) -> str:
    """Return what the files of a part are called: `batch`, `batch-3-of-8`."""
    return STEM if part == ALL else f"{STEM}-{part.index}-of-{part.of}"


def append(path: Path, entry: Entry) -> None:
    """Append a line.

    Raises:
        OutputError: The journal cannot be written, or the disk is full.
    """
    line = msgspec.json.encode(entry) + b"\n"
    try:
        with open(path, "a+b", buffering=0) as file:
            with contextlib.suppress(OSError):  # where a file system knows no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = end > 0 and file.read(1) != b"\n"
            file.write(b"\n" * torn + line)
    except OSError as error:
        raise output_error(path, error) from error


def read_journals(folder: Path) -> dict[str, Entry]:
    """Return the last line of each scan, of all parts, by name; damaged lines are left out."""
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob(f"{STEM}*{SUFFIX}")):
        for entry in _lines(path):
            if entry.name not in found or found[entry.name].finished <= entry.finished:
                found[entry.name] = entry
    return found


def _lines(path: Path) -> Iterator[Entry]:
    decode = msgspec.json.Decoder(Entry).decode
    with open(path, "rb") as file:
        for line in file:
            try:
                yield decode(line)
            except msgspec.DecodeError:
                continue
