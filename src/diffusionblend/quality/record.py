"""The quality record: figures of how far a reconstruction can be trusted, and warnings in words.

None of them is an error. The error cannot be known without the truth; what can be known is
whether the picture agrees with the data, what the data leave open, and how far both are from what
the prior was made for. docs/trust.md says what each figure means and what it does not.
"""

from typing import Literal

import msgspec

from diffusionblend.calibration.water import Calibration

SCHEMA = "diffusionblend-quality/1"
HIGH_RESIDUAL = 2.0
"""Normalised residual from which the picture does not explain the data.

Its sigma holds the operator's inexactness: the truth has 0.1 to 0.6, the default method 0.3 to 0.7.
"""
HIGH_RELATIVE = 0.03
"""The same for |r| / |y|, where the noise is not known.

The default method has 0.002 without noise and 0.005 with 1e5 photons, total variation 0.03 from 8
views.
"""


class Outlier(msgspec.Struct, frozen=True):
    """A part of the detector, or a view, that disagrees more than its like.

    Attributes:
        where: Its index; row and bin of a detector pixel.
        residual: Size of its normalised residual, as in `Residual`.
        z: How far that is above its like, in robust standard deviations of their logarithms.
    """

    where: tuple[int, ...]
    residual: float
    z: float


class Left(msgspec.Struct, frozen=True):
    """What is left over by the picture after some steps towards the data: see `quality.fitted`.

    Attributes:
        normalised, relative: As in `Residual`, of some slices.
    """

    normalised: float
    relative: float


class Residual(msgspec.Struct, frozen=True, kw_only=True):
    """What the picture leaves unexplained: r = y - A u, and r / sigma.

    Attributes:
        sigma: What it is divided by: the known `noise` of each ray and the operator's inexactness
            of 0.2 pixels of water, and of a twentieth of a bin in the place of edges; or, where the
            noise is not known, the `spread` of r itself in its place.
        relative: |r| / |y|.
        rms: RMS of r, in line integrals.
        chi_square: Mean of r^2 over the variance of the noise alone; none if that is not known.
            1 is what noise leaves.
        normalised: Mean of (r / sigma)^2.
        fits_data: Whether the method fits the data: filtered back-projection does not, and its
            residual says nothing against the data.
        flux: By how much the flux of the source differs from view to view: its standard deviation,
            as a share. What that adds to each view is not in the figures above and below; 0 where
            it is nothing, or the method does not fit the data.
        least: What is left over by the picture after some steps towards the data, where it leaves
            more than it should, or does not fit them: much, if no picture explains the data.
        finer: The same on pixels of half the size, where `least` is much: little, if the object is
            finer than the pixels, and nothing else is wrong.
        views: RMS of r / sigma of each view. In views, rows and bins sigma also holds the place of
            edges, to a part of a bin, and is that of the counts that the picture predicts; where
            the method does not fit the data, views are of the picture after those steps.
        rows, bins: 1.4826 times the median of |r / sigma| over the views, in the middle of each
            detector row and of each bin: what is wrong with the detector is so in every view.
        bad_views, bad_rows, bad_bins, bad_pixels: Those that stand out, the worst first, 20 at
            most.
    """

    sigma: Literal["noise", "spread"]
    relative: float
    rms: float
    chi_square: float | None
    normalised: float
    fits_data: bool = True
    flux: float = 0.0
    least: Left | None = None
    finer: Left | None = None
    views: tuple[float, ...] = ()
    rows: tuple[float, ...] = ()
    bins: tuple[float, ...] = ()
    bad_views: tuple[Outlier, ...] = ()
    bad_rows: tuple[Outlier, ...] = ()
    bad_bins: tuple[Outlier, ...] = ()
    bad_pixels: tuple[Outlier, ...] = ()

    @property
    def high(self) -> bool:
        """Whether the picture leaves more than noise and projector do."""
        return self._above(self, 1.0)

    @property
    def inconsistent(self) -> bool:
        """Whether pictures near this one leave too much as well, and none that is finer does not.

        False if none was tried.
        """
        return self.least is not None and self._above(self.least, 1.0) and not self.too_coarse

    @property
    def too_coarse(self) -> bool:
        """Whether a picture on finer pixels, and none on these, leaves no more than noise does."""
        return self.finer is not None and not self._above(self.finer, 0.5)

    @property
    def explained_nearby(self) -> bool:
        """Whether a picture near this one leaves no more than noise does."""
        return self.least is not None and not self._above(self.least, 0.5)

    def _above(self, left: "Residual | Left", part: float) -> bool:
        if self.sigma == "noise":
            return left.normalised > part * HIGH_RESIDUAL
        return left.relative > part * HIGH_RELATIVE


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What the rays reach.

    Attributes:
        views: Number of views.
        missing_arc_deg: Widest arc of directions that no ray has, where it is widest; 0 if the
            directions are spread about evenly.
        cut_bins: Share of the projections whose object reaches an end of the detector's rows.
        cut_rows: Share of the columns of a cone's projections whose object reaches the first or
            the last row and goes on outside of the grid; 0 if the grid holds all that rays cross.
        outside: Share of the rays beside the grid that are attenuated: something is there.
        unseen: Share of the object that fewer than 40 percent of the views see.
    """

    views: int
    missing_arc_deg: float
    cut_bins: float
    cut_rows: float
    outside: float
    unseen: float


class Undetermined(msgspec.Struct, frozen=True):
    """What no ray sees of the picture: P u = u - A^+ A u, by conjugate gradients.

    Attributes:
        share: |P u| / |u - mean(u)|: 0, all that is seen in the picture is in the data; 1,
            nothing is.
        rms_hu: RMS of P u in HU.
        slices: Number of slices that it was computed on, spread evenly.
    """

    share: float
    rms_hu: float
    slices: int


class Distance(msgspec.Struct, frozen=True):
    """How far the picture is from the classical one: what the prior has changed.

    Attributes:
        method: Name of the classical method.
        rms_hu: RMS of the difference in HU, over the volume.
        rms_object_hu: Over the voxels above -500 HU in the classical picture; none if there are
            none.
    """

    method: str
    rms_hu: float
    rms_object_hu: float | None


class Samples(msgspec.Struct, frozen=True):
    """How much the picture depends on the seed.

    Attributes:
        seeds: Seeds; the picture is the mean.
        std_hu: RMS of the standard deviation over the voxels in HU.
        std_object_hu: Over the voxels above -500 HU; none if there are none.
        calibrated: No: it has not been compared with true errors on such scans. It is not an error
            bar.
    """

    seeds: tuple[int, ...]
    std_hu: float
    std_object_hu: float | None
    calibrated: bool = False


class Values(msgspec.Struct, frozen=True):
    """How the values and the grid lie to what the prior was trained on.

    Attributes:
        lowest_hu, highest_hu: 0.1 % and 99.9 % quantiles, of the classical picture if there is one.
        above: Share of the voxels at or above the top of the prior's range; none without a prior.
        attenuation: Mean attenuation of the mass in water, sum u^2 / sum u; none if it is empty.
        trained_attenuation: The same of the prior's training; none if it is not known.
        left_by_three: Share of the picture's contrast that three values leave, as in `materials`;
            none in records of earlier versions.
        pixel_mm, slice_mm: Size of the voxels.
        trained_pixel_mm, trained_slice_mm: Range of those in training; none if it is not known.
    """

    lowest_hu: float
    highest_hu: float
    above: float | None
    attenuation: float | None
    trained_attenuation: float | None
    pixel_mm: float
    slice_mm: float
    trained_pixel_mm: tuple[float, float] | None
    trained_slice_mm: tuple[float, float] | None
    left_by_three: float | None = None


class Warn(msgspec.Struct, frozen=True):
    """A warning.

    Attributes:
        code: What kind it is, for programs.
        text: What it means, for people: one sentence.
    """

    code: str
    text: str


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; the warnings by gravity, several of one code where there are several."""

    residual: Residual
    coverage: Coverage
    undetermined: Undetermined
    values: Values
    classical: Distance | None = None
    samples: Samples | None = None
    calibration: Calibration | None = None
    warnings: tuple[Warn, ...] = ()
    seconds: float = 0.0
    note: str = (
        "Research software, not for diagnosis. None of these figures is an error: the error "
        "cannot be known without the truth."
    )
    schema: str = SCHEMA

    def to_json(self) -> str:
        """Return the record as JSON."""
        return msgspec.json.encode(self).decode()

    def in_words(self) -> dict[str, str]:
        """Return the figures that a reader asks for first, by what they mean."""
        figures = {
            "Residual |A u - y| / |y|": f"{self.residual.relative:.3g}",
            "Share of the contrast that no ray sees": f"{self.undetermined.share:.2f}",
        }
        if self.classical is not None:
            figures["RMS distance from the classical one"] = f"{self.classical.rms_hu:.0f} HU"
        if self.samples is not None:
            many = len(self.samples.seeds)
            figures[f"RMS deviation of {many} samples"] = f"{self.samples.std_hu:.0f} HU"
        return figures


def quality_from_json(text: str | bytes) -> Quality:
    """Read what `to_json` wrote."""
    return msgspec.json.decode(text, type=Quality)
