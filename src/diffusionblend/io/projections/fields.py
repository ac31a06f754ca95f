"""Fields of air and of no rays: read, and judged by what they can show."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from diffusionblend.data.edges import SURE, error_of_means
from diffusionblend.data.scan import Noise
from diffusionblend.errors import CorruptInput
from diffusionblend.io.projections.counts import flat, noise
from diffusionblend.io.projections.counts.blind import given, lit_bins, nearest_lit
from diffusionblend.io.projections.formats.exposure import evenly_exposed, judged
from diffusionblend.io.projections.formats.integers import CLIPPED, clipped_at, noisy
from diffusionblend.io.projections.notes import NOTHING, Notes, noted, warned
from diffusionblend.io.projections.options import Options
from diffusionblend.io.projections.understand import Meaning

SHADED = 0.05
"""Share by which parts of a field may differ from other fields: a beam that moved leaves less."""
_NAMED = 12
_ROWS = 9  # that show enough of the fields
WIDTHS = 32
"""Parts of the detector's width; one of them may be shaded."""
MOST_CLIPPED = 0.5
"""Share of clipped pixels of air from which fields cannot be used: their level is unknown."""

NO_RAYS = 0.1
"""Share of the usual flux below which a view, or a field of air, has none."""


@dataclass(frozen=True, eq=False)
class Fields:
    """What is known of air, and of the detector without rays.

    Attributes:
        air: Counts of air above those without rays.
        dark: Mean counts without rays (rows, bins).
        white: Projections of air (fields, rows, bins) as they were measured; none where one number
            stands for them.
        noise: For one pixel of the usual view, as the fields show it.
        nearest: Which bin of its row each pixel is given the counts of, as it sees no rays itself
            (rows, bins).
    """

    air: flat.Air
    dark: np.ndarray
    white: np.ndarray | None
    noise: Noise | None
    notes: Notes
    nearest: np.ndarray

    @property
    def readout(self) -> float | None:
        """Standard deviation of one pixel without rays, as a share of air; none if not known."""
        if self.noise is None or self.noise.photons is None:
            return None
        return self.noise.electronic / self.noise.photons

    def clipping(self, counts: np.ndarray, dead: np.ndarray, i0: float | None) -> Notes:
        """Warn of counts that were clipped at the top of the detector's range.

        Where the largest count is the stated count of air, and there is no noise that could exceed
        it, a program scaled them so, as for transmissions that fill a range.

        Args:
            counts: As measured (views, rows, bins).
            dead: Pixels that always have the largest number (rows, bins), which do not count.
            i0: Counts of air, where a number stands for white fields.
        """
        top = clipped_at(counts)
        if top is None and self.white is not None:
            top = clipped_at(self.white)
        if top is None or (top == i0 and not noisy(counts, top)):
            return NOTHING
        views = float(((counts >= top) & ~dead).mean())
        white = 0.0 if self.white is None else float(((self.white >= top) & ~dead).mean())
        if white > MOST_CLIPPED and noisy(counts, top):
            raise CorruptInput(
                f"{white:.0%} of its white fields are clipped at {top:g} counts, the top of the "
                "range, so the counts of air are unknown; measure them with less exposure, or "
                "give the counts by `i0`"
            )
        parts = [
            f"{s:.2g} of the {n}"
            for s, n in ((views, "views"), (white, "white fields"))
            if s > CLIPPED
        ]
        if not parts:
            return NOTHING
        return warned(
            f"counts are clipped at {top:g}, the top of the range, in {' and '.join(parts)} "
            "(shares of their pixels): anything brighter is lost, and thin parts are wrong; "
            "measure with less exposure"
        )


def heed_fields(meaning: Meaning, rows: range) -> Meaning:
    """Return projections as some rows of the white fields show them.

    That is without exposures that their frames do not follow, and without bins at the ends that
    see no rays.
    """
    if meaning.white is None:
        return dataclasses.replace(meaning, exposures=None)
    some = rows[:: max(1, len(rows) // _ROWS)]
    part = slice(some.start, some.stop, some.step)
    white = meaning.white.read(None, part)
    dark = _dark(meaning, part, white.shape[1:])[0]
    lit = lit_bins(np.median(white, axis=0) - dark)
    exposures, notes = meaning.exposures, NOTHING
    if exposures is not None:
        counts = meaning.data.read(None, part)
        exposures, notes = judged(counts, white, dark, meaning.numbers, exposures)
    return dataclasses.replace(
        meaning,
        exposures=exposures,
        notes=meaning.notes + notes,
        lit=lit,
        beam=meaning.beam.take_bins(lit.start, lit.stop),
    )


def _dark(
    meaning: Meaning, part: slice, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return mean counts without rays (rows, bins), and the fields of them, if there are any."""
    darks = None if meaning.dark is None else meaning.dark.read(None, part)
    return np.zeros(shape) if darks is None else flat.mean_field(darks), darks


def read_fields(meaning: Meaning, rows: range, options: Options) -> Fields:
    """Read the fields of some rows."""
    part = slice(rows.start, rows.stop, rows.step)
    shape = (len(rows), meaning.data.shape[2])
    dark, darks = _dark(meaning, part, shape)
    no_rays = "no dark field" if darks is None else f"{len(darks)} dark fields"
    if meaning.white is None:
        air = flat.Air(flat.counts_of_air(np.full(shape, meaning.i0), dark)[None], (0.0,))
        notes = noted(f"air {meaning.i0:g} counts, {no_rays}")
        return Fields(air, dark, None, None, notes, np.indices(shape)[1])
    white = meaning.white.read(None, part)
    _check_lit(white - dark)
    one = noise.from_fields(
        white[:, :, meaning.lit], None if darks is None else darks[:, :, meaning.lit]
    )
    nearest = nearest_lit(np.median(white, axis=0) - dark)
    white, dark = given(white, nearest), given(dark, nearest)
    even = evenly_exposed(white, dark, meaning.exposures)
    at, how = _when(even, meaning, options)
    air = flat.air_of_fields(even[np.argsort(at, kind="stable")], dark, np.sort(at))
    notes = noted(f"mean of {len(white)} white fields{how}, {no_rays}") + _unlike(even - dark)
    times = 1.0
    if meaning.exposures is not None:
        air = dataclasses.replace(air, exposures=meaning.exposures.views)
        times = float(np.median(meaning.exposures.white))
    return Fields(air, dark, white, noise.of_share(one, times), notes, nearest)


def _check_lit(air: np.ndarray) -> None:
    """Refuse fields (fields, rows, bins) if some have hardly any counts."""
    levels = np.quantile(np.nan_to_num(air), 0.98, axis=(1, 2))
    lit = levels > NO_RAYS * levels.max()
    if lit.any() and not lit.all():
        named = ", ".join(map(str, np.flatnonzero(~lit)[:_NAMED]))
        raise CorruptInput(
            f"{int((~lit).sum())} of {len(air)} white fields have less than a tenth of the "
            f"others' counts, as if the shutter was closed (from 0: {named}); give only the "
            "others"
        )


def _unlike(air: np.ndarray) -> Notes:
    """Warn if some of the fields (fields, rows, bins) are darker in parts, as behind an object."""
    usual = np.median(air, axis=0)
    shares = np.where(usual > 0, air / np.where(usual > 0, usual, 1.0), 1.0)
    shares = np.nan_to_num(shares, nan=1.0)
    width = max(3, shares.shape[2] // WIDTHS)
    parts = uniform_filter1d(shares.mean(axis=1), width, axis=1, mode="nearest")
    parts /= np.median(parts, axis=1, keepdims=True)
    error = error_of_means(shares, width, shares.shape[2])
    apart = float(np.ptp(parts, axis=1).max())
    if apart <= SHADED + 2 * SURE * error:
        return NOTHING
    return warned(
        "the white fields differ from each other in some parts of the detector, by up to "
        f"{apart:.0%}: if the object is in some of them, leave those out"
    )


def _when(white: np.ndarray, meaning: Meaning, options: Options) -> tuple[np.ndarray, str]:
    """Return how many views were measured before each field, and how that is known."""
    views, count = meaning.measured, len(white)
    before: int | None = None
    if options.fields == "together":
        return np.zeros(count), ""
    if meaning.white_at is not None:
        at, said = np.array(meaning.white_at, dtype=np.float64), "as the source says"
    else:
        before = count // 2 if options.fields == "before-after" else None
        said = "as said" if before else "by their levels; `fields='together'` if not"
        before = before or flat.change_of_level(flat.field_levels(white))
        at = np.where(np.arange(count) < (before or count), 0.0, float(views))
    if len(set(at)) == 1:
        return at, ""
    levels = flat.field_levels(white)
    first, last = (float(levels[at == end].mean()) for end in (at.min(), at.max()))
    return at, (
        f", interpolated over the views between {len(set(at))} times of measurement, the last "
        f"with {last / first:.3g} of the first's counts ({said})"
    )
