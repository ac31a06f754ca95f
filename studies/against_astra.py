"""FBP, SIRT and CGLS against ASTRA's on the processor, on the same line integrals.

ASTRA is GPL-3 and no dependency of the project; its wheel does not load without two of CUDA:

    pip install --no-deps --target /tmp/astra-site astra-toolbox==2.5.0 \\
        nvidia-cuda-runtime-cu12==12.9.79 nvidia-cufft-cu12==11.4.1.4
    OMP_NUM_THREADS=1 PYTHONPATH=/tmp/astra-site python studies/against_astra.py

Four slices of the demonstration scan, projected by neither operator but `strip_project`, from
512 x 512 pixels. ASTRA's `linear` is Joseph's method too.
Differences are of u = mu / mu_water, PSNR of HU, both over the four slices. Prints Markdown:

- `fbp` differs in the back-projection: theirs is the transpose of the projector. `fbp, A^T` is our
  filter with our transpose.
- `cgls` is called slice by slice, as theirs; `cgls, stack` takes one step size for all slices, as
  `reconstruct` does.
"""

import time
from collections.abc import Callable

import astra
import numpy as np
import torch
from torch import Tensor

import diffusionblend as db
from diffusionblend.data.units import hu_from_x
from diffusionblend.experiments.demo import demonstration_volume
from diffusionblend.geometry import Geometry
from diffusionblend.methods import Problem
from diffusionblend.methods.fbp import FBP, ramp_filter
from diffusionblend.methods.iterative import CGLS, SIRT
from diffusionblend.metrics import RANGE_HU, psnr
from diffusionblend.projectors import Projector, projector
from diffusionblend.simulation.simulate import truth_on_grid

SLICES, SIZE, VIEWS = (60, 64), 256, (60, 8)
SIRT_ITERATIONS, CGLS_ITERATIONS = 100, 25


class Astra:
    """ASTRA's operator and algorithms, in the conventions of `geometry`.

    Its rows count against its y, ours along: a view's angle has the other sign.
    """

    def __init__(self, geometry: Geometry) -> None:
        _, rows, columns = geometry.grid.shape
        beam, pixel_mm = geometry.beam, geometry.grid.pixel_mm
        angles = -np.array(beam.angles)
        self.volume = astra.create_vol_geom(rows, columns)
        self.beam = astra.create_proj_geom("parallel", beam.bin_mm / pixel_mm, beam.bins, angles)
        self.projector = astra.create_projector("linear", self.beam, self.volume)

    def project(self, x: np.ndarray) -> np.ndarray:
        made = [astra.create_sino(u, self.projector) for u in x]
        astra.data2d.delete([name for name, _ in made])
        return np.stack([y for _, y in made])

    def back_project(self, y: np.ndarray) -> np.ndarray:
        made = [astra.create_backprojection(sinogram, self.projector) for sinogram in y]
        astra.data2d.delete([name for name, _ in made])
        return np.stack([x for _, x in made])

    def reconstruct(self, kind: str, y: np.ndarray, iterations: int = 1) -> np.ndarray:
        return np.stack([self._slice(kind, sinogram, iterations) for sinogram in y])

    def _slice(self, kind: str, sinogram: np.ndarray, iterations: int) -> np.ndarray:
        data = astra.data2d.create("-sino", self.beam, sinogram)
        result = astra.data2d.create("-vol", self.volume, 0.0)
        config = astra.astra_dict(kind)
        config["ProjectorId"] = self.projector
        config["ProjectionDataId"] = data
        config["ReconstructionDataId"] = result
        if kind == "FBP":
            config["FilterType"] = "ram-lak"
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm, iterations)
        u = astra.data2d.get(result)
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([data, result])
        return u


def slice_by_slice(method: Callable[[Problem], Tensor], y: Tensor, A: Projector) -> np.ndarray:
    """Return u of each slice as if there were no other."""
    return torch.cat([method(Problem(part, A)) for part in y.split(1)]).numpy() + 1


def fbp_by_transpose(y: Tensor, A: Projector) -> np.ndarray:
    return (A.T(ramp_filter(y, A.geometry)) * (torch.pi / y.shape[1])).numpy()


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def hu(u: np.ndarray) -> np.ndarray:
    return hu_from_x(u.astype(np.float64) - 1).clip(*RANGE_HU)


def timed(function: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def check_operators(A: Projector, theirs: Astra, u: np.ndarray) -> None:
    """Print how far the operators are apart on slices without symmetry, as they lie and turned."""
    y = A(torch.from_numpy(u)).numpy()
    turned = (("", u), (", rows reversed", u[:, ::-1]), (", columns reversed", u[:, :, ::-1]))
    for name, object_ in turned:
        print(f"- A u against ASTRA's{name}: {relative(theirs.project(object_.copy()), y):.1e}")


def main() -> None:
    print(f"ASTRA {astra.__version__}, torch {torch.__version__}, diffusionblend {db.__version__}")
    volume = db.read_volume(demonstration_volume()).slices(*SLICES)
    truth = truth_on_grid(volume, SIZE).hu
    sirt, cgls = SIRT(SIRT_ITERATIONS, tolerance=0.0), CGLS(CGLS_ITERATIONS, rho=0.0)
    lines = [
        "| views | method | relative difference | mutual PSNR | our PSNR | their PSNR "
        "| our seconds | their seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for views in VIEWS:
        scan = db.simulate(volume, db.sparse_view(views), size=SIZE, protocol="independent")
        A, theirs = projector(*scan.geometry), Astra(scan.geometry)
        data = np.ascontiguousarray(scan.y / scan.scale, dtype=np.float32)
        y = torch.from_numpy(data)
        print(f"\n{views} views:\n")
        check_operators(A, theirs, truth.astype(np.float32) / 1000 + 1)
        reference = {
            kind: timed(lambda: theirs.reconstruct(kind, data, iterations))  # noqa: B023
            for kind, iterations in (
                ("FBP", 1),
                ("SIRT", SIRT_ITERATIONS),
                ("CGLS", CGLS_ITERATIONS),
            )
        }
        ours = {
            "fbp": ("FBP", lambda: slice_by_slice(FBP(), y, A)),  # noqa: B023
            "fbp, A^T": ("FBP", lambda: fbp_by_transpose(y, A)),  # noqa: B023
            "sirt": ("SIRT", lambda: slice_by_slice(sirt, y, A)),  # noqa: B023
            "cgls": ("CGLS", lambda: slice_by_slice(cgls, y, A)),  # noqa: B023
            "cgls, stack": ("CGLS", lambda: cgls(Problem(y, A)).numpy() + 1),  # noqa: B023
        }
        for name, (kind, function) in ours.items():
            (mine, seconds), (other, their_seconds) = timed(function), reference[kind]
            lines.append(
                f"| {views} | {name} | {relative(mine, other):.1e} "
                f"| {psnr(hu(mine), hu(other)).mean():.2f} "
                f"| {psnr(hu(mine), truth.clip(*RANGE_HU)).mean():.2f} "
                f"| {psnr(hu(other), truth.clip(*RANGE_HU)).mean():.2f} "
                f"| {seconds:.2f} | {their_seconds:.2f} |"
            )
    print("", *lines, sep="\n")


if __name__ == "__main__":
    main()
