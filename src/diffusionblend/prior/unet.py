"""The learned prior: a thin U-Net of three slices, preconditioned for any level of noise.

The network F is `diffusers.UNet2DModel`. Around it stands the preconditioning of EDM (Karras et
al. 2022, Table 1), with x centred on the data's mean m and s its standard deviation:

    D(x; sigma) = m + c_skip (x - m) + c_out F(c_in (x - m), c_noise)
    c_skip = s^2 / (sigma^2 + s^2)      c_out   = sigma s / sqrt(sigma^2 + s^2)
    c_in   = 1 / sqrt(sigma^2 + s^2)    c_noise = 10 ln(sigma)

The factor in c_noise spreads the range of ln(sigma) over the sinusoids of the embedding. Where
the slices lie (their gap and plane) is one number, the position code: a sinusoid and an MLP of
its own, added to the noise embedding (DiffusionBlend, section 3).
"""

import contextlib

import msgspec
import torch
from torch import Tensor, nn

PLANES = ("axial", "coronal", "sagittal")

# Far enough apart for the sinusoids to tell a plane from a gap.
_PLANE_STRIDE = 16


def position_code(gap: int, plane: str = "axial") -> int:
    """Return the number that tells the network how its three slices lie.

    Args:
        gap: Slices from one of the three to the next; 0 is one slice, three times.
        plane: The plane of the slices, one of `PLANES`.
    """
    return gap + _PLANE_STRIDE * PLANES.index(plane)


class PriorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `config.json` of a prior holds."""

    schema: str = "diffusionblend-prior/1"
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    blocks: int = 1
    norm_groups: int = 8
    data_mean: float = -0.6
    data_std: float = 0.5
    gaps: tuple[int, ...] = (0, 1, 3)
    planes: tuple[str, ...] = ("axial",)
    unit: str = "x = HU / 1000"
    value_range: tuple[float, float] = (-1.0, 3.071)
    weights_sha256: str = ""


class UNetPrior(nn.Module):
    """A denoiser of three slices, D(x; sigma) = E[x0 | x0 + sigma n = x].

    Args:
        config: The network's shape and the data's statistics.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        self.config = config
        levels = len(config.widths)
        self.unet = UNet2DModel(
            in_channels=3,
            out_channels=3,
            block_out_channels=config.widths,
            layers_per_block=config.blocks,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            norm_num_groups=config.norm_groups,
            add_attention=False,
            class_embed_type="timestep",
            resnet_time_scale_shift="scale_shift",
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def multiple(self) -> int:
        """Pixels by which height and width must divide."""
        return 2 ** (len(self.config.widths) - 1)

    def forward(self, x: Tensor, sigma: Tensor, code: Tensor) -> Tensor:
        """Estimate the clean slices from noisy ones.

        Args:
            x: Noisy slices (groups, 3, height, width), in x units, x0 + sigma n.
            sigma: Standard deviation of the noise, one a group (groups,).
            code: Position code, one a group (groups,).

        Returns:
            Clean slices (groups, 3, height, width), float32.
        """
        mean, std = self.config.data_mean, self.config.data_std
        sigma = sigma.float().view(-1, 1, 1, 1)
        total = (sigma**2 + std**2).sqrt()
        centred = (x.float() - mean).contiguous(memory_format=torch.channels_last)
        noise = 10.0 * sigma.flatten().log()
        output = self.unet(centred / total, noise, class_labels=code.float()).sample
        return mean + (std / total) ** 2 * centred + sigma * std / total * output.float()

    @torch.inference_mode()
    def denoise(self, x: Tensor, sigma: float, gap: int, plane: str = "axial") -> Tensor:
        """Estimate the clean slices from noisy ones that all lie alike (see `Prior`)."""
        height, width = x.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        padded = nn.functional.pad(x, pad, mode="replicate") if any(pad) else x
        ones = torch.ones(len(x), device=x.device)
        with fast_arithmetic(x.device):
            clean = self(padded, sigma * ones, position_code(gap, plane) * ones)
        return clean[..., :height, :width].to(x.dtype)


def fast_arithmetic(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return the autocast to bfloat16 where the machine computes it faster than float32."""
    cpu_has_it = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if device.type == "cuda" or (device.type == "cpu" and cpu_has_it):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
