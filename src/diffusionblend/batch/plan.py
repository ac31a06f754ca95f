"""What is to be made of a batch: its scans, and which of their volumes are there already."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from diffusionblend.batch.copies import begun
from diffusionblend.batch.jobs import Job, find_jobs
from diffusionblend.batch.journal import Entry, read_journals, stamp
from diffusionblend.batch.part import ALL, Part
from diffusionblend.batch.settings import Settings, decides, difference
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import PathLike
from diffusionblend.io.remote import Place
from diffusionblend.runs.provenance import record_of
from diffusionblend.runs.record import read_record


@dataclass(frozen=True)
class Batch:
    """A batch, and what is there of it.

    Attributes:
        folder: Its folder.
        jobs: The scans of this part.
        part: Which part this is.
        kept: Names of the volumes that are there and need not be made.
        kind: What tells batches apart that make other volumes of the same scans.
        replace: Whether volumes are replaced that were made otherwise.
    """

    folder: Place
    jobs: Sequence[Job] = field(repr=False)
    part: Part
    kept: frozenset[str] = field(repr=False)
    kind: str
    replace: bool = False

    @property
    def missing(self) -> list[Job]:
        """The scans whose volumes are not there."""
        return [job for job in self.jobs if job.name not in self.kept]


@dataclass(frozen=True)
class Standing:
    """How it stands with the volume of a scan.

    Attributes:
        made: Whether it is there, whole, of the scan as it is now, and made as it would be.
        otherwise: By what it was made otherwise; empty if it was not, or is not there.
    """

    made: bool = False
    otherwise: str = ""


def plan(
    scans: PathLike | Sequence[PathLike],
    folder: Place,
    settings: Settings,
    *,
    part: Part = ALL,
    suffix: str = ".nii.gz",
    replace: bool = False,
) -> Batch:
    """Find the scans of a batch, and what is there already; nothing is written.

    Args:
        scans: Files, folders, patterns and tables.
        folder: Folder of the batch.
        settings: How the scans are reconstructed, as far as a table does not say otherwise.
        part: Which part of the scans is asked for.
        suffix: What the names of the volumes end with.
        replace: Whether volumes are replaced that were made otherwise.
    """
    folder = folder.absolute()
    given = [scans] if isinstance(scans, str | os.PathLike) else scans
    everything = find_jobs(given, folder, settings, suffix)
    jobs, known = part.take(everything), read_journals(folder)
    found = {job.name: standing(job, known.get(job.name)) for job in jobs}
    others = [job for job in jobs if found[job.name].otherwise]
    if others and not replace:
        raise made_otherwise(others[0], found[others[0].name], len(others) - 1)
    kept = frozenset(name for name, each in found.items() if each.made)
    return Batch(folder, jobs, part, kept, _kind(everything), replace)


def made_otherwise(job: Job, found: Standing, others: int = 0) -> UsageError:
    """Say that a volume, and so many others, would be replaced by what nobody asked for."""
    more = f" (and {others} more)" if others else ""
    return UsageError(
        f"{job.output}{more}: is there, and was made otherwise ({found.otherwise}); choose "
        "another folder, or `replace`"
    )


def standing(job: Job, entry: Entry | None = None) -> Standing:
    """Return how it stands with the volume of a scan.

    Where files cannot be reached (rights, a name that is too long) it is not made: making it says
    why, and ends no other scan.

    Args:
        job: The scan.
        entry: What the journal says of it: files that have not changed are not read again.
    """
    try:
        return _standing(job, entry)
    except OSError:
        return Standing()


def _standing(job: Job, entry: Entry | None) -> Standing:
    if not job.output.exists():
        return Standing()
    place = record_of(job.output)
    try:
        record = read_record(place) if place.is_file() else None
    except CorruptInput:
        record = None
    if record is None:
        return Standing(otherwise="" if begun(job) else "it has no record")
    otherwise = difference(job.settings, record)
    if otherwise:
        return Standing(otherwise=otherwise)
    volume = stamp(job.output, entry.volume_stamp if entry else None)
    if record.sha256 != volume.sha256:
        return Standing()  # killed between the names of record and volume
    if not job.scan.is_file():
        return Standing(made=True)
    scan = stamp(job.scan, entry.scan_stamp if entry else None)
    return Standing(made=scan.sha256 == record.scan.get("sha256"))


def _kind(jobs: Iterable[Job]) -> str:
    settings = {id(job.settings): job.settings for job in jobs}
    kinds = sorted(msgspec.json.encode(decides(each)) for each in settings.values())
    return hashlib.sha256(b"\n".join(dict.fromkeys(kinds))).hexdigest()
