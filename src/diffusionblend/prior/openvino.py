"""The network of a prior by OpenVINO, which fuses its layers: on a CPU it takes less time so.

Without bfloat16 in the processor, as in most people's, it takes about half (docs/speed.md). The
graph is that of `network.UNet.forward`, layer by layer: a graph that OpenVINO converts from torch
is the same, and takes ten seconds more. Weights are scaled once.

Raises:
    UsageError: On import: OpenVINO is not installed.
"""

import threading
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusionblend.errors import UsageError
from diffusionblend.machine.engine import without_telemetry
from diffusionblend.machine.packages import install
from diffusionblend.prior.network import (
    EMBEDDING,
    RESIDUAL_SHARE,
    SILU_GAIN,
    Block,
    Layer,
    UNet,
    shares,
    with_ones,
)

try:
    with without_telemetry():
        import openvino
        from openvino import opset13 as op
except ImportError as error:
    raise UsageError(f"OpenVINO is not installed; run `{install('openvino')}`") from error

Node = Any
_ONE_AT_A_TIME = threading.Lock()
"""A request has one result, which the next inference replaces, also that of another thread."""


class CompiledUNet:
    """A network without attention, compiled for each size of its images when that first comes.

    Args:
        unet: The network, on the CPU.
        precision: `f32`, or `bf16` where the processor is able to.
    """

    def __init__(self, unet: UNet, precision: str) -> None:
        self._unet, self._precision = unet, precision
        self._compiled: dict[tuple[int, int], Any] = {}
        self._weights: list[tuple[int, int]] = []

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_compiled": {}}  # a copy is compiled anew

    def __call__(self, x: Tensor, log_sigma: Tensor, code: Tensor) -> Tensor:
        """Return F (groups, channels, height, width), as the network does."""
        height, width = x.shape[-2:]
        images = with_ones(x).contiguous().numpy()
        embedding = self._unet.embedding(log_sigma, code).float().numpy()
        with _ONE_AT_A_TIME:
            if self._weights != (now := _versions(self._unet)):
                self._compiled, self._weights = {}, now
            if (height, width) not in self._compiled:
                self._compiled[height, width] = self._compile(height, width)
            made = self._compiled[height, width].infer([images, embedding], share_inputs=True)
            return torch.from_numpy(made[0].copy())

    def _compile(self, height: int, width: int) -> Any:  # noqa: ANN401 - a request
        core = _core()
        able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        known = {
            "INFERENCE_PRECISION_HINT": self._precision if able else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # processes beside each other would share the same cores
        }
        graph = _graph(self._unet, height, width)
        return core.compile_model(graph, "CPU", known).create_infer_request()


def _versions(unet: UNet) -> list[tuple[int, int]]:
    """Return what is another one when weights are replaced or changed in their place."""
    weights = unet.parameters()
    return [(w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]


@cache
def _core() -> openvino.Core:
    """Return the one core of this process.

    Each core gives the thread that signals reach a stack of its own and, when it goes, the stack
    that it found: of two cores the second leaves the freed one of the first, and the next signal
    (Ctrl-C, a child that ends) is a segmentation fault.
    """
    return openvino.Core()


def _graph(unet: UNet, height: int, width: int) -> openvino.Model:
    channels = unet.first.weight.shape[1]
    images = op.parameter([-1, channels, height, width], np.float32)
    embedding = op.parameter([-1, EMBEDDING], np.float32)
    x, skips = _mapped(images, unet.first), []
    for level, blocks in enumerate(unet.down):
        x = _halved(x) if level else x
        x = _level(x, embedding, blocks)
        skips.append(x)
    for level in reversed(range(len(unet.up))):
        x = _level(op.concat([x, skips[level]], 1), embedding, unet.up[level])
        x = _doubled(x) if level else x
    return openvino.Model([_mapped(x, unet.last, unet.gain)], [images, embedding])


def _level(x: Node, embedding: Node, blocks: Any) -> Node:  # noqa: ANN401 - a `Level`
    for block in blocks:
        x = _block(x, embedding, block)
    return x


def _block(x: Node, embedding: Node, block: Block) -> Node:
    x = _mapped(x, block.skip) if isinstance(block.skip, Layer) else x
    scale = op.add(_mapped(embedding, block.embedding, block.gain), _constant(1.0))
    scale = op.unsqueeze(scale, np.array([2, 3]))
    y = op.multiply(_mapped(op.swish(x), block.first, SILU_GAIN), scale)
    kept, added = shares(RESIDUAL_SHARE)
    return op.add(
        _mapped(op.swish(y), block.second, added * SILU_GAIN), op.multiply(x, _constant(kept))
    )


def _mapped(x: Node, layer: Layer, gain: Tensor | float = 1.0) -> Node:
    weight = layer.scaled(gain).detach().float().numpy()
    if weight.ndim == 2:
        return op.matmul(x, op.constant(weight), False, True)
    around = [weight.shape[-1] // 2] * 2
    return op.convolution(x, op.constant(weight), [1, 1], around, around, [1, 1])


def _halved(x: Node) -> Node:
    return op.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], exclude_pad=False)


def _doubled(x: Node) -> Node:
    twice = op.constant(np.array([2.0, 2.0], np.float32))
    return op.interpolate(
        x, twice, "nearest", "scales",
        axes=op.constant(np.array([2, 3])),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


def _constant(value: float) -> Node:
    return op.constant(np.float32(value))
