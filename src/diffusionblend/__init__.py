"""3D CT reconstruction from few X-ray views with learned diffusion priors."""

import importlib
import inspect
from typing import TYPE_CHECKING

from diffusionblend._version import __version__

if TYPE_CHECKING:
    from diffusionblend.batch.run import reconstruct_many as reconstruct_many
    from diffusionblend.data.scan import Noise as Noise
    from diffusionblend.data.scan import Scan as Scan
    from diffusionblend.data.volume import Volume as Volume
    from diffusionblend.errors import DiffusionBlendError as DiffusionBlendError
    from diffusionblend.errors import DiffusionBlendWarning as DiffusionBlendWarning
    from diffusionblend.experiments.benchmark import benchmark as benchmark
    from diffusionblend.experiments.demo import demo as demo
    from diffusionblend.geometry import ConeBeam as ConeBeam
    from diffusionblend.geometry import FanBeam as FanBeam
    from diffusionblend.geometry import Geometry as Geometry
    from diffusionblend.geometry import Grid as Grid
    from diffusionblend.geometry import ParallelBeam as ParallelBeam
    from diffusionblend.geometry.acquisitions import cone_beam as cone_beam
    from diffusionblend.geometry.acquisitions import fan_beam as fan_beam
    from diffusionblend.geometry.acquisitions import limited_angle as limited_angle
    from diffusionblend.geometry.acquisitions import parallel_beam as parallel_beam
    from diffusionblend.geometry.acquisitions import sparse_view as sparse_view
    from diffusionblend.geometry.tools.astra import from_astra as from_astra
    from diffusionblend.geometry.tools.astra import from_deepinv as from_deepinv
    from diffusionblend.geometry.tools.astra import to_astra as to_astra
    from diffusionblend.geometry.tools.cil import from_cil as from_cil
    from diffusionblend.geometry.tools.leap import from_leap as from_leap
    from diffusionblend.geometry.tools.leap import to_leap as to_leap
    from diffusionblend.geometry.tools.tigre import from_tigre as from_tigre
    from diffusionblend.geometry.tools.tigre import to_tigre as to_tigre
    from diffusionblend.io.projections.importing import import_scan as import_scan
    from diffusionblend.io.projections.rtk import to_rtk as to_rtk
    from diffusionblend.io.scans import read_scan as read_scan
    from diffusionblend.io.scans import write_scan as write_scan
    from diffusionblend.io.volumes import read_volume as read_volume
    from diffusionblend.io.volumes import write_volume as write_volume
    from diffusionblend.methods.method import Step as Step
    from diffusionblend.methods.options import make_method as make_method
    from diffusionblend.methods.registry import method_names as method_names
    from diffusionblend.metrics import evaluate as evaluate
    from diffusionblend.prior import Prior as Prior
    from diffusionblend.prior.hub import push as push
    from diffusionblend.prior.store import from_pretrained as from_pretrained
    from diffusionblend.prior.store import save_pretrained as save_pretrained
    from diffusionblend.projectors import Projector as Projector
    from diffusionblend.projectors import projector as projector
    from diffusionblend.reconstruction.reconstruct import reconstruct as reconstruct
    from diffusionblend.reconstruction.result import Reconstruction as Reconstruction
    from diffusionblend.runs.save import save as save
    from diffusionblend.show.report.compose import report as report
    from diffusionblend.show.viewer.view import view as view
    from diffusionblend.simulation.simulate import simulate as simulate
    from diffusionblend.simulation.simulate import truth_on_grid as truth_on_grid
    from diffusionblend.training.packing import pack as pack
    from diffusionblend.training.supervised import train as train

# Where each public name lives: imported when first used, so that `--help` does not wait for torch.
_HOMES = {
    "ConeBeam": "geometry",
    "DiffusionBlendError": "errors",
    "DiffusionBlendWarning": "errors",
    "FanBeam": "geometry",
    "Geometry": "geometry",
    "Grid": "geometry",
    "Noise": "data.scan",
    "ParallelBeam": "geometry",
    "Prior": "prior",
    "Projector": "projectors",
    "Reconstruction": "reconstruction.result",
    "Scan": "data.scan",
    "Step": "methods.method",
    "Volume": "data.volume",
    "benchmark": "experiments.benchmark",
    "cone_beam": "geometry.acquisitions",
    "demo": "experiments.demo",
    "evaluate": "metrics",
    "fan_beam": "geometry.acquisitions",
    "from_astra": "geometry.tools.astra",
    "from_cil": "geometry.tools.cil",
    "from_deepinv": "geometry.tools.astra",
    "from_leap": "geometry.tools.leap",
    "from_pretrained": "prior.store",
    "from_tigre": "geometry.tools.tigre",
    "import_scan": "io.projections.importing",
    "limited_angle": "geometry.acquisitions",
    "make_method": "methods.options",
    "method_names": "methods.registry",
    "pack": "training.packing",
    "parallel_beam": "geometry.acquisitions",
    "projector": "projectors",
    "push": "prior.hub",
    "read_scan": "io.scans",
    "read_volume": "io.volumes",
    "reconstruct": "reconstruction.reconstruct",
    "reconstruct_many": "batch.run",
    "report": "show.report.compose",
    "save": "runs.save",
    "save_pretrained": "prior.store",
    "simulate": "simulation.simulate",
    "sparse_view": "geometry.acquisitions",
    "to_astra": "geometry.tools.astra",
    "to_leap": "geometry.tools.leap",
    "to_rtk": "io.projections.rtk",
    "to_tigre": "geometry.tools.tigre",
    "train": "training.supervised",
    "truth_on_grid": "simulation.simulate",
    "view": "show.viewer.view",
    "write_scan": "io.scans",
    "write_volume": "io.volumes",
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 - names are made above


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from diffusionblend.arguments import checked

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = checked(value) if inspect.isfunction(value) else value
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
