"""Figures of volumes."""

from dataclasses import dataclass

from diffusionblend.commands.arguments import Input
from diffusionblend.terminal import show


@dataclass(frozen=True)
class Evaluate:
    """Compare a reconstruction with the truth: PSNR and SSIM in three planes."""

    volume: Input
    """Reconstruction (.nii.gz)."""
    truth: Input
    """Truth (.nii.gz), on the same grid, or on one finer by a whole factor; its axes
    may run the other way."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read both, crop to the common grid, compare."""
        from diffusionblend.io.files import naming
        from diffusionblend.io.volumes import read_volume
        from diffusionblend.metrics import evaluate

        volume, truth = read_volume(self.volume), read_volume(self.truth)
        with naming(self.volume):
            figures = evaluate(volume, truth)
        lines = [f"{'plane':10}{'PSNR / dB':>18}{'SSIM':>18}"]
        lines += [
            f"{plane:10}{f['psnr']:9.2f} +- {f['psnr_std']:5.2f}"
            f"{f['ssim']:9.3f} +- {f['ssim_std']:.3f}"
            for plane, f in figures.items()
        ]
        show(figures, self.json, "\n".join(lines))
