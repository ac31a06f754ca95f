"""From a scan to a volume, by any method: what the command line and Python programs call."""

import dataclasses
import math
import typing
from collections.abc import Sequence

import msgspec
import torch

from diffusionblend.errors import CorruptInput, OutOfMemory, UsageError
from diffusionblend.methods import Callback, Method, Problem, Step, find_method
from diffusionblend.methods.method import ignore
from diffusionblend.prior import Prior, from_pretrained
from diffusionblend.projector import make_projector
from diffusionblend.scan import Scan
from diffusionblend.units import hu_from_x
from diffusionblend.volume import Volume

DEFAULT_METHOD, DEFAULT_PRIOR = "diffusionblend-fast", "chest"


def reconstruct(
    scan: Scan,
    method: str | Method = DEFAULT_METHOD,
    *,
    prior: str | Prior = DEFAULT_PRIOR,
    seed: int = 0,
    device: str | torch.device = "auto",
    callback: Callback = ignore,
    **options: object,
) -> Volume:
    """Reconstruct a scan.

    Args:
        scan: What was measured.
        method: A method's name, or the method itself.
        prior: A prior, its name in the package, its folder, or `owner/name@COMMIT` of the hub;
            used by methods that need one.
        seed: Seed of the sampling noise. The same seed on the same device gives the same bytes.
        device: `cpu`, `cuda`, ..., or `auto` for a GPU where there is one.
        callback: Is told of each step.
        options: Options of the method, for instance `steps=100`.

    Returns:
        The volume in HU, float32, on the scan's grid.

    Raises:
        UsageError: There is no such method, device, or option.
        PriorError: There is no such prior.
        OutOfMemory: The scan does not fit.
    """
    chosen = make_method(method, **options) if isinstance(method, str) else method
    place = find_device(device)
    known: Prior | None = None
    if chosen.needs_prior:
        known = from_pretrained(prior, place) if isinstance(prior, str) else prior
    try:
        problem = _problem(scan, known, place)
        x = chosen(problem, seed=seed, callback=_watched(callback))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(f"{scan.y.shape[0]} slices do not fit; take fewer slices") from error
    return Volume(hu_from_x(x).cpu().numpy(), scan.geometry.grid)


def _problem(scan: Scan, prior: Prior | None, place: torch.device) -> Problem:
    """State a scan in pixels: y = A u."""
    variance = scan.noise.variance(scan.y)
    return Problem(
        y=torch.from_numpy(scan.y / scan.scale).float().to(place),
        A=make_projector(scan.geometry, device=place),
        prior=prior,
        photons=scan.noise.photons,
        variance=None
        if variance is None
        else torch.from_numpy(variance / scan.scale**2).float().to(place),
    )


def make_method(name: str, **options: object) -> Method:
    """Make a method with some of its options set; text is read as the option's type.

    Raises:
        UsageError: It has no such option, or the option no such value.
    """
    cls = find_method(name)
    known = list(option_defaults(cls))
    kinds = typing.get_type_hints(cls, include_extras=True)
    chosen = {}
    for option, value in options.items():
        if option not in known:
            raise UsageError(f"--{option}: {name} has no such option; it has {', '.join(known)}")
        try:
            chosen[option] = msgspec.convert(value, kinds[option], strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"--{option} {value}: {str(error).lower()}") from error
    return cls(**chosen)


def option_defaults(cls: type[Method]) -> dict[str, object]:
    """Return the options of a class of methods and their defaults."""
    return {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]


def split_options(pairs: Sequence[str]) -> dict[str, str]:
    """Split `option=value` pairs.

    Raises:
        UsageError: One is something else.
    """
    split = [pair.partition("=") for pair in pairs]
    for pair, (option, equals, _) in zip(pairs, split, strict=True):
        if not (option and equals):
            raise UsageError(f"--set {pair}: expected OPTION=VALUE, for instance eta=0.5")
    return {option: value for option, _, value in split}


def find_device(device: str | torch.device = "auto") -> torch.device:
    """Return a device by its name; `auto` is a GPU where there is one.

    Raises:
        UsageError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: not on this machine; expected cpu or auto") from error
    return place


def _watched(callback: Callback) -> Callback:
    """Stop at the first step whose estimate is not finite: nothing good can follow."""

    def watch(step: Step) -> None:
        if not math.isfinite(float(step.x0.sum())):
            raise CorruptInput(
                f"the estimate is not finite at step {step.index} of {step.steps}; "
                "check the prior and the units of the scan"
            )
        callback(step)

    return watch
