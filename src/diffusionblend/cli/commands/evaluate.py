"""Figures of volumes."""

import math
from dataclasses import dataclass

from diffusionblend.cli.commands.arguments import Input
from diffusionblend.cli.terminal import present, show
from diffusionblend.errors import UsageError


@dataclass(frozen=True)
class Evaluate:
    """Compare a reconstruction with the truth: PSNR and SSIM in three planes.

    Examples:
        diffusionblend evaluate volume.nii.gz truth.nii.gz
        diffusionblend evaluate volume.nii.gz truth.nii.gz --json
    """

    volume: Input
    """Reconstruction, in any format that is read (.nii.gz, a folder of DICOM, ...)."""
    truth: Input
    """Truth, on the same grid, or on one finer by a whole factor; its axes may run the other
    way."""
    metrics: tuple[str, ...] = ("psnr", "ssim")
    """Metrics: psnr, ssim, and those that installed packages add."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read both, crop to the common grid, compare."""
        for path in (self.volume, self.truth):
            present(path, "expected a volume in HU")
        from diffusionblend.io.files import naming
        from diffusionblend.io.inputs import as_pair
        from diffusionblend.metrics import evaluate, find_metric, left_out, metric_names

        if not self.metrics:
            known = ", ".join(metric_names())
            raise UsageError(f"--metrics: needs a value; expected some of {known}")
        volume, truth = as_pair(self.volume, self.truth)
        with naming(self.volume):
            figures = evaluate(volume, truth, self.metrics)
        chosen = {name: find_metric(name) for name in self.metrics}
        lines = [f"{'plane':10}" + "".join(f"{metric.heading:>18}" for metric in chosen.values())]
        lines += [
            f"{plane:10}" + "".join(_cell(f, name, m.decimals) for name, m in chosen.items())
            for plane, f in figures.items()
        ]
        show(figures, self.json, "\n".join(filter(None, (*lines, left_out(figures)))))


def _cell(figures: dict[str, float], name: str, decimals: int) -> str:
    """Return a figure; that of the whole volume has no spread over slices.

    Narrow slices have no SSIM.
    """
    if name not in figures:
        return " " * 18
    if math.isnan(figures[name]):
        return f"{'-':>9}" + " " * 9
    spread = figures.get(f"{name}_std")
    return f"{figures[name]:9.{decimals}f}" + (
        " " * 9 if spread is None else f" +- {spread:5.{decimals}f}"
    )
