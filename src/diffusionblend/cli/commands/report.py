"""A page about reconstructions."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionblend.cli.commands.arguments import Output, Placed, command_line
from diffusionblend.cli.terminal import present, show
from diffusionblend.errors import UsageError

if TYPE_CHECKING:
    from diffusionblend.show.report import Entry
    from diffusionblend.show.report.model import Voxel


@dataclass(frozen=True)
class Report:
    """Show reconstructions, and all that is known of them, on one page.

    The page is one file that needs no network. It shows what is beside each volume: its record,
    the classical reconstruction, the deviation of the samples, the intermediate
    volumes.

    Examples:
        diffusionblend report volume.nii.gz -o report.html
        diffusionblend report ours.nii.gz tv.nii.gz --truth truth.nii.gz
    """

    runs: Placed[tuple[Path, ...]]
    """Volumes on one grid, as `reconstruct` writes them, or folders of them."""
    output: Output = Path("report.html")
    """Where the page goes (.html)."""
    truth: Path | None = None
    """The truth, for errors, PSNR and SSIM: on the grid of the volumes, or around it."""
    scan: Path | None = None
    """Scan (.h5), to draw; volumes without a quality record are assessed against it."""
    at: str | None = None
    """SLICE,ROW,COLUMN of the voxel that the three planes run through, counted from 0 as stored,
    as `view` does; the middle if not given."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        """Read, put together, write."""
        from diffusionblend.io.files import writable

        writable(self.output)
        for path in self.runs:
            present(path, "expected a volume, or a folder of volumes")
        from diffusionblend.show.report.compose import report

        made = report(
            self.runs,
            self.output,
            truth=self.truth,
            scan=self.scan,
            at=self._voxel(),
            command=command_line("report", self),
        )
        size = self.output.stat().st_size
        text = f"{made.verdict}\n\n{self.output}, {size / 1e6:.1f} MB"
        facts = {
            "report": str(self.output),
            "verdict": made.verdict,
            "volumes": {entry.name: _facts(entry) for entry in made.entries},
            "missing": list(made.gaps),
        }
        show(facts, self.json, text)

    def _voxel(self) -> "Voxel | None":
        if self.at is None:
            return None
        try:
            z, y, x = map(int, self.at.split(","))
        except ValueError as error:
            raise UsageError(
                f"--at {self.at}: expected SLICE,ROW,COLUMN, three whole numbers, as in 24,128,128"
            ) from error
        return z, y, x


def _facts(entry: "Entry") -> dict[str, Any]:
    import msgspec

    warnings = entry.quality.warnings if entry.quality else ()
    return {
        "figures": entry.figures,
        "warnings": msgspec.to_builtins(warnings),
        "missing": list(entry.gaps),
    }
