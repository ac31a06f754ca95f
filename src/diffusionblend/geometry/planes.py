"""The planes of a body, in the order of the axes (z, y, x) of a volume that each lies across."""

PLANES = ("axial", "coronal", "sagittal")
WHOLE = "volume"
"""What a figure of all voxels is called, beside those that are means over the slices of a plane."""
SIDES = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}
"""What lies left, right, on top and at the bottom of each plane as it is shown: right, left,
anterior, posterior, head, foot."""
