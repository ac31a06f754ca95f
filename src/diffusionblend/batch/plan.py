"""Plan a batch: its scans, and which of their volumes exist already."""

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
    """A batch, and which of its volumes exist.

    Attributes:
        folder: Its folder.
        jobs: The scans of this part.
        part: Which part this is.
        kept: Names of the volumes that exist and need not be made.
        kind: Hash of the settings: batches that differ in it make different volumes of a scan.
        replace: Whether to replace volumes that were made with other settings.
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
class Status:
    """Status of the volume of a scan.

    Attributes:
        made: Whether it exists, is whole, and was made of the present scan with these settings.
        otherwise: The setting that differs; empty if none does, or there is no volume.
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
    """Find the scans of a batch and the volumes that exist already; write nothing.

    Args:
        scans: Files, folders, patterns and tables.
        folder: Folder of the batch.
        settings: How the scans are reconstructed, as far as a table does not say otherwise.
        part: Which part of the scans is asked for.
        suffix: What the names of the volumes end with.
        replace: Whether to replace volumes that were made with other settings.
    """
    folder = folder.absolute()
    given = [scans] if isinstance(scans, str | os.PathLike) else scans
    everything = find_jobs(given, folder, settings, suffix)
    jobs, known = part.take(everything), read_journals(folder)
    found = {job.name: status_of(job, known.get(job.listed)) for job in jobs}
    others = [job for job in jobs if found[job.name].otherwise]
    if others and not replace:
        raise made_otherwise(others[0], found[others[0].name], len(others) - 1)
    kept = frozenset(name for name, each in found.items() if each.made)
    return Batch(folder, jobs, part, kept, _kind(everything), replace)


def made_otherwise(job: Job, found: Status, others: int = 0) -> UsageError:
    """Return the error that a volume, and this many others, were made with other settings."""
    more = f" (and {others} more)" if others else ""
    return UsageError(
        f"{job.output}{more}: exists already, but was made differently ({found.otherwise}); "
        "choose another folder, or `replace`"
    )


def status_of(job: Job, entry: Entry | None = None) -> Status:
    """Return the status of the volume of a scan.

    If files cannot be accessed (permissions, a name that is too long) it counts as not made: the
    attempt to make it will give the reason, and does not stop the other scans.

    Args:
        job: The scan.
        entry: Its journal entry: files that have not changed are not read again.
    """
    try:
        return _status_of(job, entry)
    except OSError:
        return Status()


def _status_of(job: Job, entry: Entry | None) -> Status:
    if not job.output.exists():
        return Status()
    place = record_of(job.output)
    try:
        record = read_record(place) if place.is_file() else None
    except CorruptInput:
        record = None
    if record is None:
        return Status(otherwise="" if begun(job) else "it has no record")
    otherwise = difference(job.settings, record)
    if otherwise:
        return Status(otherwise=otherwise)
    volume = stamp(job.output, entry.volume_stamp if entry else None)
    if record.sha256 != volume.sha256:
        return Status()  # killed between the names of record and volume
    if not job.scan.is_file():
        return Status(made=True)
    scan = stamp(job.scan, entry.scan_stamp if entry else None)
    return Status(made=scan.sha256 == record.scan.get("sha256"))


def _kind(jobs: Iterable[Job]) -> str:
    settings = {id(job.settings): job.settings for job in jobs}
    kinds = sorted(msgspec.json.encode(decides(each)) for each in settings.values())
    return hashlib.sha256(b"\n".join(dict.fromkeys(kinds))).hexdigest()
