"""Volumes of many scans."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from diffusionblend.cli.commands.arguments import Groups, Placed, method_options
from diffusionblend.cli.terminal import in_range, show
from diffusionblend.errors import UsageError

if TYPE_CHECKING:
    from diffusionblend.batch.engine import Pool
    from diffusionblend.batch.plan import Batch as Planned
    from diffusionblend.batch.run import Summary
    from diffusionblend.batch.settings import Settings

MOST_FAILED = 20
"""Of the scans that failed, how many are told at the end; all are in the log and the report."""
SOME_FAILED = 9
"""Exit code where some scans failed, and the others are done."""


@dataclass(frozen=True)
class Batch:
    """Reconstruct many scans, on one machine or on many.

    Volumes that exist already are not made again: after a stop the same command continues. If a
    scan fails, this is reported, and the others are still reconstructed.

    Examples:
        diffusionblend batch scans/ -o made --dry-run
        diffusionblend batch scans/ -o made --workers 8
        diffusionblend batch 'scans/**/*.h5' -o made --method tv --part 3/8
        diffusionblend batch table.csv -o made --address 10.0.0.1:6379
        diffusionblend batch s3://bucket/scans -o s3://bucket/made
    """

    groups: ClassVar[Groups] = {
        "output": ("suffix", "classical", "replace"),
        "many": ("workers", "address", "part", "retries"),
        "advanced": ("mu_water", "scale", "seed", "save_state", "device", "threads"),
    }

    scans: Placed[tuple[str, ...]]
    """Scans (.h5), folders of them, patterns in quotes, and tables (.csv, .parquet) with the
    columns scan, output and one for each option; paths, or addresses (s3://, gs://)."""
    output: Annotated[str, "-o"]
    """Folder for the volumes, batch.jsonl, batch.md and batch.csv, or an address of one."""
    method: str = "diffusionblend-fast"
    """How to reconstruct; `diffusionblend info` lists the methods."""
    prior: str = "chest"
    """`chest` for bodies, `general` for other objects, a folder, or owner/name@COMMIT of the
    Hugging Face hub."""
    steps: int | None = None
    """Time steps of a diffusion method (its own default if not given)."""
    set: tuple[str, ...] = ()
    """Other options of the method, for instance `--set jump_every=4 eta=0.5`."""
    samples: int = 1
    """Samples; the volume is their mean."""
    classical: bool = True
    """Make the classical reconstruction, too."""
    suffix: str = ".nii.gz"
    """Ending of the names of volumes: .nii.gz, .nii, .nrrd or .ome.zarr; an empty text makes
    folders of DICOM series."""
    replace: bool = False
    """Replace volumes that exist already and were made with other options."""
    workers: int | None = None
    """Scans at a time: one if not given, on a cluster as many as it has room for. More than one
    needs Ray (pip install ray)."""
    address: str | None = None
    """Ray cluster to work on, HOST:PORT (RAY_ADDRESS if not given)."""
    part: str | None = None
    """Share of the scans, I/N; `auto` in an array of Slurm, auto/N in an indexed job of
    Kubernetes."""
    retries: int = 3
    """How often to try a scan again if its process or machine died."""
    mu_water: float | None = None
    """Attenuation of water in 1/mm, instead of what the scans state or what is estimated."""
    scale: float | None = None
    """Factor on the values, to bring objects that are not tissue into the prior's range."""
    seed: int = 0
    """Seed of the sampling noise; further samples have the next ones."""
    save_state: float = 30.0
    """Seconds between two saves of a scan's state, from which the same command continues."""
    device: str = "auto"
    """cpu, cuda or auto."""
    threads: int | None = None
    """Threads of each scan: a share of the cores if not given, 4 on a cluster. The last digits
    depend on their number."""
    dry_run: bool = False
    """Say which volumes exist already and which would be made; write nothing."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Find the scans, make what is missing, and say how it went."""
        from diffusionblend.batch.part import ALL, parse_part
        from diffusionblend.batch.plan import plan
        from diffusionblend.batch.run import do_batch, make_pool
        from diffusionblend.errors import OutputError
        from diffusionblend.io.files import check_folder
        from diffusionblend.io.remote import place_of
        from diffusionblend.ranges import MOST_SEED
        from diffusionblend.reconstruction.reconstruct import MOST_SAMPLES
        from diffusionblend.runs.provenance import MOST_THREADS

        for option, value, least, most in (
            ("--workers", self.workers, 1, 1024),
            ("--threads", self.threads, 1, MOST_THREADS),
            ("--samples", self.samples, 1, MOST_SAMPLES),
            ("--seed", self.seed, 0, MOST_SEED + 1 - self.samples),
            ("--retries", self.retries, 0, 1000),
            ("--save-state", self.save_state, 0, math.inf),
        ):
            if value is not None:
                in_range(option, value, least, most)
        pool = make_pool(self.workers, self.address, self.threads, self.retries)
        batch = plan(
            self.scans,
            place_of(self.output, OutputError),
            self._settings(pool.threads),
            part=ALL if self.part is None else parse_part(self.part),
            suffix=self.suffix,
            replace=self.replace,
        )
        if self.dry_run:
            if isinstance(batch.folder, Path):
                check_folder(batch.folder)
            self._tell_plan(batch, pool)
            return 0
        table = sys.stderr.isatty() and not self.json
        return self._tell(do_batch(batch, pool, table=table))

    def _settings(self, threads: int) -> "Settings":
        from diffusionblend.batch.settings import Settings

        names = set(Settings.__struct_fields__) - {"options"}
        own: dict[str, Any] = {name: getattr(self, name) for name in names} | {"threads": threads}
        options = method_options(self.steps, self.set)
        for name in sorted(own.keys() & options):
            raise UsageError(
                f"--set {name}={options[name]}: is not an option of the method; give it as "
                f"--{name.replace('_', '-')}"
            )
        return Settings().changed(own | options)

    def _tell_plan(self, batch: "Planned", pool: "Pool") -> None:
        from diffusionblend.cli.commands.plan import show_plan

        workers = pool.workers or ("as many as fit in memory" if pool.address else 1)
        told = {
            "scans": f"{len(batch.jobs)}: {len(batch.kept)} exist and {len(batch.missing)} would "
            "be made",
            "output": self.output,
            "part": str(batch.part),
            "workers": f"{workers}, of {pool.threads} threads, {pool.address or 'on this machine'}",
            "time": "not estimated; `reconstruct --dry-run` estimates that of one scan",
        }
        facts = {
            "scans": [{"scan": str(job.scan), "volume": str(job.output),
                       "kept": job.name in batch.kept} for job in batch.jobs],
            "kept": len(batch.kept),
            "part": str(batch.part),
            "threads": pool.threads,
        }  # fmt: skip
        show_plan(facts, told, [], self.json)

    def _tell(self, summary: "Summary") -> int:
        """Print how the batch went; return the exit code."""
        import msgspec

        from diffusionblend.io.remote import place_of

        report = str(place_of(self.output) / summary.report.name)
        failed = {name: entry.failure for name, entry in summary.failed.items()}
        facts = {
            "folder": self.output,
            "made": len(summary.made),
            "kept": len(summary.kept),
            "failed": msgspec.to_builtins(failed),
            "report": report,
        }
        told = [f"failed: {each.name}: {each.failure}" for each in summary.failed.values()]
        more = len(told) - MOST_FAILED
        lines = [
            f"{self.output}: {len(summary.made)} scans made, {len(summary.kept)} existed, "
            f"{len(failed)} failed",
            *told[:MOST_FAILED],
            *([f"failed: {more} more, which the report lists"] if more > 0 else []),
            f"{report}: times, shares, and what failed",
        ]
        show(facts, self.json, "\n".join(lines))
        return SOME_FAILED if failed else 0
