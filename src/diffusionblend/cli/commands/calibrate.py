"""How the detector of a scan stands."""

import dataclasses
from dataclasses import dataclass

from diffusionblend.cli.commands.arguments import Input, OutputOrNone, check_not_input, command_line
from diffusionblend.cli.terminal import following, present, show


@dataclass(frozen=True)
class Calibrate:
    """Find by how much the detector is shifted and rolled, from the projections alone.

    Each number comes with the difference between two halves of the views. With `--output` the
    scan is written again, corrected by what is distinct (docs/geometries.md).

    Examples:
        diffusionblend calibrate scan.h5
        diffusionblend calibrate scan.h5 -o upright.h5
        diffusionblend calibrate scan.h5 --free offset roll slant
    """

    scan: Input
    """Scan (.h5)."""
    output: OutputOrNone = None
    """Where to write the scan with the pose that was found (.h5)."""
    free: tuple[str, ...] = ()
    """What to search for: offset, and for cones roll and slant; if not given, all but the slant."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read, search, tell, write."""
        present(self.scan, "expected a scan (.h5)")
        import msgspec

        from diffusionblend.calibration.pose import find_pose, in_words
        from diffusionblend.io.files import naming, writable
        from diffusionblend.io.scans import check_suffix, read_scan, write_scan

        if self.output is not None:
            check_not_input("output", self.output, self.scan)
            writable(self.output)
            check_suffix(self.output)
        scan = read_scan(self.scan)
        with naming(self.scan):
            found = find_pose(scan, self.free)
        lines = [*map(in_words, found.parts), found.words]
        if self.output is not None:
            before = scan.provenance.get("again")
            again = " && ".join(filter(None, (before, command_line("calibrate", self))))
            facts = found.scan.provenance | {"again": again}
            write_scan(dataclasses.replace(found.scan, provenance=facts), self.output)
            lines.append(f"{self.output}: the scan with {found.taken or 'its pose as stated'}")
        elif found.taken:
            free = ["--free", *self.free] if self.free else []
            lines.append(following(("calibrate", self.scan, *free, "-o", "CALIBRATED.h5")))
        told = {"parts": msgspec.to_builtins(found.parts), "stated": found.stated}
        told |= {"left": found.left, "scan": None if self.output is None else str(self.output)}
        show(told, self.json, "\n".join(lines))
