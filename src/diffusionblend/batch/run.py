"""Run a batch: reconstruct each scan whose volume is missing, once, and report on all of them."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffusionblend.batch.claims import Claims
from diffusionblend.batch.engine import RETRIES, Ended, Executor, Needs, Pool, Task, executor
from diffusionblend.batch.jobs import Job
from diffusionblend.batch.journal import Entry
from diffusionblend.batch.part import ALL, parse_part
from diffusionblend.batch.plan import Batch, made_otherwise, plan, status_of
from diffusionblend.batch.recorder import Recorder
from diffusionblend.batch.report import write_report
from diffusionblend.batch.settings import Settings
from diffusionblend.batch.work import make
from diffusionblend.errors import Busy, DiffusionBlendError, OutputError
from diffusionblend.io.files import PathLike, make_folder
from diffusionblend.io.remote import Place, Remote, fetched, place_of
from diffusionblend.io.scans import read_geometry
from diffusionblend.reconstruction.footprint import memory_needed

log = logging.getLogger(__name__)

THREADS = 4
"""Default number of threads of a task on a cluster: the same on each machine, since the last digits
depend on it."""
POLL_SECONDS = 5.0
"""Seconds between two checks of scans that another process is working on."""


@dataclass(frozen=True)
class Summary:
    """The outcome of a batch.

    Attributes:
        made: Names of the volumes that were made.
        kept: Names of those that existed already.
        failed: Journal entries of the scans that failed, by the names of their volumes.
        report: The page about the whole batch; a table (.csv) is beside it.
    """

    made: tuple[str, ...]
    kept: tuple[str, ...]
    failed: Mapping[str, Entry]
    report: Place


def reconstruct_many(
    scans: PathLike | Sequence[PathLike],
    folder: PathLike,
    *,
    workers: int | None = None,
    address: str | None = None,
    part: str | None = None,
    suffix: str = ".nii.gz",
    replace: bool = False,
    retries: int = RETRIES,
    **settings: Any,  # noqa: ANN401 - of `Settings` and of the method
) -> Summary:
    """Reconstruct many scans, those whose volumes are not there yet; one that fails ends no other.

    Args:
        scans: Files, folders, patterns such as `scans/**/*.h5`, and tables (.csv, .parquet) with
            the columns `scan`, `output` and one for each option.
        folder: Where the volumes go: a path, or an address such as `s3://bucket/made`.
        workers: Scans at a time; None is one, or on a cluster as many as it has room for.
        address: Of a Ray cluster; None takes that of RAY_ADDRESS, or else this machine.
        part: `I/N` takes a share of the scans; `auto` in an array of jobs.
        suffix: What the names of the volumes end with.
        replace: Whether volumes are replaced that were made with other options.
        retries: How often a scan is tried again whose process or node died.
        settings: How they are reconstructed, as for the command: `method`, `prior`, `seed`,
            `samples`, `classical`, `mu_water`, `scale`, `device`, `threads`, `save_state`, and
            options of the method.

    Returns:
        What was made, what was there, and what failed and why.

    Raises:
        DiffusionBlendError: Nothing was begun, since something is wrong with all of it.
    """
    pool = make_pool(workers, address, settings.get("threads"), retries)
    batch = plan(
        scans,
        place_of(folder, OutputError),
        Settings().changed(settings | {"threads": pool.threads}),
        part=ALL if part is None else parse_part(part),
        suffix=suffix,
        replace=replace,
    )
    return do_batch(batch, pool)


def make_pool(
    workers: int | None, address: str | None, threads: int | None, retries: int = RETRIES
) -> Pool:
    """Return the pool for a batch; by default the cores are divided among the workers."""
    import torch

    from diffusionblend.machine.device import cores

    address = address or os.environ.get("RAY_ADDRESS") or None
    if threads is None and address:
        threads = THREADS
    if threads is None:
        threads = min(torch.get_num_threads(), max(1, cores() // (workers or 1)))
    return Pool(workers, address, threads, retries)


def do_batch(batch: Batch, pool: Pool, *, table: bool = False) -> Summary:
    """Make what is missing of a batch, and write its report.

    Args:
        batch: The batch.
        pool: Where the reconstructions run.
        table: Whether to show a table of the scans on stderr, a terminal.
    """
    if not isinstance(batch.folder, Remote):
        make_folder(batch.folder)
    with Recorder(batch, table=table) as recorder:
        missing = batch.missing
        if missing:
            with Claims(batch.folder, batch.kind) as claims, executor(pool) as run:
                while missing := _round(missing, claims, run, recorder, batch, alone=pool.alone):
                    log.info("another process is making %d scans; waiting for it", len(missing))
                    time.sleep(POLL_SECONDS)
    report = write_report(batch.folder)
    return Summary(tuple(recorder.made), tuple(sorted(recorder.kept)), recorder.failed, report)


def _round(
    jobs: Sequence[Job],
    claims: Claims,
    run: Executor,
    recorder: Recorder,
    batch: Batch,
    *,
    alone: bool,
) -> list[Job]:
    """Run the jobs that no other process is working on; return the others."""
    later: list[Job] = []

    def tasks() -> Iterator[Task[Job]]:
        for job in jobs:
            if not claims.take(job.name):
                later.append(job)
                continue
            task = _task(job, recorder, batch, alone=alone)
            if task is None:
                claims.give_back(job.name)
            else:
                recorder.begin(job)
                yield task

    for ended in run(make, tasks()):
        if isinstance(ended.failure, Busy):  # `reconstruct` is working on it
            later.append(ended.item)
            recorder.wait(ended.item)
        else:
            recorder.enter(ended)
        claims.give_back(ended.item.name)
    return later


def _task(job: Job, recorder: Recorder, batch: Batch, *, alone: bool) -> Task[Job] | None:
    """Return the task of a job; None if it is done by now, or cannot be done."""
    found = status_of(job)
    if found.made:
        recorder.keep(job)
        return None
    try:
        if found.otherwise and not batch.replace:
            raise made_otherwise(job, found)
        return Task(job, Needs() if alone else _needs(job))
    except DiffusionBlendError as error:
        recorder.enter(Ended(job, failure=error))
        return None


def _needs(job: Job) -> Needs:
    """Return the resources that a scan needs, from its geometry."""
    settings = job.settings
    with fetched(job.scan) as scan:
        geometry = read_geometry(scan)
    memory = memory_needed(settings.request(geometry))
    return Needs(memory, {"auto": None, "cpu": False}.get(settings.device, True))
