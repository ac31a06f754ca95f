"""What a user can say about projections; the docstrings are the help of `import`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Quantity = Literal["counts", "line-integrals"]
Tool = Literal["tigre", "astra", "cil", "leap", "rtk", "deepinv"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to understand projections, which to take, and how to correct them."""

    quantity: Quantity | None = None
    """What the numbers are, if neither the format nor geometry.json says."""
    geometry: Path | None = None
    """geometry.json, RTK's geometry (.xml), a scanner's text (Nikon .xtekct, SkyScan .log), or that
    of another package; without it what lies beside the source."""
    from_: Tool | None = None
    """Package that the geometry comes from, if its file does not show it: for ASTRA the dictionary
    as JSON, for TIGRE vars(geo) as JSON, for LEAP the text of save_parameters."""
    beam: Literal["parallel", "fan", "cone"] | None = None
    """Kind of beam, if no geometry states one: if not given, parallel, or a cone if there are
    distances. A fan has a flat detector."""
    sod_mm: float | None = None
    """Distance from the source to the axis, of a fan or a cone."""
    sdd_mm: float | None = None
    """Distance from the source to the detector."""
    arc: float | None = None
    """Degrees that the views are spread over evenly, if nothing states their angles: 360 for a full
    turn whose last view is a step before the first."""
    order: str | None = None
    """Order of a NumPy array's or a TIFF's axes, for instance view,row,bin."""
    number: int | None = None
    """Which number in the file names sorts the files of a folder (1 is the first), if several
    could."""
    bin_mm: float | None = None
    """Size of a detector pixel in mm, if the source does not say."""
    row_mm: float | None = None
    """Its height, if it is not square."""
    angles: Literal["degrees", "radians"] | None = None
    """Unit of the angles, if it is not degrees as the format or geometry.json says, or if the
    angles look otherwise."""
    angles_from: Path | None = None
    """Text file with the angle of each view, one per line, alone or after the number of the view
    (Nikon _ctdata.txt or .ang); it replaces all other angles."""
    lengths: Literal["mm", "cm", "m", "um", "nm"] = "mm"
    """Unit of all lengths in geometry.json; the options are in mm."""
    clockwise: bool = False
    """The angles count clockwise: take their negatives."""
    white: Path | None = None
    """Projections of air (TIFF or NumPy, or an array in a file, as scan.h5:/exchange/data_white),
    in the order of the source's axes."""
    dark: Path | None = None
    """Projections without rays."""
    white_after: Path | None = None
    """Projections of air that were taken after the views; `white` then gives those from before."""
    white_exposure: float | None = None
    """Exposure of a projection of air relative to that of a view, if they differ: 0.5 for half the
    time. If not given, what the file states."""
    fields: Literal["together", "before-after"] | None = None
    """When white fields were taken: together, or one half before the views and one after. If not
    given, their levels decide."""
    i0: float | None = None
    """Counts through air, if there are no projections of air, or to replace them."""
    air_bins: str | None = None
    """Bins A:B that see only air, several separated by commas: they give the flux of each view;
    `auto`: the edges of the detector; `none`: no bins. If not given, the edges, if they show that
    the flux varied."""
    rows: str | None = None
    """Detector rows A:B to take; without it all of them."""
    views: int | None = None
    """Take this number of the measured views, evenly spread."""
    every: int | None = None
    """Take every K-th view."""
    without: str | None = None
    """Views to leave out, counted from 0, for instance 7,31,40-43."""
    bin: int = 1
    """Average K x K detector pixels."""
    size: int | None = None
    """Pixels along each side of a slice; if not given, as many as bins, or for a detector that is
    moved aside as many as it sees."""
    pixel_mm: float | None = None
    """Pixel size in mm; if not given, that of a bin, scaled to the axis."""
    slices: int | None = None
    """Slices of a cone, around the plane of the source; if not given, as many as rows, or for rows
    that are moved aside as many as they see."""
    repair: bool = True
    """Replace dead and hot detector pixels, and values that are not numbers, from their
    neighbours."""
    dead: str | None = None
    """Dead pixels: bins, or row:bin, for instance 12,40-43,5:17."""
    stripes: Literal["none", "median", "sorting", "all"] = "none"
    """Remove what makes rings. `median`: a bin's constant offset from its neighbours. `sorting`,
    `all`: algotom's, for detectors of a thousand bins and more."""
    centre: str | None = None
    """The bin, counted from 0, on which the axis casts its shadow; `auto` to search for it; `none`
    for the middle. If not given, `auto` if the source does not say."""
    tilt: str | None = None
    """How the axis of a parallel beam is tilted in the detector's plane, in degrees, towards higher
    bins in higher rows; `auto` to measure it; `none` for upright; if not given, `auto` where the
    centre is searched for."""
    photons: float | None = None
    """Photons per detector pixel through air; estimated if not given."""
    electronic: float | None = None
    """Standard deviation of the electronic noise in photons, beside `photons`."""
    mu_water: float | None = None
    """Attenuation of water in 1/mm, if it is known; `reconstruct` estimates it."""
