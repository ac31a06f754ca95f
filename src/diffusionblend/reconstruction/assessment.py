"""The quality record of an existing volume, from its scan."""

import torch

from diffusionblend.calibration.water import calibrated
from diffusionblend.data.scan import Scan
from diffusionblend.data.units import x_from_hu
from diffusionblend.data.volume import Volume
from diffusionblend.errors import UnsupportedInput
from diffusionblend.machine.device import find_device
from diffusionblend.prior import Prior
from diffusionblend.quality import Quality, assess
from diffusionblend.reconstruction.task import make_problem


def assess_volume(
    scan: Scan,
    volume: Volume,
    *,
    classical: tuple[str, Volume] | None = None,
    prior: Prior | None = None,
    fits_data: bool = True,
) -> Quality:
    """Assess how far a volume can be trusted, as `reconstruct` does.

    Args:
        scan: What was measured.
        volume: A reconstruction of it, on its grid.
        classical: Name of a classical method, and its volume, to compare with.
        prior: The prior that the method used.
        fits_data: Whether the method fits the data; filtered back-projection does not.
    """
    if not volume.grid.close_to(scan.geometry.grid):
        raise UnsupportedInput("the volume is not on the grid of the scan")
    place = find_device()
    scan, calibration = calibrated(scan)
    return assess(
        make_problem(scan, prior, place),
        _x(volume, place),
        scale=scan.scale,
        classical=None if classical is None else (classical[0], _x(classical[1], place)),
        calibration=calibration,
        fits_data=fits_data,
    )


def _x(volume: Volume, place: torch.device) -> torch.Tensor:
    return torch.from_numpy(x_from_hu(volume.hu)).to(place)
