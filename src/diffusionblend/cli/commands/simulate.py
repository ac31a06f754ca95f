"""Scans of volumes."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffusionblend._version import __version__
from diffusionblend.cli.commands.arguments import Groups, Input, Output, check_not_input
from diffusionblend.cli.terminal import (
    RECONSTRUCTION,
    following,
    in_range,
    parse_slices,
    present,
    show,
)
from diffusionblend.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusionblend.data.scan import Scan
    from diffusionblend.geometry import Beam, Geometry
    from diffusionblend.simulation.simulate import MakeBeam

log = logging.getLogger(__name__)

USUAL: dict[str, dict[str, Any]] = {
    "parallel": {},
    "fan": {"sod_mm": 595.0, "sdd_mm": 1085.6, "detector": "flat"},
    "cone": {"sod_mm": 595.0, "sdd_mm": 1085.6},
}
"""What places source and detector of each beam, where nothing is given."""


@dataclass(frozen=True)
class Simulate:
    """Simulate a scan from a CT volume in HU.

    Examples:
        diffusionblend simulate chest.nii.gz -o scan.h5 --views 20 --slices 40:88
        diffusionblend simulate chest.nii.gz -o cone.h5 --beam cone --photons 1e5
    """

    groups: ClassVar[Groups] = {
        "beam": ("beam", "arc", "sod_mm", "sdd_mm", "detector"),
        "output": ("truth",),
        "advanced": ("protocol", "seed"),
    }

    volume: Input
    """Volume in HU: .nii.gz, .nii, .nrrd, .ome.zarr, or a folder with one DICOM series."""
    output: Output
    """Where the scan goes (.h5)."""
    views: int | None = None
    """Views, spread evenly over the arc (8 if --limited-angle is not given)."""
    limited_angle: int | None = None
    """Number of views, one degree apart: 90 for 0, 1, ..., 89 degrees."""
    arc: float | None = None
    """Degrees that the views are spread over (180 for a parallel beam, 360 for fan and cone)."""
    beam: Literal["parallel", "fan", "cone"] = "parallel"
    """Beam; a cone needs the extra `diffusionblend[cone]`."""
    sod_mm: float | None = None
    """Distance of the source from the axis, for fan and cone (595 if not given)."""
    sdd_mm: float | None = None
    """Distance of the source from the detector, for fan and cone (1085.6 if not given)."""
    detector: Literal["flat", "curved"] | None = None
    """Detector of a fan: flat (if not given), or curved around the source."""
    photons: float | None = None
    """Photons per detector bin through air; if not given, there is no noise."""
    slices: str | None = None
    """Slices A:B of the volume; without it all of them."""
    size: int = 256
    """Pixels per side to reconstruct; the volume may be finer by a whole factor."""
    protocol: Literal["independent", "paper"] = "independent"
    """`independent`: project the finest grid with the area-weighted projector.
    `paper`: project the grid of the reconstruction with its own operator."""
    truth: Path | None = None
    """Where to write the volume that the result is to be compared with (.nii.gz)."""
    seed: int = 0
    """Seed of the noise."""
    dry_run: bool = False
    """Say what the scan would be; write nothing."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read, project, write."""
        from diffusionblend.io.files import naming, writable

        writable(self.output)
        present(self.volume, "expected a volume in HU")
        from diffusionblend.io.scans import write_scan
        from diffusionblend.io.volumes import read_volume, write_volume
        from diffusionblend.simulation.simulate import (
            check_photons,
            scan_geometry,
            simulate,
            truth_on_grid,
        )

        angles = self._angles()
        self._check_numbers()
        self._check_outputs()
        volume = read_volume(self.volume)
        with naming(self.volume):
            if self.slices is not None:
                volume = volume.slices(*parse_slices(self.slices))
            if self.dry_run:
                check_photons(self.photons)
                return self._plan(scan_geometry(volume, self._beam(), angles, self.size))
            scan = simulate(
                volume,
                angles,
                size=self.size,
                photons=self.photons,
                protocol=self.protocol,
                beam=self._beam(),
                seed=self.seed,
                provenance=self._provenance(),
            )
        write_scan(scan, self.output)
        if self.truth is not None:
            write_volume(truth_on_grid(volume, self.size), self.truth)
        self._tell(scan)

    def _check_numbers(self) -> None:
        from diffusionblend.ranges import MOST_SEED

        in_range("--size", self.size, 2, 100_000)
        in_range("--seed", self.seed, 0, MOST_SEED)
        if self.seed and self.photons is None:
            log.warning(
                "--seed %d: has no effect without --photons, which add the noise", self.seed
            )

    def _tell(self, scan: "Scan") -> None:
        """Print what was written, and what to do next."""
        rows, views, bins = scan.y.shape
        slices = scan.geometry.grid.shape[0]
        facts = {"slices": slices, "rows": rows, "views": views, "bins": bins}
        told = ", ".join(f"{count} {what}" for what, count in facts.items())
        compare = [("evaluate", RECONSTRUCTION, self.truth)] if self.truth else []
        then = following(("reconstruct", self.output, "-o", RECONSTRUCTION), *compare)
        text = f"{self.output}: {told}\n{then}"
        show({"scan": str(self.output), **facts}, self.json, text)

    def _plan(self, geometry: "Geometry") -> None:
        """Print what a scan would be; write nothing."""
        from diffusionblend.cli.commands.plan import geometry_in_words, show_plan

        told = geometry_in_words(geometry)
        told["noise"] = "none" if self.photons is None else f"{self.photons:g} photons per bin"
        facts = {"shape": geometry.sinogram_shape, **told, "seed": self.seed}
        paths = [self.output, *([self.truth] if self.truth else [])]
        show_plan(facts, told, paths, self.json)

    def _provenance(self) -> dict[str, str]:
        from diffusionblend.io.volumes import digest

        return {
            "source": self.volume.name,
            "source_sha256": digest(self.volume),
            "slices": self.slices or "all",
            "version": __version__,
        }

    def _check_outputs(self) -> None:
        from diffusionblend.io.files import writable
        from diffusionblend.io.scans import check_suffix as check_scan_suffix
        from diffusionblend.io.volumes import check_suffix

        check_scan_suffix(self.output)
        writable(self.output)
        if self.truth is not None:
            check_suffix(self.truth)
            writable(self.truth)
            check_not_input("truth", self.truth, self.volume)

    def _angles(self) -> tuple[float, ...]:
        from diffusionblend.geometry.acquisitions import limited_angle, sparse_view

        if self.views is not None and self.limited_angle is not None:
            raise UsageError("--views and --limited-angle cannot be combined; give one of them")
        whole = 180.0 if self.beam == "parallel" else 360.0
        if self.limited_angle is not None:
            if self.arc is not None:
                raise UsageError("--arc is for --views; leave it out or give --views")
            return limited_angle(in_range("--limited-angle", self.limited_angle, 1, int(whole)))
        arc = whole if self.arc is None else self.arc
        views = in_range("--views", 8 if self.views is None else self.views, 1, 10_000)
        return sparse_view(views, in_range("--arc", arc, 1e-3, 360.0))

    def _beam(self) -> "MakeBeam":
        from functools import partial

        from diffusionblend.geometry.acquisitions import cone_beam, fan_beam, parallel_beam

        make: dict[str, Callable[..., Beam]] = {
            "parallel": parallel_beam,
            "fan": fan_beam,
            "cone": cone_beam,
        }
        usual = USUAL[self.beam]
        asked = {name: getattr(self, name) for name in USUAL["fan"]}
        given = {name: value for name, value in asked.items() if value is not None}
        for name in given.keys() - usual.keys():
            option = f"--{name.replace('_', '-')}"
            others = " or ".join(beam for beam, known in USUAL.items() if name in known)
            raise UsageError(
                f"{option} {given[name]}: a {self.beam} beam does not use it; leave it out, or "
                f"give --beam {others}"
            )
        return partial(make[self.beam], **usual | given)
