"""Do runs: one after another, or several at a time with Ray; never one that is kept."""

import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from diffusionblend.batch.engine import Pool, Task, executor
from diffusionblend.errors import DiffusionBlendError
from diffusionblend.experiments.measure import do_run
from diffusionblend.experiments.runs import Run
from diffusionblend.experiments.store import Result, load_result
from diffusionblend.machine.device import cores, threads
from diffusionblend.progress import Progress

log = logging.getLogger(__name__)


def execute(runs: Sequence[Run], folder: Path, workers: int = 1) -> dict[str, Result]:
    """Return the result of every run by its key, doing those that are not kept in `folder`.

    A command that is killed loses nothing but the runs it was at. A run that fails does not end
    the others; the first failure is raised behind them.
    """
    distinct = {run.key: run for run in runs}
    kept = {key: load_result(folder, key) for key in distinct}
    results = {key: result for key, result in kept.items() if result is not None}
    missing = [run for key, run in distinct.items() if key not in results]
    failed: list[Exception] = []
    with Progress("runs") as bar, executor(_pool(workers, len(missing))) as execute:
        work = functools.partial(_do, folder.absolute(), torch.get_num_threads())
        for ended in execute(work, map(Task, missing)):
            run: Run = ended.item
            if ended.failure is not None:
                failed.append(_named(run, ended.failure))
                continue
            results[run.key] = result = ended.result()
            done, seconds = len(results), result.times.seconds
            log.info("run %d of %d: %s, %.0f s", done, len(distinct), run.label, seconds)
            bar.show(done, len(distinct))
    if failed:
        raise failed[0]
    return results


def _pool(workers: int, runs: int) -> Pool:
    """Return who does this many runs: on this machine, or on the cluster that RAY_ADDRESS names.

    Each process has as many threads as this one would take: sums depend on that in their last
    digits, and with them the result.
    """
    if workers == 1 or runs < 2:
        return Pool()
    number, here = torch.get_num_threads(), cores()
    if workers * number > here:
        best = max(1, here // workers)
        log.info("%d workers of %d threads on %d cores: OMP_NUM_THREADS=%d is faster; the last "
            "digits are then those of that many threads", workers, number, here, best)  # fmt: skip
    return Pool(workers, os.environ.get("RAY_ADDRESS"))


def _do(folder: Path, number: int, run: Run) -> Result:
    with threads(number):
        return do_run(run, folder)


def _named(run: Run, error: Exception) -> Exception:
    """Return an error that says in which run it was; one that is a bug ends everything."""
    if not isinstance(error, DiffusionBlendError):
        raise error
    named = type(error)(f"{run.label}: {error}")
    named.__cause__ = error
    log.warning("%s; the other runs continue", named)
    return named
