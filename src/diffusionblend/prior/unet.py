"""The learned prior: a thin U-Net of three slices, preconditioned for any level of noise.

Around the network F (`network.py`) stands the preconditioning of EDM (Karras et al. 2022, Table
1), with x centred on the data's mean m and s its standard deviation:

    D(x; sigma) = m + c_skip (x - m) + c_out F(c_in (x - m), ln sigma, code)
    c_skip = s^2 / (sigma^2 + s^2)      c_out   = sigma s / sqrt(sigma^2 + s^2)
    c_in   = 1 / sqrt(sigma^2 + s^2)

Where the slices lie (their gap and plane) and how large their pixels are is one number, the
position code: an embedding of its own, added to that of the noise (DiffusionBlend, section 3).

A prior may hold a second network for larger pixels. What is decided there, at strong noise, is the
shape of bodies; what is decided at full size is texture: each has the whole of its weights for it.
"""

import contextlib
import math
from collections.abc import Callable, Iterable

import msgspec
import torch
from torch import Tensor, nn

from diffusionblend.errors import PriorError
from diffusionblend.geometry.planes import PLANES
from diffusionblend.machine.engine import TORCH
from diffusionblend.prior.network import UNet

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""F: from images, ln(sigma) and codes to images."""
MAX_GAP = 15
CODES = len(PLANES) * (MAX_GAP + 1)
"""Position codes of one scale."""


def position_code(gap: int, plane: str = "axial", scale: int = 0) -> int:
    """Return the number that tells the network how its three slices lie.

    Args:
        gap: Slices from one of the three to the next; 0 is one slice, three times.
        plane: The plane of the slices, one of `PLANES`.
        scale: Index of their scale among those that the network knows.
    """
    return gap + (MAX_GAP + 1) * PLANES.index(plane) + CODES * scale


class PriorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `config.json` of a prior holds.

    Attributes:
        widths, blocks, attention: Shape of the network (see `UNet`).
        data_mean, data_std: Of the volumes that it was trained on, in x.
        gaps, planes: How three slices may lie.
        scales: Sizes of pixels that the network knows, in pixels of scale 1, at which some 256 show
            a whole body.
        coarse: The network for larger pixels; none leaves them to this one.
        unit, value_range: Of its input.
        pixel_mm, slice_mm: Range of the voxel sizes in training, if they are known.
        weights_sha256: Of the file of weights.
    """

    schema: str = "diffusionblend-prior/2"
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    blocks: tuple[int, ...] = (1, 1, 1, 1, 1)
    attention: bool = False
    data_mean: float = -0.6
    data_std: float = 0.5
    gaps: tuple[int, ...] = (0, 1, 3)
    planes: tuple[str, ...] = ("axial",)
    scales: tuple[int, ...] = (1,)
    coarse: "PriorConfig | None" = None
    unit: str = "x = HU / 1000"
    value_range: tuple[float, float] = (-1.0, 3.071)
    pixel_mm: tuple[float, float] | None = None
    slice_mm: tuple[float, float] | None = None
    weights_sha256: str = ""


class UNetPrior(nn.Module):
    """A denoiser of three slices, D(x; sigma) = E[x0 | x0 + sigma n = x].

    Args:
        config: The network's shape and the data's statistics.

    Attributes:
        name: What records call it; `from_pretrained` gives it that.
        loaded: Checksum of its weights as `from_pretrained` has read them; none of others.
        engine: What it denoises by on a CPU, `torch` or `openvino`, which compiles the weights anew
            when they have changed. `from_pretrained` chooses.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config, self.name, self.engine = config, "", TORCH
        self.loaded: int | None = None
        self._compiled: Network | None = None
        codes = CODES * len(config.scales)
        self.unet = UNet(config.widths, config.blocks, config.attention, codes)
        self.coarse = None if config.coarse is None else UNetPrior(config.coarse)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def rescaled(self, scales: tuple[int, ...]) -> "UNetPrior":
        """Return a copy, without a coarse network, that is given scales.

        What it says of a scale that it did not know is what it says of the nearest that it did.
        """
        rows = [_nearest(scale, self.config.scales) for scale in scales]
        # Across the slices nothing is averaged: axial ones alone have larger pixels.
        planes = self.config.planes if 1 in scales else ("axial",)
        config = msgspec.structs.replace(self.config, scales=scales, planes=planes, coarse=None)
        if 1 not in scales:  # the range is that of the other pixels
            config = msgspec.structs.replace(config, pixel_mm=None)
        copy = UNetPrior(config)
        own = {k: v for k, v in self.state_dict().items() if not k.startswith("coarse.")}
        codes = own["unet.code.weight"].unflatten(0, (-1, CODES))
        copy.load_state_dict(own | {"unet.code.weight": codes[rows].flatten(0, 1)})
        return copy

    def with_coarse(self, coarse: "UNetPrior | None") -> "UNetPrior":
        """Return a prior of this network and, for larger pixels, another."""
        own = self.rescaled(self.config.scales)
        own.config = msgspec.structs.replace(self.config, coarse=coarse and coarse.config)
        own.coarse = coarse
        return own.requires_grad_(False).eval()

    @property
    def multiple(self) -> int:
        """Pixels by which height and width must divide."""
        return 2 ** (len(self.config.widths) - 1)

    def forward(self, x: Tensor, sigma: Tensor, code: Tensor) -> Tensor:
        """Estimate the clean slices from noisy ones.

        Args:
            x: Noisy slices (groups, 3, height, width), in x units, x0 + sigma n.
            sigma: Standard deviation of the noise, one a group (groups,).
            code: Position code, one a group (groups,), integers.

        Returns:
            Clean slices (groups, 3, height, width), float32.
        """
        mean, std = self.config.data_mean, self.config.data_std
        sigma = sigma.float().view(-1, 1, 1, 1)
        total = (sigma**2 + std**2).sqrt()
        centred = (x.float() - mean).contiguous(memory_format=torch.channels_last)
        unet = self._quickest(centred)
        output = unet(centred / total, sigma.flatten().log(), code)
        return mean + (std / total) ** 2 * centred + sigma * std / total * output.float()

    def denoise(
        self, x: Tensor, sigma: float, gap: int, plane: str = "axial", scale: int = 1
    ) -> Tensor:
        """Estimate the clean slices from noisy ones that all lie alike (see `Prior`).

        Of pixels that it does not know it takes the nearest size that it does.
        """
        if scale > 1 and self.coarse is not None:
            return self.coarse.denoise(x, sigma, gap, plane, scale)
        if gap not in self.config.gaps or plane not in self.config.planes:
            raise PriorError(
                f"the prior was trained on slices of gap {_list(self.config.gaps)} in the planes "
                f"{_list(self.config.planes)}, not {plane} ones of gap {gap}; take another prior "
                "or another method"
            )
        height, width = x.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        padded = nn.functional.pad(x, pad, mode="replicate") if any(pad) else x
        ones = torch.ones(len(x), device=x.device, dtype=torch.float32)
        code = position_code(gap, plane, _nearest(scale, self.config.scales))
        with arithmetic(x.device):
            clean = self(padded, sigma * ones, code * ones.long())
        return clean[..., :height, :width].to(x.dtype)

    def _quickest(self, x: Tensor) -> Network:
        """Return the network, or, if no gradient goes through it, what it was compiled to."""
        fixed = not (x.requires_grad or self.unet.gain.requires_grad)
        if self.engine == TORCH or x.device.type != "cpu" or not fixed or self.config.attention:
            return self.unet
        if self._compiled is None:
            from diffusionblend.prior.openvino import CompiledUNet

            self._compiled = CompiledUNet(self.unet, "bf16" if _has_bfloat16(x.device) else "f32")
        return self._compiled


def _nearest(scale: int, known: tuple[int, ...]) -> int:
    """Return the index of the known scale whose ratio to `scale` is nearest to 1."""
    return min(range(len(known)), key=lambda i: abs(math.log(known[i] / scale)))


def _list(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def arithmetic(
    device: torch.device, precision: str = "auto"
) -> contextlib.AbstractContextManager[object]:
    """Return the autocast to bfloat16, where it is asked for or (`auto`) the device is fast at it.

    Args:
        device: Where the network runs.
        precision: `bf16`, `fp32` or `auto`.
    """
    if precision == "bf16" or (precision == "auto" and _has_bfloat16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _has_bfloat16(device: torch.device) -> bool:
    return device.type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
