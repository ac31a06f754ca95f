"""Supervised removal of artefacts: a residual U-Net on filtered back-projections.

FBPConvNet (Jin, McCann, Froustey and Unser 2017, "Deep convolutional neural network for inverse
problems in imaging", IEEE Transactions on Image Processing 26(9)), slice by slice:

    x = FBP(y) + s_a F((FBP(y) - m_a) / s_a, a),    F trained by the squared error of x

Here one network F serves several acquisitions a, given as a code; m_a and s_a are mean and standard
deviation of their back-projections. Acquisitions that it was not trained for are refused: their
streaks look different, and nothing ties the result to the measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Generator, Tensor, nn

from diffusionblend.errors import PriorError, UnsupportedInput
from diffusionblend.geometry import ParallelBeam
from diffusionblend.methods.fbp import filtered_back_projection
from diffusionblend.methods.method import Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.methods.registry import register
from diffusionblend.prior.facing import begins_at_back
from diffusionblend.prior.network import UNet
from diffusionblend.prior.store import CONFIG, WEIGHTS, load_network, read_any_config
from diffusionblend.prior.unet import arithmetic
from diffusionblend.ranges import Count, Positive

SHIPPED = Path(__file__).parent / "weights"
RECIPE = "recipes/fbp_unet.toml"
TOLERANCE_DEG = 0.01
TURN_DEG = 10.0  # by which an arc may begin elsewhere: patients are turned so in training
_SLICES = 8  # that the network sees at once


class Acquisition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Views at 0, arc / views, 2 arc / views, ... degrees."""

    views: Count
    arc_deg: Annotated[float, Meta(gt=0, le=180)] = 180.0

    @property
    def angles_deg(self) -> tuple[float, ...]:
        """Direction of each view, in degrees."""
        return tuple(self.arc_deg * v / self.views for v in range(self.views))

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.views} views over {self.arc_deg:g} degrees"


class Scaled(Acquisition, frozen=True, forbid_unknown_fields=True):
    """An acquisition, with mean and standard deviation of its back-projections, in x."""

    mean: float = 0.0
    std: Positive = 1.0


class FBPUNetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `config.json` of the network holds."""

    schema: str = "diffusionblend-fbp-unet/1"
    widths: tuple[int, ...] = (16, 32, 96, 160, 192)
    blocks: tuple[int, ...] = (1, 1, 1, 1, 1)
    acquisitions: tuple[Scaled, ...] = ()
    unit: str = "x = HU / 1000"
    weights_sha256: str = ""


class ResidualUNet(nn.Module):
    """The network: from filtered back-projections to slices.

    Args:
        config: The network's shape, and the acquisitions that it knows.
    """

    def __init__(self, config: FBPUNetConfig) -> None:
        super().__init__()
        self.config = config
        known = config.acquisitions
        self.unet = UNet(config.widths, config.blocks, False, len(known), channels=1)
        for name, values in (("mean", [a.mean for a in known]), ("std", [a.std for a in known])):
            known_values = torch.tensor(values, dtype=torch.float32, device="cpu")
            self.register_buffer(name, known_values, persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, fbp: Tensor, code: Tensor) -> Tensor:
        """Estimate slices (slices, rows, columns) in x, float32.

        Args:
            fbp: Filtered back-projections (slices, rows, columns) in x; 2^(levels - 1) divides
                rows and columns.
            code: Index of the acquisition of each (slices,).
        """
        mean, std = (self.get_buffer(n)[code].view(-1, 1, 1, 1) for n in ("mean", "std"))
        fbp = fbp.float()[:, None]
        images = ((fbp - mean) / std).contiguous(memory_format=torch.channels_last)
        # Acquisitions are all that the embedding distinguishes: there is no noise to speak of.
        output = self.unet(images, torch.zeros_like(mean.flatten()), code)
        return (fbp + std * output.float())[:, 0]

    def correct(self, fbp: Tensor, code: int) -> Tensor:
        """Estimate slices (slices, rows, columns) of any size from those of one acquisition."""
        rows, columns = fbp.shape[-2:]
        multiple = 2 ** (len(self.config.widths) - 1)
        pad = (0, -columns % multiple, 0, -rows % multiple)
        padded = nn.functional.pad(fbp[:, None], pad, mode="replicate")[:, 0]
        codes = torch.full((len(fbp),), code, device=fbp.device)
        with arithmetic(fbp.device):
            parts = map(self, padded.split(_SLICES), codes.split(_SLICES))
            clean = torch.cat(list(parts))
        return clean[..., :rows, :columns].to(fbp.dtype)

    def code(self, angles_deg: Sequence[float]) -> int:
        """Return the index of the acquisition that a scan's views make."""
        seen, known = recognise(angles_deg), self.config.acquisitions
        for index, a in enumerate(known):
            if seen and seen[:2] == (a.views, round(a.arc_deg, 2)) and abs(seen[2]) <= TURN_DEG:
                return index
        given = "{} views over {:g} degrees from {:g}".format(*seen) if seen else "uneven views"
        raise UnsupportedInput(
            f"the scan has {given}, but fbp-unet is trained for {', '.join(map(str, known))} from "
            f"0; take another method, or train one by {RECIPE} and name its folder by "
            "`weights=FOLDER`"
        )


def recognise(angles_deg: Sequence[float]) -> tuple[int, float, float] | None:
    """Return number of views, arc and first angle in degrees of evenly spread views.

    Views half a turn apart see the same. N views with steps of 180 / N cover 180 degrees, and
    the first angle hardly matters: it is taken as 0. Any smaller step s makes an arc of N s, whose
    first angle says which directions are missing; it is from -90 to 90.

    Returns:
        Views, arc and beginning, or None where the steps differ.
    """
    angles = sorted(a % 180 for a in angles_deg)
    steps = [b - a for a, b in pairwise([*angles, angles[0] + 180])]
    gap = steps.index(max(steps))  # what is left out, or one step as the others
    others = steps[:gap] + steps[gap + 1 :]
    step = sum(others) / len(others) if others else 180.0
    if any(abs(s - step) > TOLERANCE_DEG for s in others):
        return None
    arc = round(step * len(angles), 2)
    first = angles[(gap + 1) % len(angles)]
    return len(angles), arc, 0.0 if arc == 180 else round((first + 90) % 180 - 90, 2)


def load_fbp_unet(name: str, device: torch.device | str = "cpu") -> ResidualUNet:
    """Load the network, ready to correct.

    Args:
        name: Its name in the package, or its folder.
        device: Where it goes.
    """
    shipped = {config.parent.name: config.parent for config in SHIPPED.glob(f"*/{CONFIG}")}
    folder = shipped.get(name, Path(name))
    if not (folder / CONFIG).is_file():
        raise PriorError(
            f"{name}: no such weights of fbp-unet; expected {', '.join(shipped) or 'none'}, "
            f"or a folder with {CONFIG} and {WEIGHTS}"
        )
    config = read_any_config(folder, FBPUNetConfig)
    return load_network(folder, config, ResidualUNet).to(device)


@register("fbp-unet")
@dataclass(frozen=True)
class FBPUNet(Method):
    """Filtered back-projection, its artefacts removed by a trained network (see the module).

    x = FBP(y) + s_a F((FBP(y) - m_a) / s_a, a), for the acquisitions a that it was trained for.

    Attributes:
        weights: Name of the network in the package, or its folder.
    """

    weights: str = "fbp-unet"

    words = (
        "Filtered back-projection; a network that was trained for this number of views removes its "
        "streaks."
    )
    fits_data = False
    copies = (9, 5)

    def step(self, problem: Problem, state: State, k: int, generator: Generator) -> Stepped:
        """Do the single step."""
        beam = problem.A.geometry.beam
        if type(beam) is not ParallelBeam:
            raise UnsupportedInput(
                "the scan is from a fan or a cone, but fbp-unet is trained for parallel beams; "
                "take another method"
            )
        network = load_fbp_unet(self.weights, problem.y.device)
        code = network.code(beam.angles_deg)
        # Bodies are trained on with their front first. Half a turn, not a mirror: it leaves the
        # directions of the streaks as they are, and left and right are flipped in training.
        turned = (-2, -1) if begins_at_back(problem.grid) else ()
        fbp = (filtered_back_projection(problem)[:] - 1).flip(turned)
        return Stepped(network.correct(fbp, code).flip(turned), state)
