"""Scans of measured projections."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffusionblend.cli.commands.arguments import (
    Groups,
    Input,
    OutputOrNone,
    check_not_input,
    command_line,
)
from diffusionblend.cli.commands.wording import in_options
from diffusionblend.cli.terminal import RECONSTRUCTION, following, present, show
from diffusionblend.errors import UsageError
from diffusionblend.io.projections.options import Options

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Import(Options):
    """Make a scan of measured projections: HDF5, TIFF or NumPy with a geometry.

    It says what it understood, and guesses nothing: whether the numbers are counts or line
    integrals, how large a detector pixel is, and the order of an array's axes come from the file,
    from geometry.json or from the options (docs/files.md).

    Examples:
        diffusionblend import scan.hdf5 -o scan.h5 --bin-mm 0.01 --views 20
        diffusionblend import geometry.json -o scan.h5
        diffusionblend import cone.npy -o scan.h5 --geometry rtk.xml --bin-mm 2
    """

    groups: ClassVar[Groups] = {
        "source": (
            "quantity", "geometry", "from_", "template", "order", "number", "angles", "angles_from",
            "lengths", "clockwise",
        ),
        "beam": ("beam", "sod_mm", "sdd_mm", "arc", "bin_mm", "row_mm"),
        "air and dark": (
            "white", "white_after", "white_exposure", "dark", "fields", "i0", "air_bins",
        ),
        "selection": ("rows", "views", "every", "without", "bin"),
        "grid": ("size", "pixel_mm", "slices"),
        "corrections": ("repair", "dead", "stripes", "centre", "tilt"),
        "noise and water": ("photons", "electronic", "mu_water"),
    }  # fmt: skip

    source: Input
    """HDF5 (Data Exchange, NXtomo, CIL), .txrm, .mat, a folder of TIFF or a pattern of their names
    in it, a TIFF, .npy or .npz, or a geometry.json, .xtekct or .log that describes one of these."""
    output: OutputOrNone = None
    """Where the scan goes (.h5)."""
    template: Path | None = None
    """Write a geometry.json to fill in here, and no scan; import finds it beside the source."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read, understand, correct, write."""
        if not set(self.source.name) & set("*?["):  # else a pattern of names
            present(self.source, "expected projections, or a geometry.json that names them")
        if self.template is not None:
            self._write_template(self.template)
            return
        from diffusionblend.io.files import writable
        from diffusionblend.io.projections.importing import WARNINGS, import_scan
        from diffusionblend.io.scans import check_suffix, write_scan

        output = self._output()
        writable(output)
        check_suffix(output)
        scan = import_scan(self.source, self)
        facts = {**scan.provenance, "again": command_line("import", self)}
        write_scan(dataclasses.replace(scan, provenance=facts), output)
        warnings = facts.get(WARNINGS, "").splitlines()
        for text in warnings:
            log.warning("warning: %s", text)
        told = [f"{name:18}{fact}" for name, fact in facts.items() if name != WARNINGS]
        everything: dict[str, object] = {"scan": str(output), **facts}
        if warnings:
            everything[WARNINGS] = warnings
        text = in_options("\n".join([f"{output}:", *told]), Import)
        look = "info", output, "-o", output.with_suffix(".png")
        then = following(look, ("reconstruct", output, "-o", RECONSTRUCTION))
        show(everything, self.json, f"{text}\n{then}")

    def _output(self) -> Path:
        """Return where the scan goes."""
        if self.output is None:
            raise UsageError("--output: missing; give the name of the scan to write (.h5)")
        check_not_input("output", self.output, self.source)
        return self.output

    def _write_template(self, path: Path) -> None:
        """Write a geometry.json to fill in."""
        from diffusionblend.io.files import writable, write_file
        from diffusionblend.io.projections.asked import template
        from diffusionblend.io.projections.formats.geometry_file import TO_FILL

        if path.exists():  # perhaps the projections, or a file that was filled in by hand
            raise UsageError(f"--template {path}: exists already; give a new name")
        writable(path)
        text = template(self.source, self)
        write_file(path, text)
        opened = text.count(TO_FILL)
        words = following(("import", path, "-o", "scan.h5"))
        lines = f"{path}: {opened} places to fill in\n{words}"
        show({"template": str(path), "to_fill_in": opened}, self.json, lines)
