"""What a reconstruction returns: the volume, how far it can be trusted, and what made it."""

from dataclasses import dataclass, field

import numpy as np

from diffusionblend.data.volume import Volume
from diffusionblend.methods import Convergence, Method
from diffusionblend.quality import Quality


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A volume, what is needed to judge it, and what made it.

    It stands for its volume in `np.asarray(made)`, `evaluate(made, truth)` and the like.

    Attributes:
        volume: The volume in HU; of several samples their mean.
        quality: How far it can be trusted: figures, and warnings in words.
        method: The method, with its options.
        std: Standard deviation of the samples in HU; None if there is one sample. It is not
            calibrated against true errors.
        classical: The classical reconstruction of the same scan; None if it was not requested, or
            if `volume` is classical itself.
        convergence: The final residuals, if the method stops by residuals of its own.
        seconds: How long the volume took.
        prior: Name of the prior and the SHA-256 of its weights (`name`, `weights_sha256`); None if
            the method needs none.
        seeds: Seeds of the samples.
        mu_water, scale: What was given for them; None where nothing was.
        scan: Name and SHA-256 of the scan (`name`, `sha256`), and what made that: see
            `Scan.facts`.
        device: Where it ran.
        operator: How the projector had its weights (`Projector.how`).
    """

    volume: Volume
    quality: Quality
    method: Method
    std: Volume | None = None
    classical: Volume | None = None
    convergence: Convergence | None = None
    seconds: float = 0.0
    prior: dict[str, str] | None = None
    seeds: tuple[int, ...] = (0,)
    mu_water: float | None = None
    scale: float | None = None
    scan: dict[str, str] = field(default_factory=dict)
    device: str = ""
    operator: str = ""

    @property
    def hu(self) -> np.ndarray:
        """The values of the volume (slices, rows, columns), float32, in HU."""
        return self.volume.hu

    def __array__(self, dtype: "np.dtype | None" = None, copy: bool | None = None) -> np.ndarray:
        return self.volume.__array__(dtype, copy)

    def __repr__(self) -> str:
        codes = ", ".join(dict.fromkeys(w.code for w in self.quality.warnings)) or "none"
        return f"Reconstruction({self.volume}, {self.seconds:g} s, warnings: {codes})"

    def _repr_html_(self) -> str:
        from diffusionblend.pictures.notebook import reconstruction_html

        volumes = {"": self.volume.as_seen()}
        if self.classical is not None and self.quality.classical is not None:
            name = self.quality.classical.method
            volumes[f"Classical reconstruction of the same scan, {name}:"] = (
                self.classical.as_seen()
            )
        return reconstruction_html(
            repr(self.volume),
            volumes,
            self.volume.grid.spacing_mm,
            self.quality.in_words() | {"Time": f"{self.seconds:.3g} s"},
            [warning.text for warning in self.quality.warnings],
            self.quality.note,
        )
