"""What a method of reconstruction is, and the list of them.

A method is a frozen dataclass of options that is called with a problem: the measured data, the
operator and, if it needs one, a prior. There is no place for the truth.

Another package adds its own by an entry point of the group `diffusionblend.methods`: the method's
name there, and the class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn, Protocol, TypeVar

import torch
from torch import Generator, Tensor

from diffusionblend.data.units import hu_from_x
from diffusionblend.data.volume import Volume
from diffusionblend.errors import PriorError, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.methods.state import BEGINNING, State
from diffusionblend.prior import Prior
from diffusionblend.projector import Projector
from diffusionblend.terminal import did_you_mean


@dataclass(frozen=True, eq=False)
class Problem:
    """What is measured and what is known.

    Attributes:
        y: Line integrals (detector rows, views, bins) of u = 1 + x = mu / mu_water, in pixels:
            y = A u.
        A: Projector.
        prior: What is known of slices; classical methods need none.
        photons: Photons a bin through air; none means no noise, or that it is not known.
        variance: Variance of y (detector rows, views, bins), in its units; none likewise.
        asked: Grid of the volume that was asked for, where A has a larger one about the same
            centre: the object goes on outside. None where A's own is that.
    """

    y: Tensor
    A: Projector
    prior: Prior | None = None
    photons: float | None = None
    variance: Tensor | None = None
    asked: Grid | None = None

    @property
    def grid(self) -> Grid:
        """Grid of the volume that was asked for."""
        return self.asked or self.A.geometry.grid

    def cropped(self, x: Tensor) -> Tensor:
        """Return what was asked for of a volume (slices, rows, columns) on the grid of A."""
        for axis, wanted in enumerate(self.asked.shape if self.asked else ()):
            if axis > 0 or not self.A.slicewise:  # such a projector takes any number of slices
                x = x.narrow(axis, (x.shape[axis] - wanted) // 2, wanted)
        return x

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of x: a slice for each row of y, if A is slice by slice."""
        slices, rows, columns = self.A.volume_shape
        return len(self.y) if self.A.slicewise else slices, rows, columns


@dataclass(frozen=True)
class Convergence:
    """How near an iteration is to its end, by its residuals (Boyd et al. 2011, section 3.3).

    Attributes:
        primal, dual: The residuals, each beside the size of what it is the difference of.
        tolerance: Where the iteration ends.
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


@dataclass(frozen=True, eq=False)
class Step:
    """What a method reports: step `index` of `steps` is done, and x0 is its estimate so far.

    Attributes:
        index: The step, from 1.
        steps: The last one.
        x0: The estimate (slices, rows, columns), in x = mu / mu_water - 1.
        state: What the method goes on from, if it is given as `start`; none behind the last step,
            and of methods whose whole work is done in seconds.
        problem: What is reconstructed; none while a method tells it.
        convergence: How near the method is to its end, if it ends by residuals of its own.
    """

    index: int
    steps: int
    x0: Tensor
    state: State | None = None
    problem: Problem | None = None
    convergence: Convergence | None = None

    @classmethod
    def resumable(
        cls,
        index: int,
        steps: int,
        x0: Tensor,
        variables: State,
        generator: Generator | None = None,
        convergence: Convergence | None = None,
    ) -> "Step":
        """Make a step whose state holds loop variables, and the generator if there is one."""
        if index == steps:
            return cls(index, steps, x0, convergence=convergence)
        drawn = {} if generator is None else {"generator": generator.get_state()}
        state = {"step": torch.tensor(index), **drawn, **variables}
        return cls(index, steps, x0, state, convergence=convergence)

    @property
    def volume(self) -> Volume:
        """The estimate in HU, on the grid of the scan; made when asked for."""
        problem = self._problem()
        return Volume(hu_from_x(problem.cropped(self.x0)).cpu().numpy(), problem.grid)

    @property
    def residual(self) -> float:
        """|A u - y| / |y| of the estimate u = 1 + x0; made when asked for, by one projection."""
        A, y = self._problem().A, self._problem().y
        return float((A(1 + self.x0) - y).norm() / y.norm())

    def _problem(self) -> Problem:
        if self.problem is None:
            raise ValueError("this step does not know its problem; take it from a callback")
        return self.problem


Callback = Callable[[Step], None]


def ignore(step: Step) -> None:
    """Do nothing with a step."""


def in_turn(*callbacks: Callback) -> Callback:
    """Tell several of a step, one after another."""

    def tell(step: Step) -> None:
        for callback in callbacks:
            callback(step)

    return tell


class Method(Protocol):
    """A method of reconstruction.

    Attributes:
        needs_prior: Whether it needs a prior.
        fits_data: Optional, true if it is missing: whether A u comes as near to y as the noise
            lets it. What computes u by a formula, as filtered back-projection, does not try.
        usual_iterations: Optional: how many of its `iterations` it takes, if it ends before.
    """

    needs_prior: bool

    def __call__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        callback: Callback = ignore,
        start: State = BEGINNING,
    ) -> Tensor:
        """Return x (slices, rows, columns).

        `start` is the state of a step of the same run, to go on behind it. Methods whose steps
        have no state ignore it, and begin anew.
        """
        ...


def fits_data(method: Method | type[Method]) -> bool:
    """Return whether a method fits the data."""
    return getattr(method, "fits_data", True)


ENTRY_POINTS = "diffusionblend.methods"
_METHODS: dict[str, type[Method]] = {}
_Class = TypeVar("_Class", bound=type)


def register(name: str) -> Callable[[_Class], _Class]:
    """Enter a class of methods into the list."""

    def enter(cls: _Class) -> _Class:
        _METHODS[name] = cls
        return cls

    return enter


def methods() -> dict[str, type[Method]]:
    """Return the classes of this package's methods, by name."""
    return dict(sorted(_METHODS.items()))


def method_names() -> list[str]:
    """Return the names of all methods, those of other packages too."""
    return sorted({*_METHODS, *_plugins()})


def find_method(name: str) -> type[Method]:
    """Return a class of methods.

    Raises:
        UsageError: There is none of that name, or another package's cannot be loaded.
    """
    if name in _METHODS:
        return _METHODS[name]
    plugin = _plugins().get(name)
    if plugin is None:
        known = method_names()
        raise UsageError(
            f"--method {name}: expected one of {', '.join(known)}{did_you_mean(name, known)}"
        )
    try:
        return plugin.load()
    except Exception as error:  # whatever another package does
        raise UsageError(
            f"--method {name}: {plugin.value} cannot be loaded ({error}); "
            "repair or remove the package that brings it"
        ) from error


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def no_prior() -> NoReturn:
    """Raise PriorError: a method that needs a prior was given none."""
    raise PriorError("this method needs a prior; give one with --prior")
