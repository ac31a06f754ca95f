"""3D CT reconstruction from few X-ray views with learned diffusion priors."""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from diffusionblend.geometry import ConeBeam as ConeBeam
    from diffusionblend.geometry import FanBeam as FanBeam
    from diffusionblend.geometry import Grid as Grid
    from diffusionblend.geometry import ParallelBeam as ParallelBeam
    from diffusionblend.geometry import cone_beam as cone_beam
    from diffusionblend.geometry import fan_beam as fan_beam
    from diffusionblend.geometry import limited_angle as limited_angle
    from diffusionblend.geometry import parallel_beam as parallel_beam
    from diffusionblend.geometry import sparse_view as sparse_view
    from diffusionblend.metrics import evaluate as evaluate
    from diffusionblend.prior.store import from_pretrained as from_pretrained
    from diffusionblend.projector import Projector as Projector
    from diffusionblend.projector import make_projector as make_projector
    from diffusionblend.reconstruction import reconstruct as reconstruct
    from diffusionblend.reconstruction import reconstruct_and_assess as reconstruct_and_assess
    from diffusionblend.scan import Scan as Scan
    from diffusionblend.scan import read_scan as read_scan
    from diffusionblend.scan import write_scan as write_scan
    from diffusionblend.simulation import simulate as simulate
    from diffusionblend.volume import Volume as Volume
    from diffusionblend.volume import read_volume as read_volume
    from diffusionblend.volume import write_volume as write_volume

# Where each public name lives: imported when first used, so that `--help` does not wait for torch.
_HOMES = {
    "Grid": "geometry",
    "ConeBeam": "geometry",
    "FanBeam": "geometry",
    "ParallelBeam": "geometry",
    "cone_beam": "geometry",
    "fan_beam": "geometry",
    "make_projector": "projector",
    "Projector": "projector",
    "Scan": "scan",
    "Volume": "volume",
    "evaluate": "metrics",
    "from_pretrained": "prior.store",
    "limited_angle": "geometry",
    "parallel_beam": "geometry",
    "read_scan": "scan",
    "read_volume": "volume",
    "reconstruct": "reconstruction",
    "reconstruct_and_assess": "reconstruction",
    "simulate": "simulation",
    "sparse_view": "geometry",
    "write_scan": "scan",
    "write_volume": "volume",
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 - names are made above


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
