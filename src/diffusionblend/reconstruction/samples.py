"""Several samples of one scan: drawn one after another, kept as their mean and deviation."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diffusionblend.io.stacks import WHOLE, Slabs, Stack
from diffusionblend.methods import Method, Problem, Step, run
from diffusionblend.methods.method import BEGINNING, State

_PREFIX = "samples."
_COUNT, _MEAN, _SQUARES = (_PREFIX + name for name in ("count", "mean", "squares"))


class Moments:
    """Mean and standard deviation of volumes, with two of them in memory (Welford 1962).

    The mean of one volume is that volume, to the byte, without a deviation; for n it is over n - 1.

    Args:
        state: What `state` returned, alone or among other variables, to continue from.
        slabs: How volumes are worked on.
    """

    def __init__(self, state: State = BEGINNING, slabs: Slabs = WHOLE) -> None:
        self._state: State = {
            name: slabs.own(state[name]) for name in state if name.startswith(_PREFIX)
        }
        self._slabs = slabs

    @property
    def count(self) -> int:
        """How many volumes there are."""
        return int(self._state.get(_COUNT, 0))

    def add(self, x: Stack) -> None:
        """Add a volume."""
        n, kept = self.count + 1, {}
        mean = x
        if n > 1:
            earlier = [self._state[name] for name in (_MEAN, _SQUARES) if name in self._state]
            mean, kept[_SQUARES] = self._slabs.each(functools.partial(_added, n), x, *earlier)
        self._state = {_COUNT: torch.tensor(n), _MEAN: mean, **kept}

    @property
    def mean(self) -> Stack:
        """Their mean."""
        return self._state[_MEAN]

    @property
    def std(self) -> Stack | None:
        """Their standard deviation; none of one."""
        if self.count == 1:
            return None
        return self._slabs.each(lambda s: (s / (self.count - 1)).sqrt(), self._state[_SQUARES])

    def state(self) -> State:
        """Return the variables to continue from; they can share one mapping with a method's."""
        return self._state


def _added(n: int, x: Tensor, mean: Tensor, squares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean of n volumes, x the last, and the sum of squares about it."""
    before = mean.to(x)
    mean = before + (x - before) / n
    more = (x - before) * (x - mean)
    return mean, more if squares is None else more + squares.to(x)


def draw_samples(
    method: Method,
    problem: Problem,
    seeds: Sequence[int],
    moments: Moments,
    start: State = BEGINNING,
) -> Iterator[Step]:
    """Draw a sample for each seed, step by step.

    Args:
        method: What draws.
        problem: What is measured.
        seeds: One a sample.
        moments: Those of the samples that are done; each is added when it is.
        start: The state of a step, to continue after it; `moments` are taken from it as well.

    Yields:
        The steps of all samples, numbered consecutively; their states hold the earlier samples.
    """
    for before in range(moments.count, len(seeds)):
        for step in run(method, problem, seed=seeds[before], start=start):
            yield dataclasses.replace(
                step,
                index=before * step.steps + step.index,
                steps=len(seeds) * step.steps,
                state=step.state and {**step.state, **moments.state()},
            )
        moments.add(step.x0)
        start = BEGINNING
