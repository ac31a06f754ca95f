"""Look at a prior from all sides: `python studies/check_prior.py RECIPE -o FOLDER`.

On the recipe's training and validation volumes:

- samples.png: slices made from nothing but noise, groups of three neighbours;
- the training slice that is nearest to each (is it remembered?), against how near the training
  slices of one patient lie to those of another;
- denoising of training volumes against validation volumes (is it overfitted?);
- denoising at other sizes of voxels;
- with --scale 2 or 4, the first two of larger pixels;
- with --other FILES (.tif), denoising of what it has never seen the like of.

Prints Markdown.
"""

import argparse
import itertools
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from diffusionblend.data.units import x_from_hu
from diffusionblend.prior import from_pretrained
from diffusionblend.training.cache import candidates, load_sources
from diffusionblend.training.recipe import Folder, read_recipe
from diffusionblend.training.validation import denoising_psnr

SIGMAS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
SAMPLES, STEPS, SIZE = 20, 60, 256
SIGMA_RANGE = (0.005, 80.0)
THUMB = 64
WINDOW = (-1.0, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--prior", default="chest")
    parser.add_argument("--scale", type=int, default=1, help="of pixels; above 1 samples alone")
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    recipe, root = read_recipe(options.recipe), options.recipe.parent
    prior = from_pretrained(options.prior)
    size = SIZE // options.scale
    whole = [(SIZE, SIZE), (size, size)]
    sources = [s for s in load_sources(recipe, root)[0] if s.hu.shape[1:] in whole]
    validation = {c.name: c.read().hu for c in candidates(Folder(recipe.validation.path), root)}

    samples = unconditional(prior, options.scale)
    save_picture(samples, options.output / "samples.png")
    report_neighbours(samples[:, 1], sources, validation)
    if options.scale > 1:
        return

    print("\n| volume |", *(f"{s} |" for s in SIGMAS))
    print("|---|" + "---|" * len(SIGMAS))
    for source in sources:
        row(f"trained on: {source.name}", prior, central(source.hu))
    for name, hu in validation.items():
        row(f"validation: {name}", prior, central(hu))
        for zoom in (0.5, 0.75, 1.5, 2.0):
            x = functional.interpolate(central(hu), scale_factor=zoom, mode="bilinear")
            side = min(SIZE, *x.shape[2:]) // 16 * 16
            top, left = ((n - side) // 2 for n in x.shape[2:])
            x = x[..., top : top + side, left : left + side]
            row(f"{name}, pixels {1 / zoom:.2g} times as large", prior, x)
    for path in options.other:
        row(f"never the like: {path.stem}", prior, central(as_hu(path)))


@torch.inference_mode()
def unconditional(prior, scale: int) -> torch.Tensor:
    """Make groups of neighbours (SAMPLES, 3, rows, columns) in x from noise, by Euler steps."""
    size = SIZE // scale
    generator = torch.Generator().manual_seed(0)
    low, high = (math.log(s) for s in SIGMA_RANGE)
    sigmas = [*torch.exp(torch.linspace(high, low, STEPS)).tolist(), 0.0]
    x = sigmas[0] * torch.randn(SAMPLES, 3, size, size, generator=generator)
    for sigma, following in itertools.pairwise(sigmas):
        clean = torch.cat([prior.denoise(part, sigma, gap=1, scale=scale) for part in x.split(4)])
        x = clean + following / sigma * (x - clean)
    return x


def save_picture(samples: torch.Tensor, path: Path) -> None:
    """Write the middle slices, and the three of the first four, as one picture."""
    low, high = WINDOW
    shown = torch.cat([samples[:, 1], samples[:4].flatten(0, 1)])
    grey = ((shown - low) / (high - low)).clamp(0, 1).mul(255).byte().numpy()
    rows = [np.hstack(grey[i : i + 8]) for i in range(0, len(grey), 8)]
    Image.fromarray(np.vstack(rows)).resize((1024, 1024 * len(rows) // 8)).save(path)


def report_neighbours(samples, sources, validation) -> None:
    names = [source.name for source in sources for _ in source.hu]
    known = torch.cat([thumbs(source.hu) for source in sources])
    made = thumbs(samples * 1000)
    unseen = thumbs(np.concatenate(list(validation.values()))[::8])
    patients = np.array([name.split(".")[0][:12] for name in names])
    between = [
        float(torch.cdist(known[i : i + 1], known[torch.from_numpy(patients != patients[i])]).min())
        for i in range(0, len(known), len(known) // 60)
    ]
    nearest = torch.cdist(made, known).min(dim=1)
    print(
        "RMS difference to the nearest training slice, HU, at 64 x 64 pixels: least, median, most"
    )
    scale = 1000 / THUMB
    for name, values in (
        ("samples", nearest.values),
        ("slices of the validation volume", torch.cdist(unseen, known).min(dim=1).values),
        ("training slices, to other patients", torch.tensor(between)),
    ):
        v = values * scale
        print(f"- {name}: {v.min():.0f}, {v.median():.0f}, {v.max():.0f}")
    print("- nearest to the samples:", ", ".join(sorted({names[i] for i in nearest.indices})))


def thumbs(hu) -> torch.Tensor:
    """Return slices as vectors of THUMB x THUMB means, in x."""
    x = x_from_hu(torch.as_tensor(np.asarray(hu)).float().clamp(-1000, 1000))
    return functional.adaptive_avg_pool2d(x[:, None], THUMB).flatten(1)


def central(hu: np.ndarray, groups: int = 6) -> torch.Tensor:
    """Return groups of neighbours, evenly spread over the middle of a volume, in x."""
    starts = np.linspace(0.25 * len(hu), 0.75 * len(hu) - 3, groups).astype(int)
    return x_from_hu(torch.from_numpy(np.stack([hu[s : s + 3] for s in starts])).float())


def as_hu(path: Path) -> np.ndarray:
    """Return any grey volume with its 1 % and 99 % quantiles at -1000 and 400 HU."""
    import tifffile

    values = tifffile.imread(path).astype(np.float32)
    side = min(values.shape[1:]) // 16 * 16
    low, high = np.quantile(values, [0.01, 0.99])
    return np.clip((values[:, :side, :side] - low) / (high - low) * 1400 - 1000, -1000, 1000)


def row(name, prior, clean) -> None:
    numbers = (f"{denoising_psnr(prior, clean, sigma, gap=1):.2f} |" for sigma in SIGMAS)
    print(f"| {name} |", *numbers, flush=True)


if __name__ == "__main__":
    main()
