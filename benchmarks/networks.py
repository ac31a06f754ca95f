"""Compare networks at equal wall-clock time: `python benchmarks/networks.py RECIPE`.

Each is trained from nothing on the recipe's data for the same time (200 seconds); then the
validation volume is denoised. Prints one row of Markdown for each: parameters, samples a second,
denoising PSNR at gap 1, seconds for one group of three slices of 256 x 256.
"""

import argparse
import copy
import itertools
import time
from pathlib import Path

import torch
from torch import nn

from diffusionblend.prior import PriorConfig, UNetPrior
from diffusionblend.prior.network import Layer, UNet
from diffusionblend.training.cache import load_sources
from diffusionblend.training.loss import denoising_losses
from diffusionblend.training.recipe import Optimiser, read_recipe
from diffusionblend.training.run import learning_rate
from diffusionblend.training.samples import Batch, Sampler, statistics
from diffusionblend.training.validation import Validation

SIGMAS = (0.05, 0.1, 0.25, 0.5, 1.0)
CODES = 48


class SpaceToDepth(nn.Module):
    """A U-Net on 2 x 2 blocks of pixels."""

    def __init__(self, widths):
        super().__init__()
        self.unet = UNet(widths, (1,) * len(widths), attention=False, codes=CODES)
        self.unet.first = Layer(12 + 1, widths[0], 3)
        self.unet.last = Layer(widths[0], 12, 3)

    def forward(self, x, log_sigma, code):
        x = nn.functional.pixel_unshuffle(x, 2)
        return nn.functional.pixel_shuffle(self.unet(x, log_sigma, code), 2)


class Coordinates(nn.Module):
    """A U-Net that is told where in the crop each pixel lies."""

    def __init__(self, widths):
        super().__init__()
        self.unet = UNet(widths, (1,) * len(widths), attention=False, codes=CODES)
        self.unet.first = Layer(3 + 1 + 2, widths[0], 3)

    def forward(self, x, log_sigma, code):
        rows, columns = (torch.linspace(-1.7, 1.7, n) for n in x.shape[2:])
        where = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        return self.unet(torch.cat([x, where.expand(len(x), -1, -1, -1)], 1), log_sigma, code)


class LargeKernels(nn.Module):
    """A U-Net whose finest level has depthwise kernels of 7 x 7 in place of 3 x 3."""

    def __init__(self, widths):
        super().__init__()
        self.unet = UNet(widths, (1,) * len(widths), attention=False, codes=CODES)
        for block in (*self.unet.down[0], *self.unet.up[0]):
            block.first = Depthwise(widths[0])

    def forward(self, x, log_sigma, code):
        return self.unet(x, log_sigma, code)


class Depthwise(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.spread = nn.Parameter(torch.randn(channels, 1, 7, 7))
        self.mix = Layer(channels, channels, 1)

    def forward(self, x):
        norm = self.spread.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        kernels = (self.spread / norm).to(x.dtype)
        return self.mix(nn.functional.conv2d(x, kernels, padding=3, groups=x.shape[1]))


class PixelNorm(nn.Module):
    """A U-Net whose blocks divide each pixel by the norm of its channels first."""

    def __init__(self, widths):
        super().__init__()
        self.unet = UNet(widths, (1,) * len(widths), attention=False, codes=CODES)
        for block in (b for level in self.unet.down for b in level):
            block.skip = nn.Sequential(block.skip, RmsNorm())

    def forward(self, x, log_sigma, code):
        return self.unet(x, log_sigma, code)


class RmsNorm(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-4).to(x.dtype)


class Diffusers(nn.Module):
    """`diffusers.UNet2DModel` of the same widths (`pip install diffusers`)."""

    def __init__(self, widths):
        super().__init__()
        from diffusers import UNet2DModel

        self.unet = UNet2DModel(
            in_channels=3,
            out_channels=3,
            block_out_channels=widths,
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            norm_num_groups=8,
            add_attention=False,
            class_embed_type="timestep",
            resnet_time_scale_shift="scale_shift",
        )

    def forward(self, x, log_sigma, code):
        return self.unet(x, 10 * log_sigma, class_labels=code.float()).sample


def own(widths, blocks=None, attention=False):
    return UNet(widths, blocks or (1,) * len(widths), attention, CODES)


THIN = (16, 32, 64, 128, 128)
WIDE_BELOW = (16, 32, 96, 192, 256)
# Name: the network, and the learning rate that it was found to like.
VARIANTS = {
    "diffusers": (lambda: Diffusers(THIN), 2e-3),
    "thin": (lambda: own(THIN), 3e-2),
    "thin, rate 1e-2": (lambda: own(THIN), 1e-2),
    "thin, rate 6e-2": (lambda: own(THIN), 6e-2),
    "thin, pixel norm": (lambda: PixelNorm(THIN), 1e-2),
    "thin, coordinates": (lambda: Coordinates(THIN), 3e-2),
    "thin, 7 x 7 depthwise on top": (lambda: LargeKernels(THIN), 3e-2),
    "wide below": (lambda: own(WIDE_BELOW), 3e-2),
    "wide below, attention": (lambda: own(WIDE_BELOW, attention=True), 4e-2),
    "wide and deep below, attention": (lambda: own(WIDE_BELOW, (1, 1, 2, 2, 2), True), 2e-2),
    "32, 64, 128, 192": (lambda: own((32, 64, 128, 192)), 1e-2),
    "space-to-depth 2: 48, 96, 192, 256": (lambda: SpaceToDepth((48, 96, 192, 256)), 1e-2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--speed", action="store_true", help="batch, precision, layout: no training"
    )
    options = parser.parse_args()
    if options.speed:
        report_speed()
        return
    recipe, root = read_recipe(options.recipe), options.recipe.parent
    sources, _ = load_sources(recipe, root)
    validation = Validation.read(recipe, root)
    print("| network | parameters / M | samples / s |", *(f"{s} |" for s in SIGMAS), "s / group |")
    print("|---|---|---|" + "---|" * len(SIGMAS) + "---|")
    for name in options.only:
        torch.manual_seed(recipe.seed)
        make, rate = VARIANTS[name]
        prior, samples = trained(make(), rate, recipe, sources, options)
        size = sum(p.numel() for p in prior.parameters()) / 1e6
        numbers = validation.denoise(prior)
        psnr = (f"{numbers[f'psnr_gap1_sigma{s}']:.2f} |" for s in SIGMAS)
        speed = samples / options.seconds
        print(
            f"| {name} | {size:.1f} | {speed:.1f} |", *psnr, f"{seconds(prior):.3f} |", flush=True
        )


def trained(network, rate, recipe, sources, options):
    """Train for some seconds by the wall clock; return the average and the samples seen."""
    mean, std = statistics(sources)
    prior = UNetPrior(PriorConfig(data_mean=mean, data_std=std))
    prior.unet = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(prior).eval().requires_grad_(False)
    optimiser = torch.optim.Adam(prior.parameters(), betas=(0.9, 0.99), fused=True)
    schedule = Optimiser(rate=rate, warm_up_steps=100)
    sampler, samples, began = Sampler(recipe, sources), 0, time.monotonic()
    for step in itertools.count():
        spent = (time.monotonic() - began) / options.seconds
        if spent >= 1:
            return average, samples
        optimiser.param_groups[0]["lr"] = learning_rate(schedule, step, spent)
        batch = sampler[step]
        optimiser.zero_grad(set_to_none=True)
        denoising_losses(prior, batch, std, options.precision).mean().backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimiser.step()
        samples += len(batch.clean)
        weight = 1 - 0.5 ** (len(batch.clean) / (0.1 * samples))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(prior.parameters()), weight)
    raise AssertionError


def report_speed(seconds=4.0, size=128):
    """Print crops a second for each batch, precision and layout of memory."""
    print("| batch | precision | layout | crops / s |\n|---|---|---|---|")
    layouts = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
    for batch, precision, layout in itertools.product((4, 8, 16), ("bf16", "fp32"), layouts):
        torch.channels_last = layouts[layout]  # where the network asks for it
        prior = UNetPrior(PriorConfig(widths=WIDE_BELOW))
        data = Batch(
            *torch.randn(2, batch, 3, size, size), torch.ones(batch), torch.ones(batch).int()
        )
        optimiser = torch.optim.Adam(prior.parameters(), fused=True)
        count, began = -1, 0.0
        while count < 0 or time.monotonic() - began < seconds:
            optimiser.zero_grad(set_to_none=True)
            denoising_losses(prior, data, 0.5, precision).mean().backward()
            optimiser.step()
            began = time.monotonic() if count < 0 else began
            count += 1
        speed = count * batch / (time.monotonic() - began)
        print(f"| {batch} | {precision} | {layout} | {speed:.1f} |", flush=True)


@torch.inference_mode()
def seconds(prior, groups=8):
    """Return the seconds for one group of three slices of 256 x 256."""
    x = torch.zeros(groups, 3, 256, 256)
    prior.denoise(x, 0.5, 1)
    began = time.monotonic()
    prior.denoise(x, 0.5, 1)
    return (time.monotonic() - began) / groups


if __name__ == "__main__":
    main()
