"""Where a method's loop stands: what the steps to come depend on, besides problem and seed.

Each step reports its state; nothing keeps it, since that would be volumes more in memory. A method
that is given one goes on behind that step, and ends with the bytes of the run that was not stopped:
on the same kind of machine with as many threads, since both decide the order of sums. `checkpoint`
keeps both with a state.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Generator, Tensor

State = Mapping[str, Tensor]
"""Loop variables by name, with the number of the last step and the generator's state."""

BEGINNING: State = MappingProxyType({})
"""No step is done."""


def steps_done(start: State) -> int:
    """Return the number of the last step that is done, 0 if there is none."""
    return int(start["step"]) if start else 0


def generator_at(seed: int, start: State) -> Generator:
    """Return the generator of a seed as a step left it, on the CPU: the same on every device."""
    generator = Generator().manual_seed(seed)
    if start:
        generator.set_state(start["generator"].cpu())
    return generator
