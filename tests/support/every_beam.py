"""A grid that is not square, and beams of every kind around it."""

from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam, sparse_view
from diffusionblend.methods import methods
from support.phantoms import changed, placed

GRID = Grid.from_spacing((9, 20, 16), (2.0, 1.0, 1.0))


PLACE = {"sod_mm": 60.0, "sdd_mm": 100.0}


MOVED = {"axis_mm": 0.7, "offset_mm": -1.3}


BEAMS = {
    "parallel": changed(placed(parallel_beam, GRID, sparse_view(30)), offset_mm=2.2),
    "fan, flat": changed(placed(fan_beam, GRID, sparse_view(40, 360), **PLACE), **MOVED),
    "fan, curved, short": changed(
        placed(fan_beam, GRID, sparse_view(40, 230), detector="curved", **PLACE), **MOVED
    ),
    "cone": changed(
        placed(cone_beam, GRID, sparse_view(30, 360), **PLACE), **MOVED, row_offset_mm=1.1
    ),
}


ANY = sorted(set(methods()) - {"fbp-unet"})  # which refuses what it was not trained for

FEW = {"steps": 20}
OPTIONS = {name: FEW for name, cls in methods().items() if cls.needs_prior}
OPTIONS |= {"sirt": {"iterations": 50}}
OF_THOUSANDS_OF_LEVELS = ("diffusion-mbir", "tpdm")
