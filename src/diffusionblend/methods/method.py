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

from torch import Tensor

from diffusionblend.errors import PriorError, UsageError
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
    """

    y: Tensor
    A: Projector
    prior: Prior | None = None
    photons: float | None = None
    variance: Tensor | None = None

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of x: a slice for each row of y, if A is slice by slice."""
        slices, rows, columns = self.A.volume_shape
        return len(self.y) if self.A.slicewise else slices, rows, columns


@dataclass(frozen=True, eq=False)
class Step:
    """What a method reports: step `index` of `steps` is done, and x0 is its estimate so far."""

    index: int
    steps: int
    x0: Tensor


Callback = Callable[[Step], None]


def ignore(step: Step) -> None:
    """Do nothing with a step."""


class Method(Protocol):
    """A method of reconstruction."""

    needs_prior: bool

    def __call__(self, problem: Problem, *, seed: int = 0, callback: Callback = ignore) -> Tensor:
        """Return x (slices, rows, columns)."""
        ...


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
