"""A recipe of a small supervised network."""

SIZE, STEPS = 32, 6


RECIPE = f"""
task = "fbp-unet"
output = "run"
size = {SIZE}
batch = 2
checkpoint_minutes = 0
budget = {{ steps = {STEPS} }}
data = [{{ path = "ct" }}]
validation = {{ path = "ct", slices = 4 }}
acquisitions = [{{ views = 8 }}, {{ views = 16, arc_deg = 90 }}]
network = {{ widths = [8, 16], blocks = [1, 1] }}
optimiser = {{ rate = 3e-2, warm_up_steps = 0 }}
"""
