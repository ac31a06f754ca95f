"""Run many tasks, one after another or in parallel with Ray; a failure does not stop others.

Ray runs its processes on this machine or on a cluster. If a process or node dies, its task is tried
again, and the other tasks continue.
"""

import contextlib
import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeAlias, TypeVar, cast

from diffusionblend.errors import DiffusionBlendError, OutOfMemory, UsageError
from diffusionblend.machine.packages import install

log = logging.getLogger(__name__)

RETRIES = 3
"""How often a task is retried if its process or node dies; one that raises is not retried."""
PATIENCE_SECONDS = 5.0
"""How long to wait for a cluster to answer; Ray itself would try for minutes."""
_STORE_BYTES = 10**8
"""Ray's store of objects on this machine: results are small, and volumes go to files."""
_NO_HOST = "auto", "local"

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Needs:
    """Resources that a task needs while it runs.

    Attributes:
        memory: Bytes, on the CPU.
        gpu: Whether it takes a GPU; None takes one where there are any.
    """

    memory: int = 0
    gpu: bool | None = False


@dataclass(frozen=True)
class Task(Generic[Item]):
    """An item to work on, and the resources that this needs."""

    item: Item
    needs: Needs = Needs()


@dataclass(frozen=True)
class Ended(Generic[Item, Made]):
    """A finished task.

    Attributes:
        item: The item.
        made: What the work returned; None if it failed.
        failure: The exception it raised, or one that says that its process kept dying.
    """

    item: Item
    made: Made | None = None
    failure: Exception | None = None

    def result(self) -> Made:
        """Return what was made, or raise the failure."""
        if self.failure is not None:
            raise self.failure
        return cast("Made", self.made)


@dataclass(frozen=True)
class Pool:
    """Where tasks run, and how many at a time.

    Attributes:
        workers: Tasks at a time; on a cluster None takes as many as it has room for.
        address: Of a Ray cluster; None is this machine.
        threads: Threads of a task, which are cores of a cluster.
        retries: How often a task is tried again whose process or node died.
    """

    workers: int | None = 1
    address: str | None = None
    threads: int = 1
    retries: int = RETRIES

    @property
    def alone(self) -> bool:
        """Whether everything runs in this process."""
        return self.address is None and self.workers in (1, None)


Executor: TypeAlias = Callable[
    [Callable[[Any], Any], Iterable[Task[Any]]], Iterator[Ended[Any, Any]]
]


@contextlib.contextmanager
def executor(pool: Pool) -> Iterator[Executor]:
    """Yield a function that runs tasks: it calls `work` with the item of each.

    It takes the next task when there is room for it, and yields each one as it finishes. With Ray,
    `work` and the items are pickled and sent to other processes.
    """
    if pool.alone:
        yield _one_by_one
        return
    with _ray(pool) as ray:
        yield lambda work, tasks: _by_ray(ray, pool, work, tasks)


def _one_by_one(
    work: Callable[[Item], Made], tasks: Iterable[Task[Item]]
) -> Iterator[Ended[Item, Made]]:
    for task in tasks:
        try:
            made = work(task.item)
        except Exception as error:
            yield Ended(task.item, failure=error)
        else:
            yield Ended(task.item, made)


def _by_ray(
    ray: ModuleType, pool: Pool, work: Callable[[Item], Made], tasks: Iterable[Task[Item]]
) -> Iterator[Ended[Item, Made]]:
    # Without max_calls Ray would end a process that used a GPU after each task: its prior is lost.
    remote = ray.remote(max_retries=pool.retries, max_calls=0)(_call)
    coming, waiting = iter(tasks), dict[Any, Item]()
    while True:
        while len(waiting) < _at_once(ray, pool):
            task = next(coming, None)
            if task is None:
                break
            taken = _resources(ray, pool, task.needs)
            waiting[remote.options(**taken).remote(work, task.item)] = task.item
        if not waiting:
            return
        (ready, *_), _ = ray.wait(list(waiting))
        item = waiting.pop(ready)
        try:
            made = ray.get(ready)
        except ray.exceptions.RayError as error:
            yield Ended(item, failure=_failure(error, pool.retries))
        else:
            yield Ended(item, made)


def _call(work: Callable[[Item], Made], item: Item) -> Made:
    return work(item)


def _failure(error: Exception, retries: int) -> Exception:
    """Return the exception that a task raised, or one that says that its process died each time."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return cause
    return OutOfMemory(
        f"its process died {retries + 1} times ({type(error).__name__}), most likely because "
        "memory ran out; take fewer `workers`: the same command continues where it stopped"
    )


def _at_once(ray: ModuleType, pool: Pool) -> int:
    """Return how many tasks to submit: those that run, and as many again that wait."""
    if pool.address is None:
        return 2 * (pool.workers or 1)
    room = 2 * int(ray.cluster_resources().get("CPU", 0) / pool.threads) + 2
    return room if pool.workers is None else min(room, pool.workers)


def _resources(ray: ModuleType, pool: Pool, needs: Needs) -> dict[str, float]:
    """Return the resources of a task in Ray's terms, at most those of the largest node.

    A task that fits on no node would wait for ever. One that gets all of a node's memory and needs
    more reports that itself.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has = {
        name: max((node.get(name, 0) for node in nodes), default=0)
        for name in ("CPU", "memory", "GPU")
    }
    cores = pool.threads if pool.address else 1  # on this machine a worker is one "CPU" to Ray
    taken = {"num_cpus": min(cores, has["CPU"] or cores)}
    if needs.gpu or (needs.gpu is None and has["GPU"]):
        # On this machine a part of one where there are more workers.
        alone = pool.address or not pool.workers or not has["GPU"]
        share = 1.0 if alone else math.floor(1000 * has["GPU"] / (pool.workers or 1)) / 1000
        return taken | {"num_gpus": min(1.0, share)}
    return taken | {"memory": int(min(needs.memory, has["memory"] or math.inf))}


@contextlib.contextmanager
def _ray(pool: Pool) -> Iterator[ModuleType]:
    """Start Ray or connect to its cluster; shut it down or disconnect in any case."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    # By default Ray retries for ever what it killed for lack of memory.
    os.environ.setdefault("RAY_task_oom_retries", str(pool.retries))
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"ray: not installed, but `workers` and `address` need it; run `{install('batch')}`"
        ) from error
    heard = signal.SIGTERM, signal.SIGHUP
    before = {number: signal.getsignal(number) for number in heard}
    ends: list[int] = []

    def end(number: int, frame: object) -> None:
        # Ray passes KeyboardInterrupt on, but turns SystemExit into an exit code of 1.
        ends.append(128 + number)
        raise KeyboardInterrupt

    # Ray reports dead processes on stdout, where the command prints its result.
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        _begin(ray, pool)
        for number in heard:
            if before[number] != signal.SIG_IGN:
                signal.signal(number, end)
        try:
            yield ray
        except KeyboardInterrupt:
            if ends:
                raise SystemExit(ends[0]) from None
            raise
        finally:
            ray.shutdown()
            for number, handler in before.items():
                signal.signal(number, handler)


def _begin(ray: ModuleType, pool: Pool) -> None:
    """Start Ray on this machine, or join a cluster."""
    own = {
        "num_cpus": pool.workers,
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
    }
    if pool.address is not None:
        _answers(pool.address)
    try:
        ray.init(
            address=pool.address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            ignore_reinit_error=True,
            **(own if pool.address is None else {}),
        )
    except UnicodeError as error:
        raise UsageError(
            "a word of the command is not UTF-8, which Ray needs all of them to be; give a folder "
            "or a pattern that is, or leave `workers` and `address` out"
        ) from error
    except (Exception, SystemExit) as error:  # of a machine that is too busy a plain Exception
        if pool.address is None:
            raise UsageError(
                f"`workers={pool.workers}`: Ray did not start on this machine ({_reason(error)}); "
                "end other programs, or leave `workers` out; the same command continues"
            ) from error
        raise _no_cluster(pool.address, error) from error


def _answers(address: str) -> None:
    """Raise UsageError if nothing answers at the address of a cluster."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if address in _NO_HOST:
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: BaseException) -> DiffusionBlendError:
    return UsageError(
        f"`address={address!r}`: no Ray cluster answers there ({_reason(error)}); expected the "
        "HOST:PORT that `ray start` printed on its head node"
    )


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
