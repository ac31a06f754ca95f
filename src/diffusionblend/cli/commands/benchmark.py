"""Experiments."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from diffusionblend.cli.commands.arguments import Groups, Output, Placed
from diffusionblend.cli.terminal import in_range, parse_slices, show
from diffusionblend.errors import UsageError

if TYPE_CHECKING:
    from diffusionblend.experiments.benchmark import Settings

HTC = "htc"


@dataclass(frozen=True)
class Benchmark:
    """Repeat an experiment of the paper: tables and pictures, from runs that are kept.

    The same command again runs only what is missing, and ends with the same results.

    Examples:
        diffusionblend benchmark table1 --dry-run
        diffusionblend benchmark table1 --volume chest.nii.gz --slices 40:88
    """

    groups: ClassVar[Groups] = {"htc": ("data", "angles"), "advanced": ("workers", "device")}

    name: Placed[str]
    """table1, table2, table3, table4, table5, table6, table7, table8, table9, table10, figure3,
    figure4, figure5, figure6, figure7, figure8, figure9, figure10, figure11, figure12,
    ablation-position, honest, fast, fast-parts, directions (exits with 8 if one of the paper's
    does not hold here), all, or your own recipe (.toml); and htc, the measured discs of the
    Helsinki Tomography Challenge 2022, which needs --data."""
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
    data: Path | None = None
    """Folder of the challenge's files, htc2022_DISC_DEGREES.mat and htc2022_DISC_truth.png (Zenodo
    10.5281/zenodo.6984868 and 10.5281/zenodo.7418878)."""
    angles: tuple[int, ...] = (30, 60, 90)
    """Arcs in degrees to reconstruct from, cut from the widest arc measured for each disc."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ..., or auto."""
    dry_run: bool = False
    """List the runs, and which of them exist already; run and write nothing."""
    json: bool = False
    """Print where the results are as JSON."""

    def run(self) -> None:
        """Check the recipe, run what is missing, write tables and pictures."""
        from diffusionblend.experiments.benchmark import Settings, run_benchmark

        if self.name == HTC:
            return self._htc()
        if self.data is not None:
            raise UsageError(f"--data: is for `benchmark {HTC}`; `{self.name}` takes --volume")
        if self.slices is not None and self.volume is None:
            raise UsageError("--slices: needs --volume; a recipe states its own slices")
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
            return self._plan(settings)
        facts = run_benchmark(self.name, settings)
        text = facts.pop("text")
        show(facts, self.json, text)

    def _htc(self) -> None:
        """Reconstruct the discs of the Helsinki challenge."""
        from diffusionblend.cli.commands.plan import show_plan
        from diffusionblend.experiments.htc.run import benchmark_htc, list_htc
        from diffusionblend.io.files import check_folder

        if self.data is None:
            raise UsageError(f"{HTC}: needs --data, the folder of the challenge's files")
        if self.dry_run:
            check_folder(self.output)
            runs = list_htc(self.data, self.angles)
            return show_plan({"runs": runs}, {"runs": "; ".join(runs)}, [self.output], self.json)
        facts = benchmark_htc(
            self.data, self.output, degrees=self.angles, prior=self.prior, device=self.device
        )
        text = facts.pop("text")
        show(facts, self.json, text)

    def _plan(self, settings: "Settings") -> None:
        """Print the runs of experiments and which of them are kept; run none."""
        from diffusionblend.cli.commands.plan import show_plan
        from diffusionblend.experiments.benchmark import prepare_all
        from diffusionblend.experiments.store import load_result
        from diffusionblend.io.files import check_folder

        check_folder(self.output)
        runs = {
            run.key: {
                "experiment": plan.name,
                "run": run.label,
                "kept": load_result(settings.folder, run.key) is not None,
            }
            for plan in prepare_all(self.name, settings)
            for run in plan.runs
        }
        kept = sum(bool(run["kept"]) for run in runs.values())
        told = {
            "runs": f"{len(runs)}: {kept} are kept and {len(runs) - kept} would be run",
            "scale": settings.scale,
            "time": "not estimated",
        }
        facts = {
            "runs": list(runs.values()),
            "kept": kept,
            "scale": settings.scale,
            "seconds": None,
        }
        show_plan(facts, told, [settings.folder], self.json)
