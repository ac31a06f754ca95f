"""Which rows and views are taken, as the user says."""

from collections.abc import Sequence

from diffusionblend.errors import UsageError
from diffusionblend.io.projections.beam import Measured
from diffusionblend.io.projections.directions import spread
from diffusionblend.io.projections.options import Options


def choose_rows(beam: Measured, text: str | None) -> range:
    """Return the detector rows `A:B`; without text all of them."""
    if text is None:
        return range(beam.rows)
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and len(text) < 20):
        raise UsageError(f"`rows={text!r}`: expected A:B, for instance 40:88")
    if not 0 <= int(first) < int(last) <= beam.rows:
        raise UsageError(f"`rows={text!r}`: expected A:B with 0 <= A < B <= {beam.rows}")
    return range(int(first), int(last))


def choose_views(beam: Measured, options: Options) -> Sequence[int]:
    """Return the views to take, in the order they were measured."""
    measured = len(beam.angles_deg)
    if options.views is not None and options.every is not None:
        raise UsageError("`views` and `every` cannot be combined; give one of them")
    if options.views is not None:
        expected("views", options.views, (1, measured))
        return spread(beam.angles_deg, options.views, beam.kind)
    every = 1 if options.every is None else options.every
    expected("every", every, (1, measured))
    return range(0, measured, every)


def expected(name: str, value: float, limits: tuple[float, float]) -> None:
    """Refuse a number that is not within its limits."""
    if not limits[0] <= value <= limits[1]:  # NaN is outside, too
        raise UsageError(f"`{name}={value:g}`: expected {limits[0]:g} to {limits[1]:g}")
