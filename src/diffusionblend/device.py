"""Where to compute."""

import torch

from diffusionblend.errors import UsageError


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
