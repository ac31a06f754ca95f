# %% [markdown]
# # Train a small prior of your own
#
# A prior is a network that removes noise, three slices at a time. It favours volumes like those it
# was trained on: here ellipsoids, made on the spot, and in less than a minute on two cores the
# network learns enough about them to reconstruct new ones from ten views. A prior for
# real use is trained in the same way, on more and for longer.
#
# This lesson is a notebook, `train_a_small_prior.ipynb`, and a script, `train_a_small_prior.py`. It
# needs `pip install accelerate tensorboard matplotlib`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import diffusionblend as db

OUT = Path("out/examples/train")
(OUT / "volumes").mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. Volumes
#
# Each is a body of soft tissue (40 HU) in air, with ellipsoids of other densities in it. As all
# volumes here they are in Hounsfield units on a grid in millimetres; the recipe reads them from a
# folder, in any of the formats that the package reads.

# %%
SHAPE = (18, 48, 48)
GRID = db.Grid.from_spacing(SHAPE, (3.0, 5.0, 5.0))


def ellipsoids(seed: int) -> db.Volume:
    """Draw a body with ellipsoids in it."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    hu = np.full(SHAPE, -1000.0)
    hu[(x / 0.85) ** 2 + (y / 0.7) ** 2 < 1] = 40
    for density in rng.choice([-800, -100, 150, 700], size=8):
        centre, axes = rng.uniform(-0.45, 0.45, 3), rng.uniform(0.08, 0.3, 3)
        parts = ((a - c) / r for a, c, r in zip((z, y, x), centre, (3, 1, 1) * axes, strict=True))
        hu[sum(part**2 for part in parts) < 1] = density
    return db.Volume(hu, GRID)


for seed in range(16):
    db.write_volume(ellipsoids(seed), OUT / f"volumes/ellipsoids-{seed:02}.nii.gz")
ellipsoids(0)

# %% [markdown]
# ## 2. A recipe
#
# Everything that decides the training stands in one file. The network has three levels; it sees
# whole slices, three at a time, that are neighbours (`gap = 1`) or lie three apart (`gap = 3`),
# since the method asks for both.

# %%
recipe = OUT / "recipe.toml"
recipe.write_text("""\
output = "prior-run"
data = [{ path = "volumes" }]
kinds = [{ gap = 1 }, { gap = 3 }]
crops = [{ size = 48, batch = 4 }]
checkpoint_minutes = 0.2
budget = { steps = 320 }
network = { widths = [16, 32, 64], blocks = [1, 1, 1] }
optimiser = { rate = 3e-2, warm_up_steps = 30, ema_half_life = 150 }
""")

# %% [markdown]
# ## 3. Training
#
# The same call again goes on where it was stopped, or finds that all is done. A run reports its
# loss now and then.

# %%
losses = []
task, folder = db.train(recipe, progress=lambda report: losses.append(report["loss"]))
print(f"{task} in {folder}, loss {losses[0]:.3f} to {losses[-1]:.3f}")

# %% [markdown]
# ## 4. What it has learned
#
# A volume that was not in the folder, scanned from ten views, and reconstructed with the new prior
# and without one. `sbtv` is total variation, which believes in flat regions with sharp edges: just
# what ellipsoids are, so it is no weak opponent here.

# %%
truth = ellipsoids(1000)
scan = db.simulate(truth, db.sparse_view(10))
made = {
    "fbp": db.reconstruct(scan, "fbp"),
    "sbtv": db.reconstruct(scan, "sbtv"),
    "our prior": db.reconstruct(scan, prior=folder, steps=20, classical=False),
}
psnr = {name: db.evaluate(each, truth)["axial"]["psnr"] for name, each in made.items()}
print({name: f"{value:.1f} dB" for name, value in psnr.items()})

# %%
figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
for ax, (name, volume) in zip(axes, {"truth": truth, **made}.items(), strict=True):
    ax.imshow(volume.hu[9], cmap="gray", vmin=-1000, vmax=800)
    ax.set_title(f"{name}, {psnr[name]:.1f} dB" if name in psnr else name)
    ax.axis("off")
figure.savefig(OUT.parent / "train_a_small_prior.png")

# %% [markdown]
# ## 5. Where to go from here
#
# The folder is the prior: `config.json`, `model.safetensors` and a card.
# `db.from_pretrained(folder)` loads it, the command line takes it as `--prior`, and
# `diffusionblend push` sends it to the Hugging Face hub. `recipes/chest.toml` is the recipe of the
# prior that comes with the package.
