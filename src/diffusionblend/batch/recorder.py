"""Record the outcome of each scan of a batch: in the journal, the log, and on the terminal."""

import logging
import time

from msgspec.structs import replace

from diffusionblend.batch import copies
from diffusionblend.batch.board import Board
from diffusionblend.batch.engine import Ended
from diffusionblend.batch.jobs import Job
from diffusionblend.batch.journal import Entry, Journal, read_journals
from diffusionblend.batch.part import ALL
from diffusionblend.batch.plan import Batch
from diffusionblend.batch.work import Made
from diffusionblend.errors import DiffusionBlendError
from diffusionblend.io.files import Dispensable, as_utf8, escaped
from diffusionblend.io.locks import clear_lock
from diffusionblend.io.remote import Remote
from diffusionblend.machine.memory import as_failure
from diffusionblend.progress import Progress
from diffusionblend.runs.provenance import record_of
from diffusionblend.runs.record import read_record

log = logging.getLogger(__name__)


class Recorder:
    """Records the outcome of each scan, and shows progress: as a `table` on a terminal, or a bar.

    Attributes:
        made: Names of the volumes that were made.
        kept: Names of those that were there, or that another process made.
        failed: Journal entries of the scans that failed, by the names of their volumes.
    """

    def __init__(self, batch: Batch, *, table: bool = False) -> None:
        self._journal, self._total = Journal(batch.folder, batch.part), len(batch.jobs)
        self._part = "" if batch.part == ALL else str(batch.part)
        names = (job.name for job in batch.missing)
        self._board = Board(names, len(batch.kept)) if table else None
        self._bar, self._dispensable = Progress("scans"), Dispensable("its journal")
        self._running: dict[str, Job] = {}
        self.made: list[str] = []
        self.kept, self.failed = set(batch.kept), dict[str, Entry]()
        self._enter_kept(batch)

    def __enter__(self) -> "Recorder":
        (self._board or self._bar).__enter__()
        if self.kept:
            log.info("%d of %d scans are there already", len(self.kept), self._total)
        return self

    def __exit__(self, *error: object) -> None:
        (self._board or self._bar).__exit__(*error)
        for job in self._running.values():  # a signal may have killed its worker at once
            _clear_lock(job)
        with self._dispensable:
            self._journal.put()

    def begin(self, job: Job) -> None:
        """Note that a scan has started."""
        self._running[job.name] = job
        if self._board:
            self._board.begin(job.name)

    def wait(self, job: Job) -> None:
        """Note that another process is working on a scan."""
        self._running.pop(job.name, None)
        if self._board:
            self._board.again(job.name)

    def keep(self, job: Job) -> None:
        """Note that another process has made a volume meanwhile."""
        self.kept.add(job.name)
        self._show(job.name, "there")

    def enter(self, ended: Ended[Job, Made]) -> None:
        """Record the outcome of a scan, and report it."""
        entry, name = self._entry(ended), ended.item.name
        self._running.pop(name, None)
        with self._dispensable:
            self._journal.append(entry)
        if entry.result == "made":
            self.made.append(name)
            if not self._board:
                log.info("scan %d of %d: %s, %.1f s", self._done, self._total, entry.name,
                         entry.seconds)  # fmt: skip
        else:
            self.failed[name] = entry
            bug = None if isinstance(ended.failure, DiffusionBlendError) else ended.failure
            log.warning(
                "%s failed: %s; the others continue", entry.name, entry.failure, exc_info=bug
            )
        self._show(name, entry.result, entry.failure)

    def _entry(self, ended: Ended[Job, Made]) -> Entry:
        if ended.failure is not None:
            error = as_failure(ended.failure)
            told = as_utf8(str(error))
            return replace(self._begun(ended.item), kind=type(error).__name__, failure=told)
        made = ended.result()
        return replace(
            self._begun(ended.item),
            result="made",
            seconds=made.seconds,
            machine=made.machine,
            scan_stamp=made.scan,
            volume_stamp=made.volume,
            warnings=made.warnings,
        )

    def _begun(self, job: Job) -> Entry:
        return Entry(
            name=job.listed,
            scan=escaped(str(job.scan)),
            result="failed",
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            method=job.settings.method,
            part=self._part,
        )

    def _enter_kept(self, batch: Batch) -> None:
        """Record volumes that exist but are in no journal.

        The process that made them was killed before it could record them, or was another command.
        """
        known = read_journals(batch.folder)
        for job in batch.jobs:
            entry = known.get(job.listed)
            if job.name not in self.kept or (entry is not None and entry.result == "made"):
                continue
            record = read_record(record_of(job.output))
            found = replace(
                self._begun(job),
                result="made",
                finished=record.finished,
                seconds=record.seconds or 0.0,
            )
            with self._dispensable:
                self._journal.append(found)
                copies.end(job)
            _clear_lock(job)

    @property
    def _done(self) -> int:
        return len(self.made) + len(self.kept) + len(self.failed)

    def _show(self, name: str, result: str, why: str = "") -> None:
        if self._board:
            self._board.end(name, result, why)
            return
        note = f"{len(self.failed)} failed" if self.failed else ""
        self._bar.show(self._done, self._total, note)


def _clear_lock(job: Job) -> None:
    if not isinstance(job.output, Remote):
        clear_lock(job.output)
