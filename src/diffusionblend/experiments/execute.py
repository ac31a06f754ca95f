"""Do runs: one after another, or several at a time with Ray; never one that is kept."""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from diffusionblend.errors import DiffusionBlendError, OutOfMemory
from diffusionblend.experiments.measure import do_run
from diffusionblend.experiments.runs import Run
from diffusionblend.experiments.store import Result, load_result
from diffusionblend.machine.device import threads
from diffusionblend.progress import Progress

log = logging.getLogger(__name__)

RETRIES = 3
"""Of a run whose process or node died; one that fails by itself is not tried again."""


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
    """Do runs in processes of Ray, on this machine or on the cluster that RAY_ADDRESS names.

    A run that fails does not end the others; the first failure is raised behind them. Each process
    has as many threads as this one would take: sums depend on that in their last digits, and with
    them the result.
    """
    number, cores = torch.get_num_threads(), os.cpu_count() or 1
    if workers * number > cores:
        best = max(1, cores // workers)
        log.info("%d workers of %d threads on %d cores: OMP_NUM_THREADS=%d is faster, and gives "
                 "the last digits of so many threads", workers, number, cores, best)  # fmt: skip
    failed: list[DiffusionBlendError] = []
    with _ray(workers) as ray:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_with_threads)
        waiting = {remote.remote(run, folder.absolute(), number): run for run in runs}
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            run = waiting.pop(ready)
            try:
                result = ray.get(ready)
            except ray.exceptions.RayError as error:
                failed.append(_failure(run, error))
                log.warning("%s; the other runs go on", failed[-1])
            else:
                yield run, result
    if failed:
        raise failed[0]


def _failure(run: Run, error: Exception) -> DiffusionBlendError:
    """Return what a run failed by: what it raised, or that its process died, again and again.

    Raises:
        Exception: It is a bug.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, DiffusionBlendError):
        return cause
    if cause is not None:
        raise cause from error
    return OutOfMemory(
        f"{run.label}: its process died {RETRIES + 1} times ({type(error).__name__}), most likely "
        "for lack of memory; take fewer --workers, the same command goes on"
    )


def _with_threads(run: Run, folder: Path, number: int) -> Result:
    with threads(number):
        return _do(run, folder)


@contextlib.contextmanager
def _ray(workers: int) -> Iterator["ray"]:  # type: ignore[name-defined] # noqa: F821
    """Start Ray or find its cluster, and end or leave it whatever happens."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    before, ends = signal.getsignal(signal.SIGTERM), []

    def end(number: int, frame: object) -> None:
        # Ray lets an interrupt through, and turns what sys.exit raises into an exit code of 1.
        ends.append(128 + number)
        raise KeyboardInterrupt

    address = os.environ.get("RAY_ADDRESS", "local")
    ray.init(
        address=address,
        num_cpus=workers if address == "local" else None,  # a cluster knows its own
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
