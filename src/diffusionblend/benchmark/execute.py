"""Run cells: one after another, or several at a time with Ray; never one that is there."""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from diffusionblend.benchmark.cell import Result, load_result
from diffusionblend.benchmark.measure import Job, run_cell
from diffusionblend.device import threads
from diffusionblend.errors import DiffusionBlendError, UsageError
from diffusionblend.progress import Progress

log = logging.getLogger(__name__)


def execute(jobs: Sequence[Job], folder: Path, workers: int = 1) -> dict[str, Result]:
    """Return the result of every cell, running what is not kept in `folder`.

    A killed run has lost nothing but the cells it was at.

    Raises:
        UsageError: Several workers are asked for, and Ray is not installed.
    """
    jobs = list({job.cell.key: job for job in jobs}.values())
    results: dict[str, Result] = {}
    for job in jobs:
        known = load_result(folder, job.cell.key)
        if known is not None:
            results[job.cell.key] = known
    missing = [job for job in jobs if job.cell.key not in results]
    run = _one_by_one if workers == 1 or len(missing) < 2 else _by_ray
    with Progress("cells") as bar:
        for done, (job, result) in enumerate(run(missing, folder, workers), len(results) + 1):
            results[job.cell.key] = result
            seconds = result.times.seconds
            log.info("cell %d of %d: %s, %.0f s", done, len(jobs), job.label, seconds)
            bar.show(done, len(jobs))
    return results


def _one_by_one(jobs: Sequence[Job], folder: Path, workers: int) -> Iterator[tuple[Job, Result]]:
    del workers
    for job in jobs:
        yield job, _run(job, folder)


def _run(job: Job, folder: Path) -> Result:
    """Run a cell; what goes wrong says which it was."""
    try:
        return run_cell(job, folder)
    except DiffusionBlendError as error:
        raise type(error)(f"{job.label}: {error}") from error


def _by_ray(jobs: Sequence[Job], folder: Path, workers: int) -> Iterator[tuple[Job, Result]]:
    """Run cells in processes of Ray on this machine.

    Each has as many threads as this one would take: sums depend on that in their last digits, and
    with them the result.
    """
    number, cores = torch.get_num_threads(), os.cpu_count() or 1
    if workers * number > cores:
        best = max(1, cores // workers)
        log.info("%d workers of %d threads on %d cores: OMP_NUM_THREADS=%d is faster, and gives "
                 "the last digits of so many threads", workers, number, cores, best)  # fmt: skip
    with _ray(workers) as ray:
        remote = ray.remote(num_cpus=1, max_retries=0)(_with_threads)
        waiting = {remote.remote(job, folder.absolute(), number): job for job in jobs}
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            job = waiting.pop(ready)
            try:
                yield job, ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error


def _with_threads(job: Job, folder: Path, number: int) -> Result:
    with threads(number):
        return _run(job, folder)


@contextlib.contextmanager
def _ray(workers: int) -> Iterator["ray"]:  # type: ignore[name-defined] # noqa: F821
    """Start Ray, and end it whatever happens."""
    ray = need_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    before, ends = signal.getsignal(signal.SIGTERM), []

    def end(number: int, frame: object) -> None:
        # Ray lets an interrupt through, and turns what sys.exit raises into an exit code of 1.
        ends.append(128 + number)
        raise KeyboardInterrupt

    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="warning",
        ignore_reinit_error=True,
    )
    signal.signal(signal.SIGTERM, end)
    try:
        yield ray
    except KeyboardInterrupt:
        if ends:
            raise SystemExit(ends[0]) from None
        raise
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


def need_ray():  # type: ignore[no-untyped-def] # noqa: ANN201 - a module, which may not be there
    """Return Ray.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--workers: needs Ray; run `pip install 'diffusionblend[benchmark]'`"
        ) from error
    return ray
