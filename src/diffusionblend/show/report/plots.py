"""The curves of a report: along the slices, over the views, over the steps."""

from collections.abc import Iterator, Sequence

import numpy as np

from diffusionblend.show.report.axes import TRUTH, Axis, Line, Plot, Summary, draw, line
from diffusionblend.show.report.model import Points, Report
from diffusionblend.show.report.numbers import MINUS

_MEAN, _LARGEST = Summary("mean", np.mean), Summary("largest", np.max)
_LAST = Summary("at the end", lambda y: float(y[-1]))
_STEPS = Axis("share of the steps", "%")


def plots_of(report: Report) -> list[Plot]:
    """Return the plots that there is something for."""
    made = (_error(report), _profile(report), _views(report), _psnr(report), _residual(report))
    return [plot for plot in made if plot is not None]


def _error(report: Report) -> Plot | None:
    truth = report.truth
    if truth is None:
        return None
    # Slice by slice, so that no copy of a volume is made.
    errors = [
        [np.abs(a - b).mean(dtype=float) for a, b in zip(e.hu, truth, strict=True)]
        for e in report.entries
    ]
    return draw(
        "Error along the slices",
        "Mean absolute error of each axial slice; lower is better. A jump between neighbours "
        "means that they were not reconstructed alike.",
        (_slices(report), Axis("mean absolute error, HU", "HU")),
        [line(e.name, i, enumerate(errors[i])) for i, e in enumerate(report.entries)],
        summary=_MEAN,
        zero=True,
    )


def _slices(report: Report) -> Axis:
    """Return the axis of the slices: counted as in the files."""
    last = len(report.entries[0].hu) - 1
    return Axis("slice", mirrored=last if 0 in report.turned_axes else None)


def _profile(report: Report) -> Plot | None:
    (_, row, column), (_, y, x) = report.voxel, report.point
    volumes = [(e.name, i, e.hu) for i, e in enumerate(report.entries)]
    volumes += [] if report.truth is None else [("truth", TRUTH, report.truth)]
    return draw(
        "Profile along z",
        f"The voxels on the line where the coronal and the sagittal plane cross (row {row}, "
        f"column {column}), from the foot end to the head.",
        (_slices(report), Axis("HU", "HU")),
        [line(name, i, enumerate(hu[:, y, x])) for name, i, hu in volumes],
    )


def _views(report: Report) -> Plot | None:
    views = [(e, () if e.quality is None else e.quality.residual.views) for e in report.entries]
    return draw(
        "Residual of each view",
        f"RMS of y {MINUS} A u over its expected size, from the quality record: 1 or less where "
        "only noise and the projector's inexactness are left. In a view that stands out the "
        "object moved, or the exposure changed.",
        (Axis("view"), Axis("residual over its expected size")),
        [line(e.name, i, enumerate(y)) for i, (e, y) in enumerate(views)],
        summary=_LARGEST,
        zero=True,
    )


def _psnr(report: Report) -> Plot | None:
    return draw(
        "PSNR over the steps",
        "Axial PSNR of the intermediate volumes; higher is better. Each sample is a curve.",
        (_STEPS, Axis("axial PSNR, dB", "dB")),
        [found for i, e in enumerate(report.entries) for found in _over_steps(e.name, i, e.psnr)],
        summary=_LAST,
    )


def _residual(report: Report) -> Plot | None:
    return draw(
        "Residual over the steps",
        f"|A u {MINUS} y| / |y| of the intermediate volumes: how well they agree with the data, "
        "not how close they are to what was scanned. Each sample is a curve.",
        (_STEPS, Axis("residual, %", "%")),
        [
            Line(found.name, i, found.x, 100 * found.y)
            for i, e in enumerate(report.entries)
            for found in _over_steps(e.name, i, e.residual)
        ],
        summary=_LAST,
        zero=True,
    )


def _over_steps(name: str, index: int, samples: Sequence[Points]) -> Iterator[Line]:
    """Count the steps of each sample in percent of the last: runs have few or many."""
    many = f"{len(samples)} samples, " if len(samples) > 1 else ""
    last = max([1, *(step for points in samples for step, _ in points)])
    for points in samples:
        named = f"{name} ({many}{last} steps)"
        yield line(named, index, ((100 * step / last, y) for step, y in points))
