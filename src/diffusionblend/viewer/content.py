"""What the viewer's page is made of: its files, and volumes as a browser takes them.

A volume is served as NIfTI, 16 bits, in HU: what any reader of this project reads is looked at the
same way, and a voxel says its value to one HU.
"""

import functools
import importlib.resources
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionblend.checkpoint import read_steps
from diffusionblend.errors import UnsupportedInput, UsageError
from diffusionblend.geometry import Grid
from diffusionblend.provenance import steps_folder
from diffusionblend.report.pictures import DIFFERENCE_HU, diverging
from diffusionblend.scan import Scan
from diffusionblend.viewer.server import Resource
from diffusionblend.volume import Volume, read_volume

MOST_PANES = 8
"""Browsers end the oldest of more than 16 contexts of WebGL."""
MOST_VOXELS = 400_000_000
"""Of all volumes together (docs/viewer.md says what was measured)."""
_KEPT = 3
_PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "niivue.js": ("niivue/niivue.umd.js", "text/javascript; charset=utf-8"),
}


@dataclass(frozen=True, eq=False)
class Shown:
    """A volume that is shown.

    Attributes:
        name: What stands over it.
        volume: The volume.
        steps: Volumes on the way to it: step and file.
    """

    name: str
    volume: Volume
    steps: tuple[tuple[int, Path], ...] = ()


def show_volumes(paths: Sequence[Path]) -> list[Shown]:
    """Read volumes, and find those on the way to each.

    Raises:
        DiffusionBlendError: As `read_volume`.
        UsageError: They are too many.
        UnsupportedInput: They are too large for a browser.
    """
    if not 1 <= len(paths) <= MOST_PANES:
        raise UsageError(f"{len(paths)} volumes: expected 1 to {MOST_PANES}; leave some out")
    shown = []
    for path in paths:
        volume = read_volume(path)
        folder = steps_folder(path)
        steps = tuple((kept.step, folder / kept.volume) for kept in read_steps(folder))
        shown.append(Shown(path.name, volume, steps))
        check_size([one.volume for one in shown], of=len(paths))
    return shown


def check_size(volumes: Sequence[Volume], of: int) -> None:
    """Raise UnsupportedInput if volumes are more than a browser can hold: before it tries.

    Args:
        volumes: Those that are read so far.
        of: How many there are to be.
    """
    voxels = sum(math.prod(volume.grid.shape) for volume in volumes)
    if voxels > MOST_VOXELS:
        raise UnsupportedInput(
            f"{len(volumes)} of {of} volumes have {voxels / 1e6:.0f} million voxels, and a browser "
            f"holds {MOST_VOXELS / 1e6:.0f} million; show fewer at once, or slices of them"
        )


def content_of(shown: Sequence[Shown], scan: Scan | None = None) -> dict[str, Resource]:
    """Return what each name answers.

    Args:
        shown: The volumes.
        scan: The scan that they are made from, to be drawn.
    """
    resources = {name: Resource(kind, _file(file)) for name, (file, kind) in _PAGE.items()}
    facts = json.dumps(_facts(shown, scan is not None)).encode()
    resources["facts.json"] = Resource("application/json", lambda: facts)
    if scan is not None:
        resources["scan.png"] = Resource("image/png", functools.partial(_drawn, scan))
    make = functools.lru_cache(_KEPT)(functools.partial(_nifti, shown))
    for a, one in enumerate(shown):
        names: dict[str, tuple[int, int, int]] = {f"volume/{a}.nii": (a, a, 0)}
        names |= {f"step/{a}/{step}.nii": (a, a, step) for step, _ in one.steps}
        names |= {f"difference/{a}/{b}.nii": (a, b, 0) for b in _alike(shown, a)}
        for name, key in names.items():
            resources[name] = Resource("application/octet-stream", functools.partial(make, key))
    return resources


def _file(name: str) -> functools.partial[bytes]:
    return functools.partial(
        importlib.resources.files(__package__).joinpath("static", name).read_bytes
    )


def _facts(shown: Sequence[Shown], scan: bool) -> Mapping[str, object]:
    """Return what the page is told."""
    ramp = np.linspace(-DIFFERENCE_HU, DIFFERENCE_HU, 256)
    return {
        "volumes": [
            {
                "name": one.name,
                "shape": one.volume.grid.shape,
                "spacing_mm": one.volume.grid.spacing_mm,
                "steps": [step for step, _ in one.steps],
                "alike": _alike(shown, index),
            }
            for index, one in enumerate(shown)
        ],
        "scan": scan,
        "difference": {"hu": DIFFERENCE_HU, "colours": diverging(ramp).tolist()},
    }


def _alike(shown: Sequence[Shown], index: int) -> list[int]:
    """Return the other volumes that lie on the grid of one."""
    grid = shown[index].volume.grid
    return [
        other for other, one in enumerate(shown) if other != index and _same(one.volume.grid, grid)
    ]


def _same(a: Grid, b: Grid) -> bool:
    return a.shape == b.shape and np.allclose(a.affine, b.affine, atol=1e-3)


def _nifti(shown: Sequence[Shown], key: tuple[int, int, int]) -> bytes:
    """Return a volume, a volume on its way, or the difference of two, as NIfTI of 16 bits."""
    import nibabel

    a, b, step = key
    volume = shown[a].volume
    if step:
        volume = read_volume(dict(shown[a].steps)[step])
    hu = volume.hu if a == b else volume.hu - shown[b].volume.hu
    limits = np.iinfo(np.int16)
    values = np.rint(hu).clip(limits.min, limits.max).astype(np.int16)
    image = nibabel.Nifti1Image(values.T, np.array(volume.grid.affine))
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def _drawn(scan: Scan) -> bytes:
    from diffusionblend.projections.drawing import draw_scan

    picture = io.BytesIO()
    draw_scan(scan).save(picture, "PNG")
    return picture.getvalue()
