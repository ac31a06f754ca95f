"""Several samples of one scan: drawn one after another, kept as their mean and deviation."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from diffusionblend.methods import Callback, Method, Problem, Step
from diffusionblend.methods.state import BEGINNING, State

_PREFIX = "samples."


class Moments:
    """Mean and standard deviation of volumes, of which two are in memory (Welford 1962).

    The mean of one is that one, to the byte, and there is no deviation; that of n is over n - 1.

    Args:
        state: What `state` returned, to go on from; without it no volume is there.
    """

    def __init__(self, state: State = BEGINNING) -> None:
        self._state = dict(state)

    @property
    def count(self) -> int:
        """How many volumes there are."""
        return int(self._state.get("count", 0))

    def add(self, x: Tensor) -> None:
        """Add a volume."""
        n, kept = self.count + 1, {}
        mean = x
        if n > 1:
            before = self._state["mean"].to(x)
            mean = before + (x - before) / n
            squares = (x - before) * (x - mean)
            kept["squares"] = squares + self._state["squares"].to(x) if n > 2 else squares
        self._state = {"count": torch.tensor(n), "mean": mean, **kept}

    @property
    def mean(self) -> Tensor:
        """Their mean."""
        return self._state["mean"]

    @property
    def std(self) -> Tensor | None:
        """Their standard deviation; none of one."""
        return None if self.count == 1 else (self._state["squares"] / (self.count - 1)).sqrt()

    def state(self) -> State:
        """Return what to go on from."""
        return self._state


def draw_samples(
    method: Method,
    problem: Problem,
    seeds: Sequence[int],
    callback: Callback,
    start: State = BEGINNING,
) -> Moments:
    """Draw a sample for each seed.

    Args:
        method: What draws.
        problem: What is measured.
        seeds: One a sample.
        callback: Is told of the steps of all samples, counted through, and of states that hold the
            samples before.
        start: Such a state, to go on behind it.
    """
    moments = Moments(_unprefixed(start))
    # A method of another package may know nothing of states.
    going_on = {"start": own} if (own := _own(start)) else {}
    for index in range(moments.count, len(seeds)):

        def tell(step: Step, before: int = index, moments: Moments = moments) -> None:
            done, total = before * step.steps + step.index, len(seeds) * step.steps
            state = step.state and {**step.state, **_prefixed(moments.state())}
            callback(dataclasses.replace(step, index=done, steps=total, state=state))

        moments.add(method(problem, seed=seeds[index], callback=tell, **going_on))
        going_on = {}
    return moments


def _prefixed(state: State) -> State:
    return {_PREFIX + name: tensor for name, tensor in state.items()}


def _unprefixed(state: State) -> State:
    names = (name for name in state if name.startswith(_PREFIX))
    return {name.removeprefix(_PREFIX): state[name] for name in names}


def _own(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(_PREFIX)}
