"""A recipe of a small training, and the folder that it needs."""

import shutil

STEPS = 6


RECIPE = f"""
output = "run"
seed = 3
checkpoint_minutes = 0  # one after each step
compile = false
data = [{{ path = "volumes" }}]
kinds = [{{ gap = 0 }}, {{ gap = 1 }}, {{ gap = 3, weight = 2.0 }}]
crops = [{{ size = 32, batch = 2 }}]

[budget]
steps = {STEPS}

[network]
widths = [8, 16]
blocks = [1, 1]

[optimiser]
rate = 3e-2
warm_up_steps = 2
"""


VALIDATION = """
[validation]
path = "volumes"
slices = 3
steps = 2
"""


def furnish(data, folder, recipe=RECIPE):
    (folder / "volumes").mkdir()
    shutil.copy(data.volume, folder / "volumes")
    (folder / "recipe.toml").write_text(recipe)
    return folder
