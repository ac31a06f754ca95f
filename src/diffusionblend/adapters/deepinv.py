"""Between this package and deepinv (Tachella et al. 2023, "DeepInverse"): operators and denoisers.

deepinv's images are u = 1 + x = mu / mu_water, air 0 and water 1, in tensors (batch, 1, slices,
rows, columns); its measurements are y = A u in pixels (batch, 1, detector rows, views, bins).
`make_problem` states a scan so.

deepinv is imported when it is used: its import takes seconds, and fails in odd ways if torchvision
does not match torch.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Geometry
from diffusionblend.machine.packages import install
from diffusionblend.prior import Prior
from diffusionblend.projectors import Projector
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import (
    BLOCK,
    Partition,
    draw_partition,
    pad_slices,
    single,
)

if TYPE_CHECKING:
    from deepinv.models import Denoiser
    from deepinv.physics import LinearPhysics

Layout = Literal["slices", "channels", "volume"]


def to_physics(A: Projector, *, norm: float | None = None, **options: Any) -> "LinearPhysics":  # noqa: ANN401 - deepinv's own
    """Return a projector as a `deepinv.physics.LinearPhysics`, with its exact adjoint.

    Args:
        A: The projector.
        norm: The operator is scaled to this largest singular value, as step sizes of deepinv's
            algorithms expect 1; none leaves pixels. Measurements are scaled by the caller:
            y * norm / sqrt(A.norm_squared).
        options: Of `LinearPhysics`, for instance `noise_model`, `solver` or `max_iter`.

    Raises:
        UsageError: deepinv cannot be imported.
    """
    scale = 1.0 if norm is None else norm / math.sqrt(A.norm_squared)

    def each(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda batch, **_: scale * torch.stack([function(v[0]) for v in batch])[:, None]

    return _deepinv().physics.LinearPhysics(
        A=each(A), A_adjoint=each(A.T), img_size=(1, *A.volume_shape), **options
    )


def from_physics(
    physics: "LinearPhysics", geometry: Geometry, *, device: torch.device | str = "cpu"
) -> Projector:
    """Return a linear physics as a projector.

    Args:
        physics: Of volumes (1, 1, slices, rows, columns), with an adjoint.
        geometry: Its beam and grid, which methods ask for. A method that works on larger pixels
            for a while (`coarse`) makes a projector of its own from it.
        device: Where it works.

    Raises:
        UnsupportedInput: Its measurements are not of the geometry's shape.
    """
    return _Physics(physics, geometry, torch.device(device))


class _Physics(Projector):
    """A projector whose products another package computes."""

    slicewise = False

    def __init__(self, physics: "LinearPhysics", geometry: Geometry, device: torch.device) -> None:
        super().__init__(geometry, device, torch.float32)
        self._physics = physics
        with torch.no_grad():
            found = physics.A(torch.zeros(1, 1, *self.volume_shape, device=device))
        if tuple(found.shape[2:]) != self.sinogram_shape:
            raise UnsupportedInput(
                f"the physics measures {tuple(found.shape)}, expected (1, 1, *"
                f"{self.sinogram_shape}): detector rows, views and bins of the geometry"
            )

    def product(self, x: Tensor, transpose: bool) -> Tensor:
        """Apply A or its adjoint."""
        function = self._physics.A_adjoint if transpose else self._physics.A
        return function(x[None, None])[0, 0]


def to_denoiser(
    prior: Prior, *, jump_every: int = 0, batch_size: int = 8, seed: int = 0
) -> "Denoiser":
    """Return a prior as a `deepinv.models.Denoiser` of volumes (batch, 1, slices, rows, columns).

    As in the methods, each call draws a partition of the slices and blends the prior's estimates
    over it (DiffusionBlend, eq. 5), so that calls in turn differ a little; a volume of three
    slices is one group, and one of fewer, like an image (batch, 1, rows, columns), is seen slice
    by slice, with gap 0.

    Args:
        prior: The prior.
        jump_every: Calls from one cross partition to the next, for priors trained with gap 3; 0
            is never.
        batch_size: Groups in one call of the prior.
        seed: Seed of the partitions.

    Raises:
        UsageError: deepinv cannot be imported.
    """
    blended = _Blended(prior, jump_every, batch_size, seed)

    class PriorDenoiser(_deepinv().models.Denoiser):  # type: ignore[misc]
        def forward(self, x: Tensor, sigma: float | Tensor, **_: object) -> Tensor:
            levels = torch.as_tensor(sigma, dtype=torch.float64).flatten().expand(len(x)).tolist()
            volumes = x.unsqueeze(2) if x.ndim == 4 else x
            clean = [blended(v[0], level) for v, level in zip(volumes, levels, strict=True)]
            return torch.stack(clean).reshape(x.shape)

    denoiser = PriorDenoiser()
    denoiser.prior = prior  # a network goes to a device with it
    return denoiser


class _Blended:
    """A prior over whole volumes u (slices, rows, columns), a new partition at each call."""

    def __init__(self, prior: Prior, jump_every: int, batch_size: int, seed: int) -> None:
        self._prior, self._jump_every, self._batch_size = prior, jump_every, batch_size
        self._generator, self._calls = torch.Generator().manual_seed(seed), 0

    def __call__(self, u: Tensor, sigma: float) -> Tensor:
        if sigma == 0:
            return u
        x = pad_slices(u - 1, max(BLOCK, len(u))) if self._jump_every else u - 1
        S = self._partition(len(x))
        clean = blend(lambda g: self._prior.denoise(g, sigma, S.gap), x, S, self._batch_size)
        return 1 + clean[: len(u)]

    def _partition(self, slices: int) -> Partition:
        if slices < 3:
            return single(slices)
        self._calls += 1
        return draw_partition(
            slices, self._calls, self._jump_every, self._generator, random_blocks=True
        )


def from_denoiser(
    denoiser: "Denoiser",
    *,
    layout: Layout = "slices",
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Prior:
    """Return a denoiser of deepinv as a prior, which knows nothing of gaps and planes.

    Args:
        denoiser: Any `deepinv.models.Denoiser` of Gaussian noise.
        layout: What it sees of three slices: `slices`, each alone as a grey image (1 channel);
            `channels`, all as the colours of one image; `volume`, a volume of three.
        value_range: The x that are its 0 and 1; nothing is clipped. The default is -1000 to 1000
            HU; (-1, 0) is u, as `to_denoiser` has it.
    """
    return _DenoiserPrior(denoiser, layout, value_range)


class _DenoiserPrior:
    def __init__(
        self, denoiser: "Denoiser", layout: Layout, value_range: tuple[float, float]
    ) -> None:
        if layout not in ("slices", "channels", "volume"):
            raise UsageError(f"layout {layout}: expected slices, channels or volume")
        self._denoiser, self._layout = denoiser, layout
        self._low, self._width = value_range[0], value_range[1] - value_range[0]

    def denoise(
        self, x: Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> Tensor:
        """Estimate clean slices (see `Prior`)."""
        del gap, plane, scale
        scaled = (x - self._low) / self._width
        if self._layout == "slices":
            shaped = scaled.flatten(0, 1)[:, None]
        else:
            shaped = scaled if self._layout == "channels" else scaled[:, None]
        clean = self._denoiser(shaped, sigma / self._width)
        return self._low + self._width * clean.reshape(x.shape)


def _deepinv() -> ModuleType:
    try:
        import deepinv
    except Exception as error:  # a torchvision that is not this torch's raises RuntimeError
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UsageError(
            f"deepinv cannot be imported ({reason}); run `{install('deepinv')}`, and use torch "
            "and torchvision of the same release, both for the CPU or both for CUDA"
        ) from error
    return deepinv
