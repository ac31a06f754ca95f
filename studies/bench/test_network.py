"""A sweep of the network over a volume, and what the machine could do at most."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffusionblend.prior import from_pretrained
from diffusionblend.prior.unet import arithmetic
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import adjacent

SLICES, SIZE, SIGMA = 48, 256, 0.5
MATRICES = (2048, 4096)
CPU = torch.device("cpu")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def prior():
    return from_pretrained("chest")


@pytest.fixture(scope="module")
def convolutions(prior):
    """The floating-point operations of the convolutions for one group."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        prior.denoise(torch.zeros(1, 3, SIZE, SIZE), SIGMA, gap=1)
    return counter.get_flop_counts()["Global"][torch.ops.aten.convolution]


@pytest.fixture(params=PRECISIONS)
def precision(request):
    """A precision that networks run in on this machine."""
    if request.param == "bf16" and not isinstance(arithmetic(CPU), torch.autocast):
        pytest.skip("bf16: this processor is not fast at it, so networks run in fp32")
    return request.param


@pytest.mark.parametrize("batch", [1, 4, 8, 16])
@torch.inference_mode()
def test_sweep(benchmark, monkeypatch, prior, convolutions, precision, batch):
    monkeypatch.setattr(
        "diffusionblend.prior.unet.arithmetic", lambda device: arithmetic(device, precision)
    )
    partition, x = adjacent(SLICES, offset=0), torch.zeros(SLICES, SIZE, SIZE)
    benchmark.group = "network"
    benchmark.extra_info |= {
        "precision": precision,
        "batch": batch,
        "flop": convolutions * len(partition.groups),
    }
    benchmark.pedantic(
        blend,
        (lambda groups: prior.denoise(groups, SIGMA, partition.gap), x, partition, batch),
        rounds=3,
        warmup_rounds=1,
    )


@pytest.mark.parametrize("size", MATRICES)
def test_matrix_product(benchmark, precision, size):
    """The yardstick: nothing that networks are made of does more operations a second."""
    a, b = torch.randn(2, size, size).to(PRECISIONS[precision])
    benchmark.group = "matrix-product"
    benchmark.extra_info |= {"precision": precision, "size": size, "flop": 2 * size**3}
    benchmark.pedantic(torch.mm, (a, b), rounds=5, warmup_rounds=1)
