"""Scans of measured projections."""

import dataclasses
import logging
from dataclasses import dataclass

from diffusionblend.cli.commands.arguments import Input, Output, command_line
from diffusionblend.cli.terminal import show
from diffusionblend.errors import UsageError
from diffusionblend.io.projections.options import Options

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Import(Options):
    """Make a scan of measured projections: HDF5, TIFF or NumPy with a geometry.

    It says what it understood, and guesses nothing: whether the numbers are counts or line
    integrals, how large a detector pixel is, and how the axes of an array lie come from the file,
    from geometry.json or from the options (docs/files.md).
    """

    source: Input
    """HDF5 (Data Exchange, NXtomo), a folder of TIFF or a pattern of their names in it, a TIFF,
    .npy or .npz, or a geometry.json that names one of these."""
    output: Output
    """Where the scan goes (.h5)."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read, understand, correct, write."""
        from diffusionblend.io.files import writable
        from diffusionblend.io.projections.importing import WARNINGS, import_scan
        from diffusionblend.io.scans import check_suffix, write_scan

        check_suffix(self.output)
        writable(self.output)
        if self.output.resolve() == self.source.resolve():
            raise UsageError(f"--output {self.output}: is the input; give another name")
        scan = import_scan(self.source, self)
        facts = {**scan.provenance, "again": command_line("import", self)}
        write_scan(dataclasses.replace(scan, provenance=facts), self.output)
        warnings = facts.get(WARNINGS, "").splitlines()
        for text in warnings:
            log.warning("warning: %s", text)
        told = [f"{name:18}{fact}" for name, fact in facts.items() if name != WARNINGS]
        everything: dict[str, object] = {"scan": str(self.output), **facts}
        if warnings:
            everything[WARNINGS] = warnings
        show(everything, self.json, "\n".join([f"{self.output}:", *told]))
