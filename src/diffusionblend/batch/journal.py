"""What became of each scan: one line of JSON for each, appended as it ends.

A line is written at once and under a lock; after one that a full disk cut off a new line begins.
Nothing can be appended to an object of a store: there each process has its own journal, which is
uploaded every half minute and at the end. Digests in it are those of files of a size and time of
change, so that a file that has not changed is not read again.
"""

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from diffusionblend.batch.part import ALL, Part
from diffusionblend.io.files import sha256, writing
from diffusionblend.io.remote import Place, Remote

STEM, SUFFIX = "batch", ".jsonl"
PUT_SECONDS = 30.0


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


def stamp(place: Place, known: Stamp | None = None, copy: Path | None = None) -> Stamp:
    """Return the stamp of a file; it, or a copy of it, is read unless it is as it was known."""
    told = place.stat()
    if known and (known.bytes, known.modified_ns) == (told.st_size, told.st_mtime_ns):
        return known
    read = copy or place
    digest = read.sha256() if isinstance(read, Remote) else sha256(read)
    return Stamp(told.st_size, told.st_mtime_ns, digest)


class Journal:
    """The journal of a part of a batch."""

    def __init__(self, folder: Place, part: Part) -> None:
        stem = STEM if part == ALL else f"{STEM}-{part.index}-of-{part.of}"
        if isinstance(folder, Remote):
            stem += f"-{platform.node()}-{os.getpid()}-{time.time_ns()}"
        self._place = folder / f"{stem}{SUFFIX}"
        self._lines, self._put, self._due = b"", b"", 0.0

    def append(self, entry: Entry) -> None:
        """Append a line."""
        if isinstance(self._place, Path):
            append(self._place, entry)
            return
        self._lines += msgspec.json.encode(entry) + b"\n"
        if time.monotonic() >= self._due:
            self.put()

    def put(self) -> None:
        """Put what a store does not have yet."""
        if isinstance(self._place, Remote) and self._lines != self._put:
            self._due = time.monotonic() + PUT_SECONDS
            self._place.write_bytes(self._lines)
            self._put = self._lines


def append(path: Path, entry: Entry) -> None:
    """Append a line."""
    line = msgspec.json.encode(entry) + b"\n"
    with writing(path), open(path, "a+b", buffering=0) as file:
        with contextlib.suppress(OSError):  # where a file system knows no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = end > 0 and file.read(1) != b"\n"
        file.write(b"\n" * torn + line)


def read_journals(folder: Place) -> dict[str, Entry]:
    """Return the last line of each scan, of all parts, by name; damaged lines are left out."""
    found: dict[str, Entry] = {}
    journals: Iterable[Place] = folder.glob(f"{STEM}*{SUFFIX}")
    for path in sorted(journals, key=str):
        for entry in _lines(path):
            if entry.name not in found or found[entry.name].finished <= entry.finished:
                found[entry.name] = entry
    return found


def _lines(path: Place) -> Iterator[Entry]:
    decode = msgspec.json.Decoder(Entry).decode
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            yield decode(line)
