"""What a method of reconstruction is, and the engine that runs any of them.

A method is a frozen dataclass of options with up to four functions; it defines those that it
needs:

    prepare(problem)                p, all that is the same in every step
    begin(p, generator)             the state before the first step
    step(p, state, k, generator)    the estimate of step k, and the state after it
    finish(p, state, x0)            the volume, if that is not the last estimate

They are pure: their results depend only on their arguments, and they do not change the state that
they are given. So `run` can stop after any step and continue later, with the same bytes on the same
kind of machine with the same number of threads, which determine the order of sums. `registry` has
the methods by name.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Generator, Tensor

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.geometry import Geometry
from diffusionblend.io.stacks import Stack, first_of, of_slices, total
from diffusionblend.methods.problem import Problem

State: TypeAlias = Mapping[str, Any]
"""Tensors and stacks of slices by name: a method's variables; in a step's state its number, too, as
`step`, and of methods that draw the state of the random generator as `generator`."""
BEGINNING: State = MappingProxyType({})
"""No step is done."""
Prepared: TypeAlias = Any
"""What a method's `prepare` returns; it is given to the method's other functions."""


@dataclass(frozen=True)
class Convergence:
    """How far an iteration has converged, by its residuals (Boyd et al. 2011, section 3.3).

    Attributes:
        primal, dual: The residuals, each relative to the terms whose difference it is.
        tolerance: The iteration stops when both are below it.
    """

    primal: float
    dual: float
    tolerance: float

    @property
    def reached(self) -> bool:
        """Whether both residuals are below the tolerance."""
        return max(self.primal, self.dual) < self.tolerance

    def __str__(self) -> str:
        return f"residuals {self.primal:.1e}, {self.dual:.1e}"


class Stepped(NamedTuple):
    """What a step of a method returns.

    Attributes:
        x0: The estimate (slices, rows, columns), in x = mu / mu_water - 1. Slices that the method
            has added after those of the problem are cut off. A stack if the method is `slabwise`.
        state: The method's variables, for the next step.
        done: Whether the method stops before its last step.
        convergence: How far it has converged, if it stops by residuals.
    """

    x0: Stack
    state: State
    done: bool = False
    convergence: Convergence | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """Step `index` of `steps` is done.

    Attributes:
        index: The step, from 1.
        steps: The last one.
        x0: The estimate (slices, rows, columns), in x = mu / mu_water - 1; of the last step it is
            the result.
        problem: What is reconstructed.
        state: Where a run with the same method, problem and seed can continue; empty after the
            last step.
        convergence: How far the method has converged, if it stops by residuals.
    """

    index: int
    steps: int
    x0: Stack
    problem: Problem
    state: State | None = None
    convergence: Convergence | None = None

    @property
    def volume(self) -> Volume:
        """The estimate in HU, on the grid of the scan; computed when asked for."""
        return self.problem.volume(self.x0)

    @property
    def residual(self) -> float:
        """|A u - y| / |y| of the estimate u = 1 + x0, 0 if y is 0; projects when asked for."""
        y = self.problem.y
        predicted = self.problem.projected(self.problem.slabs.each(lambda x0: 1 + x0, self.x0))
        size = y.norm()
        return float((predicted - y).norm() / size) if size > 0 else 0.0

    @property
    def finite(self) -> bool:
        """Whether the estimate holds neither NaN nor infinity."""
        return math.isfinite(total(self.problem.slabs.each(of_slices, self.x0)))


Callback = Callable[[Step], None]


def ignore(step: Step) -> None:
    """Do nothing with a step."""


def in_turn(*callbacks: Callback) -> Callback:
    """Return a callback that calls several, one after another."""

    def tell(step: Step) -> None:
        for callback in callbacks:
            callback(step)

    return tell


class Method:
    """A method of reconstruction, and facts about it.

    Attributes:
        words: What it does, in a sentence for somebody who does not know its name.
        needs_prior: Whether it needs a prior.
        random: Whether the result depends on the seed, so that several samples differ.
        classical: Whether it uses nothing learned, so that no other classical reconstruction is
            needed to compare with.
        fits_data: Whether it fits A u to y within the noise. A method that computes u by a
            formula, such as filtered back-projection, does not.
        counted_by: The option with the number of steps; None for a method of one step.
        copies: How many volumes and how many sets of data a reconstruction holds in memory at
            once, for `footprint`.
        kept: How many volumes and how many sets of data its state holds at most, for `runs.room`.
        slabwise: How many slabs it holds in memory at once, and how many volumes in files, where
            volumes go through it in slabs (`Problem.slabs`); None if it cannot do that.
    """

    words: ClassVar[str] = ""
    needs_prior: ClassVar[bool] = False
    random: ClassVar[bool] = False
    classical: ClassVar[bool] = False
    fits_data: ClassVar[bool] = True
    counted_by: ClassVar[str | None] = None
    copies: ClassVar[tuple[float, float]] = (20, 15)
    kept: ClassVar[tuple[int, int]] = (1, 0)
    slabwise: ClassVar[tuple[float, int] | None] = None

    def prepare(self, problem: Problem) -> Prepared:
        """Return what is the same in every step: the problem, or more."""
        return problem

    def length(self, slices: int) -> int:
        """Return the number of slices that it works on, for a volume of this many."""
        return slices

    def usual_iterations(self, geometry: Geometry) -> int | None:
        """Return how many steps it usually takes on such a scan, if it stops early."""
        return None

    def work(self, geometry: Geometry) -> list[float]:
        """Return how much of a step on the volume's own pixels each step takes.

        Args:
            geometry: Of the scan, which says how many steps there usually are.
        """
        if self.counted_by is None:
            return [1.0]
        most = int(getattr(self, self.counted_by))
        return [1.0] * min(most, self.usual_iterations(geometry) or most)

    def count(self, p: Prepared) -> int:
        """Return the maximum number of steps.

        Raises:
            UsageError: The number is out of range.
        """
        return 1 if self.counted_by is None else int(getattr(self, self.counted_by))

    def begin(self, p: Prepared, generator: Generator) -> State:
        """Return the state before the first step."""
        return BEGINNING

    def step(self, p: Prepared, state: State, k: int, generator: Generator) -> Stepped:
        """Do step k, from 0.

        Args:
            p: What `prepare` returned.
            state: The state after the previous step; it is not changed.
            k: The step.
            generator: Generator of the noise, on the CPU.
        """
        raise NotImplementedError

    def renewed(self, state: State) -> State:
        """Return a state that an earlier version has written as this one has it."""
        return state

    def finish(self, p: Prepared, state: State, x0: Any) -> Any:  # noqa: ANN401 - a stack
        """Return the volume (slices, rows, columns) in x, from the last state and estimate."""
        return x0

    def __call__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        callback: Callback = ignore,
        start: State = BEGINNING,
    ) -> Tensor:
        """Run all steps and return x (slices, rows, columns); for the arguments see `run`."""
        for step in run(self, problem, seed=seed, start=start):
            callback(step)
        return step.x0[:]


@torch.no_grad()
def run(
    method: Method, problem: Problem, *, seed: int = 0, start: State = BEGINNING
) -> Iterator[Step]:
    """Run a method step by step.

    The caller can stop after any step, by `break`, and continue later from its state.

    Args:
        method: The method.
        problem: What is measured and what is known.
        seed: Seed of all noise that the method draws.
        start: The state of a step of the same run, to continue after it.

    Yields:
        Each step, as soon as it is done.

    Raises:
        PriorError: The method needs a prior, and there is none.
        UsageError: The number of steps is out of range, or `start` is after the last step.
        CorruptInput: `start` lacks what the method needs, or is of other slices.
    """
    generator = Generator().manual_seed(seed)  # on the CPU, so that it is the same on every device
    p = method.prepare(problem)
    count, done = method.count(p), 0
    state = method.begin(p, generator)
    if start:
        done, state = _taken_up(method, problem, state, generator, method.renewed(start))
    if done >= count:
        raise UsageError(f"step {done} of {count} was the last; there are no more")
    for index in range(done + 1, count + 1):
        x0, state, ended, convergence = method.step(p, state, index - 1, generator)
        last = ended or index == count
        x0 = method.finish(p, state, x0) if last else x0
        x0 = first_of(x0, problem.volume_shape[0])
        kept = None if last else _kept(method, state, index, generator)
        yield Step(index, index if last else count, x0, problem, kept, convergence)
        if last:
            return


def _kept(method: Method, state: State, index: int, generator: Generator) -> State:
    drawn = {"generator": generator.get_state()} if method.random else {}
    return {"step": torch.tensor(index), **drawn, **state}


def _taken_up(
    method: Method, problem: Problem, fresh: State, generator: Generator, start: State
) -> tuple[int, State]:
    """Return the number of a step and the variables after it; restore the generator."""
    needed = {"step", *fresh, *(["generator"] if method.random else [])}
    if missing := needed - start.keys():
        raise CorruptInput(
            f"the state lacks {', '.join(sorted(missing))}, perhaps because another version wrote "
            "it; remove it and start again"
        )
    if "x" in fresh and (found := len(start["x"])) != (here := len(fresh["x"])):
        raise CorruptInput(
            f"the state is of {found} slices, but this run works on {here}, perhaps because "
            "another version wrote it; remove it and start again"
        )
    if method.random:
        generator.set_state(start["generator"][...].cpu())
    kept = {
        name: start[name][...].to(first.device)
        if isinstance(first, Tensor)
        else problem.slabs.own(start[name], first)
        for name, first in fresh.items()
    }
    return int(start["step"]), kept
