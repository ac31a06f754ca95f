"""Do runs: one after another, or several at a time with Ray; never one that is kept."""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from diffusionblend.errors import DiffusionBlendError
from diffusionblend.experiments.measure import do_run
from diffusionblend.experiments.runs import Run
from diffusionblend.experiments.store import Result, load_result
from diffusionblend.machine.device import threads
from diffusionblend.progress import Progress

log = logging.getLogger(__name__)


def execute(runs: Sequence[Run], folder: Path, workers: int = 1) -> dict[str, Result]:
    """Return the result of every run by its key, doing those that are not kept in `folder`.

    A command that is killed loses nothing but the runs it was at.
    """
    distinct = {run.key: run for run in runs}
    kept = {key: load_result(folder, key) for key in distinct}
    results = {key: result for key, result in kept.items() if result is not None}
    missing = [run for key, run in distinct.items() if key not in results]
    do = _one_by_one if workers == 1 or len(missing) < 2 else _by_ray
    with Progress("runs") as bar:
        for done, (run, result) in enumerate(do(missing, folder, workers), len(results) + 1):
            results[run.key] = result
            seconds = result.times.seconds
            log.info("run %d of %d: %s, %.0f s", done, len(distinct), run.label, seconds)
            bar.show(done, len(distinct))
    return results


def _do(run: Run, folder: Path) -> Result:
    """Do a run; an error says in which one."""
    try:
        return do_run(run, folder)
    except DiffusionBlendError as error:
        raise type(error)(f"{run.label}: {error}") from error


def _one_by_one(runs: Sequence[Run], folder: Path, workers: int) -> Iterator[tuple[Run, Result]]:
    del workers
    for run in runs:
        yield run, _do(run, folder)


def _by_ray(runs: Sequence[Run], folder: Path, workers: int) -> Iterator[tuple[Run, Result]]:
    """Do runs in processes of Ray on this machine.

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
        waiting = {remote.remote(run, folder.absolute(), number): run for run in runs}
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            run = waiting.pop(ready)
            try:
                yield run, ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error


def _with_threads(run: Run, folder: Path, number: int) -> Result:
    with threads(number):
        return _do(run, folder)


@contextlib.contextmanager
def _ray(workers: int) -> Iterator["ray"]:  # type: ignore[name-defined] # noqa: F821
    """Start Ray, and end it whatever happens."""
    import ray

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
        logging_level=logging.WARNING,
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
