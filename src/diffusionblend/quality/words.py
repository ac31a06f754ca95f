"""Warnings in words: what a figure means, in one sentence, where it should give pause."""

import math
from collections.abc import Callable, Iterator

from diffusionblend.geometry import Geometry
from diffusionblend.quality.record import Outlier, Quality, Residual, Values, Warn

FEW_VIEWS = 30
"""Views below which small structures are guessed.

From 20 views a third of the contrast of a chest is in no datum, from 60 a fifth; the error of the
default method halves between the two.
"""
MISSING_ARC_DEG = 5.0
"""Missing arc from which edges are lost: less is within what sparse views leave open anyway."""
MUCH_UNDETERMINED = 0.3
"""Unseen share of the contrast from which the picture is the prior's as much as the data's.

The default method's picture of a chest has 0.48 from 8 views, 0.34 from 20, 0.19 from 60.
"""
LOW_CHI_SQUARE = 0.5
"""Chi-square per ray below which a picture follows the noise.

The truth has 1, and the default method 0.9 to 1.1.
"""
CUT = 0.01
"""Share of the projections, rays or object from which something is cut off.

Less is the edge of a table, or a bad pixel.
"""
ABOVE = 5e-5
"""Share of the voxels above the prior's range from which something dense is there: a filling.

A steel ball of 4 mm is 2e-4 of the voxels of a small scan.
"""
UNLIKE_ATTENUATION = 1.25
"""Factor between the mean attenuation and that of training from which the scale is doubtful.

The volumes that `chest` was trained on have 0.91 to 1.12 each.
"""
ALL_SIZES = 100
"""Ratio of the largest to the smallest pixel of a training that shows more than bodies."""
UNLIKE_SPACING = 1.1
"""Factor beyond the training's voxel sizes that is still called within."""
FLAT = 0.03
"""Share of the contrast that three values leave, below which an object is of flat materials.

From 8 to 60 views a tooth has 0.012 to 0.021 and a walnut 0.05 to 0.1. Bodies have 0.01 (heads)
to 0.1, so that it says something of other objects alone.
"""
LARGE_SPREAD_HU = 50.0
"""Standard deviation between samples, in the object, from which values do not separate tissues.

Fat and muscle lie 150 HU apart.
"""
_NAMED = 5


def warnings(quality: Quality, geometry: Geometry) -> tuple[Warn, ...]:
    """Return the warnings that the figures of a record call for, the gravest first."""
    return tuple(Warn(code, text) for code, rule in _RULES for text in rule(quality, geometry))


def rank(code: str) -> int:
    """Return the place of a code among all of them, the gravest first; unknown ones come last."""
    codes = [known for known, _ in _RULES]
    return codes.index(code) if code in codes else len(codes)


def is_grave(code: str) -> bool:
    """Return whether a warning says that something may be wrong, not what the data leave open."""
    return code in dict(_FAULTS)


def _few_views(quality: Quality, geometry: Geometry) -> Iterator[str]:
    views = quality.coverage.views
    if views < FEW_VIEWS:
        yield (
            f"Only {views} view{'s' if views > 1 else ''}: from fewer than {FEW_VIEWS} the picture "
            "is a plausible guess, in which small structures may be invented, moved or missing."
        )


def _missing_arc(quality: Quality, geometry: Geometry) -> Iterator[str]:
    arc = quality.coverage.missing_arc_deg
    if arc > MISSING_ARC_DEG:
        yield (
            f"An arc of {arc:.0f} degrees has no rays: edges along those directions are not in "
            "the data, and the picture guesses where they are."
        )


def _undetermined(quality: Quality, geometry: Geometry) -> Iterator[str]:
    share = quality.undetermined.share
    if share > MUCH_UNDETERMINED:
        yield (
            f"{100 * share:.0f} percent of the picture's contrast is invisible to the scanner: "
            "a picture without it would fit the data equally well."
        )


def _residual_high(quality: Quality, geometry: Geometry) -> Iterator[str]:
    found = quality.residual
    if found.too_coarse or not _says_something(quality):
        return
    if found.inconsistent or (found.high and found.fits_data):
        yield f"The picture does not explain the data ({_left_over(found)}): {_why(quality)}."


def _coarse_pixels(quality: Quality, geometry: Geometry) -> Iterator[str]:
    found, size = quality.residual, geometry.grid.shape[2]
    if found.too_coarse and _says_something(quality):
        yield (
            f"The object is finer than the pixels ({_left_over(found)}): data and geometry agree, "
            "since pixels of half the size explain the data, but small structures blur together; "
            f"take more pixels (import it with `size={2 * size}`)."
        )


def _flux(quality: Quality, geometry: Geometry) -> Iterator[str]:
    share = quality.residual.flux
    if share > 0 and not _beyond(quality):
        yield (
            f"The flux of the source differs from view to view by {100 * share:.2g} percent "
            "(standard deviation): diffusionblend-fast removes that, but with other methods some "
            "of it stays in the picture; an import with `air_bins` corrects it if the detector "
            "sees air."
        )


def _why(quality: Quality) -> str:
    """Return what is the likeliest cause of a residual that is high, and the cure."""
    found = quality.residual
    if _beyond(quality):
        return "something lies beyond volume or detector, as is said below"
    if found.bad_views or found.bad_rows or found.bad_bins or found.bad_pixels:
        return (
            "the views or parts of the detector named below disagree with the rest; if this "
            "warning stays without them, the geometry (centre, angles, sense of rotation) is "
            "wrong"
        )
    if found.explained_nearby:
        return (
            "a picture near it would, so the method has not converged, or its options do not "
            "suit the scan; compare with another method, such as `method='tv'`"
        )
    return (
        "no picture near it does either, so the geometry (centre, angles, sense of rotation, "
        "distances) is wrong, the object moved, the source was not steady, or the noise was "
        "underestimated; the command calibrate (`find_pose`) searches for the position of the "
        "detector"
    )


def _beyond(quality: Quality) -> bool:
    """Return whether something lies outside of the volume, or of the detector."""
    reach = quality.coverage
    return max(reach.outside, reach.cut_bins, reach.cut_rows) > CUT


def _says_something(quality: Quality) -> bool:
    """Return whether the residual speaks of the data.

    Some steps from a picture that does not fit them do not reach what lies beyond the detector.
    """
    return quality.residual.fits_data or not _beyond(quality)


def _left_over(found: Residual) -> str:
    left = found if found.fits_data or found.least is None else found.least
    if found.sigma == "noise":
        return f"its residual is {left.normalised:.3g} times what noise and projector leave"
    return f"{100 * left.relative:.2g} percent of the line integrals is unexplained"


def _residual_low(quality: Quality, geometry: Geometry) -> Iterator[str]:
    chi_square = quality.residual.chi_square
    if chi_square is not None and chi_square < LOW_CHI_SQUARE:
        yield (
            "The picture fits the noise, too, or the noise was overestimated: chi-square per ray "
            f"is {chi_square:.2g}, but noise alone would leave 1."
        )


def _bad_views(quality: Quality, geometry: Geometry) -> Iterator[str]:
    bad = quality.residual.bad_views
    if bad and _says_something(quality):
        numbers = ",".join(str(b.where[0]) for b in bad)
        angles = [f"{b.where[0]} ({geometry.beam.angles_deg[b.where[0]]:g} degrees)" for b in bad]
        yield (
            f"View {_listed(angles)} disagrees with the others: the object may have moved, or the "
            f"exposure or the angle may be wrong; leave it out (import with `without='{numbers}'`, "
            "if all views were imported) and compare."
        )


def _bad_bins(quality: Quality, geometry: Geometry) -> Iterator[str]:
    found = quality.residual
    named = (
        ("Detector row", found.bad_rows),
        ("Detector bin", found.bad_bins),
        ("Detector pixel (row, bin)", _others(found.bad_pixels, found.bad_rows, found.bad_bins)),
    )
    why = "dead or badly corrected pixels leave rings or streaks in the picture"
    if _beyond(quality):
        why = "what lies beyond volume or detector, or dead pixels, leave rings or streaks there"
    for name, bad in named:
        if bad:
            places = _listed([_place(b) for b in bad])
            yield f"{name} {places} disagrees with its neighbours: {why}."


def _truncated(quality: Quality, geometry: Geometry) -> Iterator[str]:
    reach = quality.coverage
    if reach.cut_bins > CUT:
        yield (
            f"The object reaches the detector's edge in {100 * reach.cut_bins:.0f} percent of the "
            "projections: what is beyond was not measured but guessed, so values inside may be "
            "off by a few percent, most of all near the rim; a wider detector, or one moved "
            "aside for a full turn, sees all of it."
        )
    if reach.cut_rows > CUT:
        yield (
            "The object reaches the first or last row of the detector: it continues beyond the "
            "volume, and its shadows fall into the slices at the ends; take more slices (import "
            "it with `slices`)."
        )


def _outside(quality: Quality, geometry: Geometry) -> Iterator[str]:
    reach = quality.coverage
    if reach.outside > CUT:
        yield (
            f"{100 * reach.outside:.2g} percent of the rays beside the volume are attenuated: "
            "something is outside it, and its shadow falls into the picture; take a larger grid "
            "(import it with `size`)."
        )
    if reach.unseen > CUT:
        yield (
            f"{100 * reach.unseen:.2g} percent of the object lies where fewer than 40 percent "
            "of the views see it: there the picture is a guess."
        )


def _value_range(quality: Quality, geometry: Geometry) -> Iterator[str]:
    values = quality.values
    if values.above is not None and values.above > ABOVE:
        yield (
            f"{100 * values.above:.2g} percent of the voxels are denser than anything in the "
            "training of the prior, which may distort what is near them: diffusionblend-fast "
            "leaves them to the data; other methods with a prior clip them unless `highest` is "
            "raised."
        )
    here, trained = values.attenuation, values.trained_attenuation
    if here and trained and abs(math.log(here / trained)) > math.log(UNLIKE_ATTENUATION):
        yield (
            f"The object attenuates {here / trained:.2g} times as much as what the prior was "
            "trained on: if it is the same kind of object, the scale is wrong; `mu_water` or "
            "`scale` corrects it."
        )


def _flat_materials(quality: Quality, geometry: Geometry) -> Iterator[str]:
    values, few = quality.values, quality.coverage.views < FEW_VIEWS
    left, by_a_prior = values.left_by_three, values.above is not None
    if not by_a_prior or _knows_all_sizes(values) or not few:
        return
    if _is_no_body(quality) and left is not None and left < FLAT:
        yield (
            "The object is not a body and consists of a few flat materials (three values leave "
            f"{100 * left:.1f} percent of the contrast): from so few views total variation, which "
            "assumes just that, is likely to be better than a prior of bodies; compare with "
            "`method='tv'` and with `prior='general'`."
        )


def _spacing(quality: Quality, geometry: Geometry) -> Iterator[str]:
    values = quality.values
    cure = "; `prior='general'` was trained on objects of all sizes" if _is_no_body(quality) else ""
    for name, size, trained in (
        ("Pixels", values.pixel_mm, values.trained_pixel_mm),
        ("Slices", values.slice_mm, values.trained_slice_mm),
    ):
        if trained is not None and not _within(size, trained):
            yield (
                f"{name} are {size:.3g} mm apart, those of the prior's training {trained[0]:g} to "
                f"{trained[1]:g} mm: it has not seen structures of this size and may draw them as "
                f"something else{cure}."
            )


def _is_no_body(quality: Quality) -> bool:
    found = quality.calibration
    return found is not None and found.how == "material"


def _knows_all_sizes(values: Values) -> bool:
    """Return whether the prior's training pixels vary so much that it saw more than bodies."""
    trained = values.trained_pixel_mm
    return trained is not None and trained[1] > ALL_SIZES * trained[0]


def _spread(quality: Quality, geometry: Geometry) -> Iterator[str]:
    samples = quality.samples
    spread = 0.0 if samples is None else (samples.std_object_hu or samples.std_hu)
    if spread > LARGE_SPREAD_HU:
        yield (
            f"Samples differ by {spread:.0f} HU (standard deviation in the object): where they "
            "differ, the picture is chance, and where they agree it may still be wrong."
        )


def _calibration(quality: Quality, geometry: Geometry) -> Iterator[str]:
    found = quality.calibration
    if found is not None and (found.how in ("tissue", "material") or not found.sure):
        yield found.words


_Rules = tuple[tuple[str, Callable[[Quality, Geometry], Iterator[str]]], ...]
_FAULTS: _Rules = (
    ("residual-high", _residual_high),
    ("flux", _flux),
    ("bad-views", _bad_views),
    ("bad-bins", _bad_bins),
    ("outside-view", _outside),
    ("truncated", _truncated),
    ("residual-low", _residual_low),
    ("value-range", _value_range),
    ("calibration", _calibration),
)
"""By gravity: the geometry or the data may be wrong, then the scale."""
_LIMITS: _Rules = (
    ("coarse-pixels", _coarse_pixels),
    ("missing-arc", _missing_arc),
    ("flat-materials", _flat_materials),
    ("few-views", _few_views),
    ("undetermined", _undetermined),
    ("spacing", _spacing),
    ("spread", _spread),
)
"""What the data leave open."""
_RULES = _FAULTS + _LIMITS


def _within(size: float, trained: tuple[float, float]) -> bool:
    return trained[0] / UNLIKE_SPACING <= size <= trained[1] * UNLIKE_SPACING


def _others(
    pixels: tuple[Outlier, ...], rows: tuple[Outlier, ...], bins: tuple[Outlier, ...]
) -> list[Outlier]:
    """Return the pixels that are in no row and no bin that was named already."""
    named = {r.where[0] for r in rows}, {b.where[0] for b in bins}
    return [p for p in pixels if p.where[0] not in named[0] and p.where[1] not in named[1]]


def _place(outlier: Outlier) -> str:
    at = outlier.where
    return str(at[0]) if len(at) == 1 else f"({', '.join(map(str, at))})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
