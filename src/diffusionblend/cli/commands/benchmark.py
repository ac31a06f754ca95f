"""Experiments."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from diffusionblend.cli.commands.arguments import Output
from diffusionblend.cli.commands.plan import plan_benchmark
from diffusionblend.cli.terminal import in_range, parse_slices, show
from diffusionblend.errors import UsageError


@dataclass(frozen=True)
class Benchmark:
    """Repeat an experiment of the paper: tables and pictures, from runs that are kept.

    The same command again runs only what is missing, and ends with the same results.
    """

    name: tyro.conf.Positional[str]
    """table1, table2, table3, table4, table5, table6, table7, table8, table9, table10, figure3,
    figure4, figure5, figure6, figure7, figure8, figure9, figure10, figure11, figure12,
    ablation-position, honest, fast, fast-parts, directions (exits with 8 where one of the paper's
    does not hold), all, or a recipe of one's own (.toml)."""
    output: Output = Path("out/results")
    """Folder for runs, results.json, tables (.md, .tex, .csv), pictures and results.md."""
    scale: Literal["quick", "full"] = "quick"
    """`quick`: 24 slices, 50 steps at most where the recipe gives none. `full`: all slices, the
    methods' own steps."""
    workers: int = 1
    """Runs at a time; more than one needs Ray (pip install ray)."""
    volume: Path | None = None
    """Volume in HU in place of the recipe's."""
    slices: str | None = None
    """Slices A:B of that volume; without it all of them."""
    prior: str | None = None
    """Prior in place of the recipe's: its name, its folder, or owner/name@COMMIT of the hub."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ..., or auto."""
    dry_run: bool = False
    """List the runs, and which of them are kept already; run and write nothing."""
    json: bool = False
    """Print where the results are as JSON."""

    def run(self) -> None:
        """Check the recipe, run what is missing, write tables and pictures."""
        from diffusionblend.experiments.benchmark import Settings, run_benchmark

        if self.slices is not None and self.volume is None:
            raise UsageError("--slices: needs --volume; a recipe has slices of its own")
        settings = Settings(
            folder=self.output,
            scale=self.scale,
            workers=in_range("--workers", self.workers, 1, 1024),
            device=self.device,
            volume=self.volume,
            slices=None if self.slices is None else parse_slices(self.slices),
            prior=self.prior,
        )
        if self.dry_run:
            return plan_benchmark(self, settings)
        facts = run_benchmark(self.name, settings)
        text = facts.pop("text")
        show(facts, self.json, text)
