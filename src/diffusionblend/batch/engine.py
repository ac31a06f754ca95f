"""Do many tasks, one after another or several at a time with Ray; one that fails ends no other.

Ray's processes are those of this machine, or of a cluster. A process or a node that dies costs its
task a retry; the other tasks go on.
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
"""Of a task whose process or node died; one that fails by itself is not tried again."""
PATIENCE_SECONDS = 5.0
"""A cluster that does not answer for so long is not there; Ray itself would try for minutes."""
_STORE_BYTES = 10**8
"""Ray's store of objects on this machine: results are small, and volumes go to files."""
_NO_HOST = "auto", "local"

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Needs:
    """What a task takes while it runs.

    Attributes:
        memory: Bytes, on the CPU.
        gpu: Whether it takes a GPU; None takes one where there are any.
    """

    memory: int = 0
    gpu: bool | None = False


@dataclass(frozen=True)
class Task(Generic[Item]):
    """What is to be done, and what that takes."""

    item: Item
    needs: Needs = Needs()


@dataclass(frozen=True)
class Ended(Generic[Item, Made]):
    """A task that has ended.

    Attributes:
        item: What was to be done.
        made: What the work returned; None if it failed.
        failure: What it raised, or that its process died again and again.
    """

    item: Item
    made: Made | None = None
    failure: Exception | None = None

    def result(self) -> Made:
        """Return what was made, or raise what the task failed by."""
        if self.failure is not None:
            raise self.failure
        return cast("Made", self.made)


@dataclass(frozen=True)
class Crew:
    """Who does the work.

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
        """Whether this process does everything itself."""
        return self.address is None and self.workers in (1, None)


Doer: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Task[Any]]], Iterator[Ended[Any, Any]]]


@contextlib.contextmanager
def hired(crew: Crew) -> Iterator[Doer]:
    """Yield a function that does tasks: it calls `work` with the item of each.

    It takes the next task when there is room for it, and yields each as it ends. With Ray, `work`
    and the items are sent to other processes.
    """
    if crew.alone:
        yield _one_by_one
        return
    with _ray(crew) as ray:
        yield lambda work, tasks: _by_ray(ray, crew, work, tasks)


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
    ray: ModuleType, crew: Crew, work: Callable[[Item], Made], tasks: Iterable[Task[Item]]
) -> Iterator[Ended[Item, Made]]:
    # Without max_calls Ray ends a process that had a GPU behind each task, and its prior with it.
    remote = ray.remote(max_retries=crew.retries, max_calls=0)(_call)
    coming, waiting = iter(tasks), dict[Any, Item]()
    while True:
        while len(waiting) < _at_once(ray, crew):
            task = next(coming, None)
            if task is None:
                break
            taken = _resources(ray, crew, task.needs)
            waiting[remote.options(**taken).remote(work, task.item)] = task.item
        if not waiting:
            return
        (ready, *_), _ = ray.wait(list(waiting))
        item = waiting.pop(ready)
        try:
            made = ray.get(ready)
        except ray.exceptions.RayError as error:
            yield Ended(item, failure=_failure(error, crew.retries))
        else:
            yield Ended(item, made)


def _call(work: Callable[[Item], Made], item: Item) -> Made:
    return work(item)


def _failure(error: Exception, retries: int) -> Exception:
    """Return what a task raised, or that its process died each time."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return cause
    return OutOfMemory(
        f"its process died {retries + 1} times ({type(error).__name__}), most likely for lack of "
        "memory; take fewer `workers`, the same command goes on"
    )


def _at_once(ray: ModuleType, crew: Crew) -> int:
    """Return how many tasks are given to Ray: those that run, and as many that wait."""
    if crew.address is None:
        return 2 * (crew.workers or 1)
    room = 2 * int(ray.cluster_resources().get("CPU", 0) / crew.threads) + 2
    return room if crew.workers is None else min(room, crew.workers)


def _resources(ray: ModuleType, crew: Crew, needs: Needs) -> dict[str, float]:
    """Return what a task takes, as Ray calls it; never more than the largest node has.

    A task that no node had room for would wait for ever; one that takes all of a node's memory and
    needs more says so itself.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has = {
        name: max((node.get(name, 0) for node in nodes), default=0)
        for name in ("CPU", "memory", "GPU")
    }
    cores = crew.threads if crew.address else 1  # here a place of the crew is Ray's "CPU"
    taken = {"num_cpus": min(cores, has["CPU"] or cores)}
    if needs.gpu or (needs.gpu is None and has["GPU"]):
        # On this machine a part of one where there are more workers.
        alone = crew.address or not crew.workers or not has["GPU"]
        share = 1.0 if alone else math.floor(1000 * has["GPU"] / (crew.workers or 1)) / 1000
        return taken | {"num_gpus": min(1.0, share)}
    return taken | {"memory": int(min(needs.memory, has["memory"] or math.inf))}


@contextlib.contextmanager
def _ray(crew: Crew) -> Iterator[ModuleType]:
    """Start Ray or find its cluster, and end or leave it whatever happens."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    # Of itself Ray tries for ever what it ends for lack of memory.
    os.environ.setdefault("RAY_task_oom_retries", str(crew.retries))
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"ray: not installed, and `workers` and `address` need it; run `{install('batch')}`"
        ) from error
    heard = signal.SIGTERM, signal.SIGHUP
    before = {number: signal.getsignal(number) for number in heard}
    ends: list[int] = []

    def end(number: int, frame: object) -> None:
        # Ray lets an interrupt through, and turns what sys.exit raises into an exit code of 1.
        ends.append(128 + number)
        raise KeyboardInterrupt

    # Ray says on stdout which processes died, and there a command says its result.
    with open(os.devnull, "w", encoding="utf-8") as nothing, contextlib.redirect_stdout(nothing):
        _begin(ray, crew)
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


def _begin(ray: ModuleType, crew: Crew) -> None:
    """Start Ray on this machine, or join a cluster."""
    own = {
        "num_cpus": crew.workers,
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
    }
    if crew.address is not None:
        _answers(crew.address)
    try:
        ray.init(
            address=crew.address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            ignore_reinit_error=True,
            **(own if crew.address is None else {}),
        )
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        if crew.address is None:
            raise
        raise _no_cluster(crew.address, error) from error


def _answers(address: str) -> None:
    """Raise UsageError if nobody answers at the address of a cluster."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if address in _NO_HOST:
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: BaseException) -> DiffusionBlendError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UsageError(
        f"`address={address!r}`: no Ray cluster answers there ({reason}); expected "
        "HOST:PORT of one, as `ray start` of its head says it"
    )
