"""How fast each engine runs the network, and how exactly: `python studies/engines.py VOLUME`.

Groups of three slices of a volume are denoised in batches of eight: milliseconds for each group,
and PSNR. `ONEDNN_MAX_CPU_ISA=AVX2` in front shows it to torch and OpenVINO as on a processor
without AVX-512. Engines that are not installed are left out.

`--calibrate VOLUME ...` adds OpenVINO in integers of 8 bits: NNCF (`pip install nncf`) finds the
ranges on noisy slices of these volumes, and the graph is run once with the integers and once with
the same roundings in float32, which tells what the numbers lose from what the processor does.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

import diffusionblend as db
from diffusionblend.data.units import x_from_hu
from diffusionblend.prior import UNetPrior, from_pretrained
from diffusionblend.prior.network import UNet, with_ones

GROUPS, SIGMAS = 8, (0.05, 0.1, 0.3, 1.0)
CALIBRATION = 20  # groups of each volume, each with another level of noise
IN_FLOAT = ["MatMul", "Add", "Multiply", "Concat", "Interpolate", "AvgPool"]  # beside int8
Network = Callable[[Tensor, Tensor, Tensor], Tensor]


def by_torch(prior: UNetPrior, precision: str) -> Network:
    def run(*known: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return prior.unet(*known)

    return run


def compiled(prior: UNetPrior, precision: str) -> Network:
    prior.unet = torch.compile(prior.unet, mode="max-autotune", dynamic=False)
    return by_torch(prior, precision)


def by_openvino(prior: UNetPrior, precision: str) -> Network:
    from diffusionblend.prior.openvino import CompiledUNet

    return CompiledUNet(prior.unet, {"fp32": "f32"}.get(precision, precision))


def by_onnx(prior: UNetPrior, precision: str) -> Network:
    import onnxruntime

    if precision != "fp32":
        raise ImportError("its kernels for convolutions have no bfloat16")
    known = torch.zeros(GROUPS, 3, 256, 256), torch.zeros(GROUPS), torch.ones(GROUPS).long()
    file, names = io.BytesIO(), ["x", "sigma", "code"]
    torch.onnx.export(prior.unet, known, file, input_names=names, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), options)

    def run(*known: Tensor) -> Tensor:
        given = {name: each.numpy() for name, each in zip(names, known, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return run


class Seen:
    """In place of a network: keeps what it is given, image by image, as OpenVINO's graph takes it.

    Args:
        unet: The network, which embeds the level of noise.
    """

    def __init__(self, unet: UNet) -> None:
        self.unet, self.inputs = unet, []

    def __call__(self, x: Tensor, log_sigma: Tensor, code: Tensor) -> Tensor:
        embedding = self.unet.embedding(log_sigma, code).float()
        parts = zip(with_ones(x).split(1), embedding.split(1), strict=True)
        self.inputs += [[image.numpy(), embedded.numpy()] for image, embedded in parts]
        return x


@torch.inference_mode()
def seen_of(prior: UNetPrior, volumes: list[str]) -> list[list[np.ndarray]]:
    """Return what the network is given for groups of some volumes, at many levels of noise."""
    prior._quickest = lambda device: seen
    seen, generator = Seen(prior.unet), torch.Generator().manual_seed(0)
    for path in volumes:
        groups = groups_of(db.read_volume(path))
        for n, sigma in enumerate(np.geomspace(0.03, 2, CALIBRATION)):
            clean = groups[n % len(groups)][None]
            noise = torch.randn(clean.shape, generator=generator)
            prior.denoise(clean + sigma * noise, float(sigma), 1)
    return seen.inputs


def by_integers(volumes: list[str], precision: str) -> Callable[[UNetPrior, str], Network]:
    """Return what makes the network of 8 bits, calibrated on volumes."""

    def quantised(prior: UNetPrior, _: str) -> Network:
        import nncf

        from diffusionblend.prior import openvino

        graph = openvino._graph(prior.unet, 256, 256)
        convolutions = [n for n in graph.get_ordered_ops() if n.get_type_name() == "Convolution"]
        ends = [node.get_friendly_name() for node in (convolutions[0], convolutions[-1])]
        seen = seen_of(prior, volumes)
        graph = nncf.quantize(
            graph,
            nncf.Dataset(seen),
            subset_size=len(seen),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=ends, types=IN_FLOAT, validate=False),
            # The products of a processor without VNNI would overflow with all 8 bits of a weight.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE, disable_bias_correction=True
            ),
        )
        network = openvino.CompiledUNet(prior.unet, "f32")
        known = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
        known |= {"LP_TRANSFORMS_MODE": precision == "int8"}
        compiled = openvino._core().compile_model(graph, "CPU", known)
        network._compiled[256, 256] = compiled.create_infer_request()
        return network

    return quantised


ENGINES = {
    "torch": by_torch,
    "torch.compile": compiled,
    "OpenVINO": by_openvino,
    "ONNX Runtime": by_onnx,
}


def groups_of(volume: db.Volume) -> Tensor:
    """Return groups of neighbours from the middle of a volume (groups, 3, 256, 256), in x."""
    first = len(volume.hu) // 2 - 3 * GROUPS // 2
    x = torch.from_numpy(x_from_hu(volume.hu[first : first + 3 * GROUPS].clip(-1000, 1000)))
    return x.float().unflatten(0, (GROUPS, 3))


@torch.inference_mode()
def row(network: Network, prior: UNetPrior, clean: Tensor, repeats: int) -> Iterator[str]:
    """Yield the milliseconds of a group, and the PSNR at each level of noise."""
    prior._quickest = lambda device: network
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    seconds, figures = [], []
    for sigma in SIGMAS:
        found = prior.denoise(clean + sigma * noise, sigma, 1)
        figures.append(10 * np.log10(4 / float((found - clean).square().mean())))
        for _ in range(repeats):
            began = time.perf_counter()
            prior.denoise(clean + sigma * noise, sigma, 1)
            seconds.append(time.perf_counter() - began)
    yield f"{1000 * np.median(seconds) / GROUPS:.1f}"
    yield from (f"{figure:.2f}" for figure in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--calibrate", nargs="+", default=[], metavar="VOLUME")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    clean = groups_of(db.read_volume(options.volume))
    print("| engine | numbers | ms a group |", *(f"sigma {sigma} |" for sigma in SIGMAS))
    print("|---|---|---|" + len(SIGMAS) * "---|")
    rows = [(n, p, ENGINES[n]) for n in options.engines for p in options.precisions]
    if options.calibrate:
        kinds = ("int8", "int8, in float32")
        rows += [("OpenVINO", kind, by_integers(options.calibrate, kind)) for kind in kinds]
    for name, precision, make in rows:
        prior = from_pretrained("chest")
        try:
            network = make(prior, precision)
        except ImportError as error:
            print(f"{name}, {precision}: {error}")
            continue
        figures = row(network, prior, clean, options.repeats)
        print(f"| {name} | {precision} |", *(f"{each} |" for each in figures), flush=True)


if __name__ == "__main__":
    main()
