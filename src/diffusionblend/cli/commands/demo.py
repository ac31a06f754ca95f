"""The demonstration."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffusionblend.cli.commands.arguments import Output
from diffusionblend.cli.terminal import in_range, show


@dataclass(frozen=True)
class Demo:
    """Reconstruct a real chest CT from few views, and compare five methods.

    Examples:
        diffusionblend demo
        diffusionblend demo --views 8 -o out/eight
    """

    output: Output = Path("out/demo")
    """Folder for volumes, figures and the report."""
    views: int = 20
    """Number of views: 20 show what the method is for, 8 where it begins to guess."""
    steps: int | None = None
    """Steps of the diffusion methods (their own, 50 of diffusionblend++, if not given)."""
    json: bool = False
    """Print only the figures, as JSON."""

    def run(self) -> None:
        """Run the demonstration."""
        from diffusionblend.experiments.demo import demo

        results = demo(
            self.output,
            views=in_range("--views", self.views, 1, 1000),
            steps=None if self.steps is None else in_range("--steps", self.steps, 1, 1000),
            say=(lambda line: None) if self.json else partial(print, flush=True),
        )
        show(results, self.json, f"\n{self.output / 'report.html'}")
