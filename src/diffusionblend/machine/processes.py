"""The processes that make one volume together: which one this is, and what they exchange.

`torchrun` starts the same command several times. All processes take the same decisions from the
same numbers, and exchange slices of what is divided among them (`io.shares`). Process 0 leads: only
it writes files and messages. A single process does all of this without a network.
"""

import atexit
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from diffusionblend.errors import LostProcess, UsageError

if TYPE_CHECKING:
    from torch import Tensor

_ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process; other launchers can do so, too."""
_TO_MEET = timedelta(minutes=5)
_FAILED = "failed"
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Processes:
    """The processes, as one of them sees them; here, a single one.

    Attributes:
        rank: The number of this one, from 0.
        count: How many there are.
        on_machine: How many of them share the memory of this machine.
    """

    rank: int = 0
    count: int = 1
    on_machine: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def exchange(self, outgoing: "Sequence[Tensor]", incoming: "Sequence[Tensor]") -> None:
        """Send a contiguous tensor to each process, and fill one with what each process sends."""
        incoming[self.rank].copy_(outgoing[self.rank])

    def summed(self, values: "Tensor") -> "Tensor":
        """Return the sum over the processes of tensors of one shape, to the same bytes in all."""
        return values

    def everyones(self, value: _Value) -> list[_Value]:
        """Return the value of each process."""
        return [value]

    def agreed(self, value: _Value) -> _Value:
        """Return the value of process 0, for what only that knows."""
        return self.everyones(value)[0]

    def check_same(self, facts: Mapping[str, object]) -> None:
        """Check that all processes are to do the same."""
        known = self.everyones(dict(facts))
        for rank, theirs in enumerate(known):
            for name, ours in known[0].items():
                if repr(theirs[name]) != repr(ours):  # nan is itself
                    raise UsageError(
                        f"process {rank} has {name} {theirs[name]}, process 0 {ours}; start all "
                        "of them with the same command and files, on the same kind of machine"
                    )

    def first_to_tell(self) -> bool:
        """Return whether no process has reported a failure before: the others fail by it."""
        return True


@dataclass(frozen=True)
class Joined(Processes):
    """Several processes, in the default group of `torch.distributed`.

    Attributes:
        store: Where they met.
    """

    store: Any = None

    def exchange(self, outgoing: "Sequence[Tensor]", incoming: "Sequence[Tensor]") -> None:
        """Send a tensor to each process, and fill one with what each process sends."""
        from torch import distributed

        super().exchange(outgoing, incoming)
        others = [rank for rank in range(self.count) if rank != self.rank]
        messages = [
            distributed.P2POp(way, _as_bytes(tensors[other]), other)
            for way, tensors in ((distributed.isend, outgoing), (distributed.irecv, incoming))
            for other in others
            if tensors[other].numel()
        ]
        with _reaching():
            for request in distributed.batch_isend_irecv(messages) if messages else ():
                request.wait()

    def summed(self, values: "Tensor") -> "Tensor":
        """Return the sum over the processes."""
        from torch import distributed

        with _reaching():
            distributed.all_reduce(values)
        return values

    def everyones(self, value: _Value) -> list[_Value]:
        """Return the value of each process."""
        from torch import distributed

        values: list[Any] = [None] * self.count
        with _reaching():
            distributed.all_gather_object(values, value)
        return values

    def first_to_tell(self) -> bool:
        """Return whether no process has told of a failure before."""
        try:
            return int(self.store.add(_FAILED, 1)) == 1
        except RuntimeError:  # gone with the process that kept it
            return True


ALONE = Processes()
_here: Processes = ALONE


def here() -> Processes:
    """Return the processes that this one has joined; it is alone if it has joined none."""
    return _here


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Work without the other processes, on what they have no part in."""
    global _here  # noqa: PLW0603
    joined, _here = _here, ALONE
    try:
        yield
    finally:
        _here = joined


def join(device: str = "auto") -> Processes:
    """Join the processes that torchrun has started with this one, if it has started any.

    They use gloo, or NCCL on CUDA devices, one for each process.

    Args:
        device: Where they work, as for `find_device`.
    """
    global _here  # noqa: PLW0603 - so is the group of torch
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and _here is ALONE:
        if missing := [name for name in _ENVIRONMENT if name not in os.environ]:
            raise UsageError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, without {', '.join(missing)}; start "
                "the processes with torchrun"
            )
        _here = _meet(device)
    return _here


def _meet(device: str) -> Joined:
    # torch._dynamo, which priors import, keeps a group that it finds. Its threads would then run on
    # while C++ takes itself apart, and some processes would abort after all their work.
    import torch
    import torch._dynamo  # noqa: F401
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    cuda = torch.cuda.is_available() and device != "cpu"
    if cuda and device in ("auto", "cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with _reaching():
        store, rank, count = next(rendezvous("env://", timeout=_TO_MEET))
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    atexit.register(distributed.destroy_process_group)
    return Joined(rank, count, int(os.environ.get("LOCAL_WORLD_SIZE", str(count))), store)


def _as_bytes(values: "Tensor") -> "Tensor":
    """Return the memory of a contiguous tensor: not all types of numbers can be sent."""
    import torch

    return values.detach().view(-1).view(torch.uint8)


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    """Say in one line that another process cannot be reached."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise LostProcess(
            "another process of this volume has ended or cannot be reached"
        ) from error
