"""A recipe of a small experiment."""

TINY = """
title = "Tiny"
prior = "{prior}"
seeds = [0, 1]

[[volumes]]
name = "chest"
path = "{volume}"
slices = [0, 9]

[[acquisitions]]
label = "8 views"
views = 8
photons = 1e5

[[rows]]
label = "FBP"
method = "fbp"

[[rows]]
label = "SBTV"
method = "sbtv"
options = {{iterations = 3}}

[[rows]]
label = "++"
method = "diffusionblend++"
options = {{steps = 2}}

[[show]]
kind = "quality"

[[show]]
kind = "pictures"

[[show]]
kind = "trace"
"""


def write_recipe(data, folder, change=("", ""), name="tiny"):
    text = TINY.format(prior=data.prior, volume=data.volume)
    assert change[0] in text
    path = folder / f"{name}.toml"
    path.write_text(text.replace(*change))
    return path


def change(path):
    assert path.exists(), path
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\nADDED = {path.stat().st_size}\n")
