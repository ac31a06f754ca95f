"""The demonstration."""

from dataclasses import dataclass
from pathlib import Path

from diffusionblend.cli.commands.arguments import Output
from diffusionblend.cli.terminal import in_range, show
from diffusionblend.progress import show_steps


@dataclass(frozen=True)
class Demo:
    """Reconstruct a real chest CT from eight views, and compare five methods.

    Examples:
        diffusionblend demo
        diffusionblend demo --steps 2 -o out/quick
    """

    output: Output = Path("out/demo")
    """Folder for volumes, figures and the report."""
    steps: int | None = None
    """Steps of the diffusion methods (the demonstration's own numbers if not given)."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        """Run the demonstration."""
        from diffusionblend.experiments.demo import STEPS, run_demo, table

        steps = STEPS
        if self.steps is not None:
            steps = dict.fromkeys(STEPS, in_range("--steps", self.steps, 1, 1000))
        results = run_demo(self.output, steps, show_steps)
        show(results, self.json, f"{table(results)}\n\n{self.output / 'report.html'}")
