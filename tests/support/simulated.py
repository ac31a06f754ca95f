"""Compare the operators of a GPU without a matrix with the CPU's, by numba's simulator of CUDA.

`NUMBA_ENABLE_CUDASIM=1 PYTHONPATH=tests python -m support.simulated` prints, as JSON and for each
beam, how far both products of `DiffctProjector` are from those of the CPU, and by how much they are
no adjoints.
diffct's own kernels run, thread by thread in Python, on tensors that say `cuda` (`pretended`).
Streams and events are stand-ins. In a process of its own, since the simulator takes the place of
numba's CUDA.
"""

import json
import sys
from unittest import mock

import diffct.utils
import numba.cuda
import torch
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam
from diffusionblend.projectors import projector
from diffusionblend.projectors.diffct import DiffctProjector
from support.phantoms import blob, changed, placed
from support.pretended import CUDA, pretended

GRID = Grid.from_spacing((5, 8, 6), (2.0, 1.0, 1.0))
CONE = changed(
    placed(cone_beam, GRID, (10.0, 250.0), sod_mm=20, sdd_mm=30),
    bins=7, rows=6, offset_mm=0.7, row_offset_mm=-0.4, axis_mm=0.3,
)  # fmt: skip
MOVED = {"bins": 7, "offset_mm": 0.7}
FANS = {
    f"fan, {name}": changed(
        placed(fan_beam, GRID, (10.0, 250.0), sod_mm=20, sdd_mm=30, detector=name),
        **MOVED, axis_mm=0.3,
    )
    for name in ("flat", "curved")
}  # fmt: skip
BEAMS = {
    "parallel": changed(placed(parallel_beam, GRID, (10.0, 250.0)), **MOVED),
    **FANS,
    "cone": CONE,
}


def array(tensor):
    """Return the memory of a tensor as the simulator's array, as `as_cuda_array` does."""
    if not (tensor.is_cuda and tensor.is_contiguous()):
        raise TypeError(f"a kernel was given {tensor.device}, strides {tensor.stride()}")
    with torch._C.DisableTorchFunction():
        return FakeCUDAArray(tensor.detach().numpy())


def stream(*_):
    return mock.MagicMock(cuda_stream=0, device=CUDA)


CUDA_OF_TORCH = {
    "is_available": lambda: True,
    "current_device": lambda: 0,
    "device_count": lambda: 1,
    "current_stream": stream,
    **dict.fromkeys(("device", "stream", "Stream", "Event"), mock.MagicMock()),
}


def relative(a, b):
    return float((a - b).norm() / b.norm())


def compare(geometry):
    """Return what both products of a beam are like there."""
    x = torch.from_numpy(blob(GRID, (0.5, -0.5, 0.3), sigma=2)).float()
    A = projector(*geometry)
    y = A(x)
    with (
        pretended() as device,
        mock.patch.multiple("torch.cuda", **CUDA_OF_TORCH),
        mock.patch.object(torch.Tensor, "record_stream"),
        mock.patch.object(diffct.utils.TorchCUDABridge, "tensor_to_cuda_array", array),
        mock.patch.object(numba.cuda, "external_stream", stream, create=True),
    ):
        B = DiffctProjector(geometry, device=device)
        ax = B(x.to(device))
        at_y = B.T(y.to(device))
        places = sorted({str(ax.device), str(at_y.device)})
        ax, at_y = ax.cpu(), at_y.cpu()
    return {
        "backend": B._operator.backend,
        "places": places,
        "forward": relative(ax, y),
        "adjoint": relative(at_y, A.T(y)),
        "mismatch": float(abs((ax * y).sum() - (x * at_y).sum()) / (ax.norm() * y.norm())),
        # The same by diffct's other way, which has the same weights.
        "torch": relative(ax, DiffctProjector(geometry, device="cpu")(x)),
    }


def main():
    sys.stdout.write(json.dumps({name: compare(geometry) for name, geometry in BEAMS.items()}))


if __name__ == "__main__":
    main()
