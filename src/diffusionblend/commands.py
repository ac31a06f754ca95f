"""The commands: frozen dataclasses whose docstrings are the help.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from diffusionblend import __version__
from diffusionblend.errors import UsageError
from diffusionblend.progress import Progress, show_steps
from diffusionblend.terminal import in_range, parse_slices, show

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Input = tyro.conf.Positional[Path]


@dataclass(frozen=True)
class Simulate:
    """Simulate a scan from a CT volume in HU."""

    volume: Input
    """Volume in HU: .nii.gz, .nii, .nrrd, or a folder with one DICOM series."""
    output: Output
    """Where the scan goes (.h5)."""
    views: int | None = None
    """Views, spread evenly over 180 degrees (8 if --limited-angle is not given)."""
    limited_angle: int | None = None
    """Views at 0, 1, ..., D - 1 degrees."""
    photons: float | None = None
    """Photons a detector bin through air; without it there is no noise."""
    slices: str | None = None
    """Slices A:B of the volume; without it all of them."""
    size: int = 256
    """Pixels a side to reconstruct; the volume may be finer by a whole factor."""
    protocol: Literal["independent", "paper"] = "independent"
    """`independent`: project the finest grid with the area-weighted projector.
    `paper`: project the grid of the reconstruction with its own operator."""
    truth: Path | None = None
    """Where to write the volume that the result is to be compared with (.nii.gz)."""
    seed: int = 0
    """Seed of the noise."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read, project, write."""
        from diffusionblend.files import naming
        from diffusionblend.scan import write_scan
        from diffusionblend.simulation import simulate, truth_on_grid
        from diffusionblend.volume import read_volume, write_volume

        angles = self._angles()
        in_range("--size", self.size, 2, 100_000)
        in_range("--seed", self.seed, 0, 2**63 - 1)
        self._check_outputs()
        volume = read_volume(self.volume)
        with naming(self.volume):
            if self.slices is not None:
                volume = volume.slices(*parse_slices(self.slices))
            scan = simulate(
                volume,
                angles,
                size=self.size,
                photons=self.photons,
                protocol=self.protocol,
                seed=self.seed,
                provenance=self._provenance(),
            )
        write_scan(scan, self.output)
        if self.truth is not None:
            write_volume(truth_on_grid(volume, self.size), self.truth)
        slices, views, bins = scan.y.shape
        facts = {"scan": str(self.output), "slices": slices, "views": views, "bins": bins}
        show(facts, self.json, f"{self.output}: {slices} slices, {views} views, {bins} bins")

    def _provenance(self) -> dict[str, str]:
        from diffusionblend.files import sha256

        return {
            "source": self.volume.name,
            "source_sha256": sha256(self.volume),
            "slices": self.slices or "all",
            "version": __version__,
        }

    def _check_outputs(self) -> None:
        from diffusionblend.files import writable
        from diffusionblend.scan import check_suffix as check_scan_suffix
        from diffusionblend.volume import check_suffix

        check_scan_suffix(self.output)
        writable(self.output)
        if self.truth is not None:
            check_suffix(self.truth)
            writable(self.truth)
            if self.truth.resolve() == self.volume.resolve():
                raise UsageError(f"--truth {self.truth}: is the input; give another name")

    def _angles(self) -> tuple[float, ...]:
        from diffusionblend.geometry import limited_angle, sparse_view

        if self.views is not None and self.limited_angle is not None:
            raise UsageError("--views and --limited-angle exclude each other; give one of them")
        if self.limited_angle is not None:
            return limited_angle(in_range("--limited-angle", self.limited_angle, 1, 180))
        views = 8 if self.views is None else self.views
        return sparse_view(in_range("--views", views, 1, 10_000))


@dataclass(frozen=True)
class Reconstruct:
    """Reconstruct a volume from a scan."""

    scan: Input
    """Scan (.h5), as `simulate` writes it."""
    output: Output
    """Where the volume goes, in HU (.nii.gz or .nii)."""
    method: str = "diffusionblend-fast"
    """How to reconstruct; `diffusionblend info` lists the methods."""
    prior: str = "chest"
    """A prior's name in the package, its folder, or owner/name@COMMIT of the Hugging Face hub."""
    steps: int | None = None
    """Time steps of a diffusion method (its own default if not given)."""
    set: tuple[str, ...] = ()
    """Other options of the method, for instance `--set jump_every=4 eta=0.5`; `info METHOD` lists
    them."""
    seed: int = 0
    """Seed of the sampling noise."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ..., or auto."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read, reconstruct, write."""
        from diffusionblend.files import naming, sha256
        from diffusionblend.provenance import write_record
        from diffusionblend.reconstruction import find_device, make_method, reconstruct
        from diffusionblend.scan import read_scan
        from diffusionblend.volume import write_volume

        in_range("--seed", self.seed, 0, 2**63 - 1)
        method = make_method(self.method, **self._options())
        device = find_device(self.device)
        self._check_outputs()
        scan = read_scan(self.scan)
        began = time.monotonic()
        with naming(self.scan), show_steps(self.method) as callback:
            volume = reconstruct(
                scan, method, prior=self.prior, seed=self.seed, device=device, callback=callback
            )
        seconds = round(time.monotonic() - began, 2)
        write_volume(volume, self.output)
        write_record(
            self.output,
            command="reconstruct",
            method={"name": self.method, **vars(method)},
            prior=prior_record(self.prior) if method.needs_prior else None,
            seed=self.seed,
            device=str(device),
            seconds=seconds,
            scan={"name": self.scan.name, "sha256": sha256(self.scan), **scan.provenance},
        )
        facts = {"volume": str(self.output), "method": self.method, "seconds": seconds}
        show(facts, self.json, f"{self.output}: {self.method}, {seconds} s")

    def _options(self) -> dict[str, Any]:
        from diffusionblend.reconstruction import split_options

        options = split_options(self.set)
        return options if self.steps is None else {**options, "steps": self.steps}

    def _check_outputs(self) -> None:
        from diffusionblend.files import writable
        from diffusionblend.provenance import record_of
        from diffusionblend.volume import check_suffix

        check_suffix(self.output)
        writable(self.output)
        writable(record_of(self.output))


@dataclass(frozen=True)
class Evaluate:
    """Compare a reconstruction with the truth: PSNR and SSIM in three planes."""

    volume: Input
    """Reconstruction (.nii.gz)."""
    truth: Input
    """Truth (.nii.gz), on the same grid, or on one finer by a whole factor."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read both, crop to the common grid, compare."""
        from diffusionblend.files import naming
        from diffusionblend.metrics import evaluate
        from diffusionblend.volume import read_volume

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


@dataclass(frozen=True)
class Train:
    """Train a prior, or fbp-unet, by a recipe; the same command goes on where it stopped."""

    recipe: Input
    """Recipe (.toml)."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read the recipe and train."""
        from diffusionblend.training.loop import is_first_process
        from diffusionblend.training.supervised import train_by

        with Progress("train") as bar:

            def show_report(report: dict[str, float]) -> None:
                done, left = report["seconds"], report["seconds_left"]
                note = f"loss {report['loss']:.4f}, {report['samples_per_second']:.1f} samples/s"
                bar.show(max(1, round(done)), max(1, round(done + left)), note)

            task, folder = train_by(self.recipe, show_report)
        if is_first_process():
            show({task: str(folder)}, self.json, f"{folder}")


@dataclass(frozen=True)
class Push:
    """Put a prior on the Hugging Face hub, and print the name that others use."""

    folder: Input
    """A prior's folder: config.json, model.safetensors and README.md."""
    name: tyro.conf.Positional[str]
    """Its name there, owner/name; made if it is not there."""
    private: bool = False
    """Only its owner may see it."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Check the prior and push it."""
        from diffusionblend.prior.hub import push

        pinned = push(self.folder, self.name, private=self.private)
        show({"prior": pinned}, self.json, pinned)


@dataclass(frozen=True)
class Pack:
    """Write the volumes of a recipe into one file, or a few, to train on another machine."""

    recipe: Input
    """Recipe (.toml)."""
    output: Output
    """Pack (.h5); a recipe's `data` may name packs. Its parts get numbers, and the validation
    volumes a pack of their own (-validation.h5)."""
    max_mib: float | None = None
    """Largest size of a part in MiB."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Prepare the cache, then compress it."""
        from diffusionblend.training.cache import load_sources, tell
        from diffusionblend.training.pack import write_packs
        from diffusionblend.training.recipe import read_recipe, validation_as_data

        limit = math.inf if self.max_mib is None else self.max_mib
        recipe, root = read_recipe(self.recipe), self.recipe.parent
        sources, left_out = load_sources(recipe, root)
        tell(sources, left_out)
        parts = write_packs(sources, self.output, limit)
        if recipe.validation is not None:
            unseen, _ = load_sources(validation_as_data(recipe), root)
            parts += write_packs(unseen, self.output.with_stem(f"{self.output.stem}-validation"))
        names = [str(part) for part in parts]
        facts = {"packs": names, "volumes": len(sources), "left_out": left_out}
        show(facts, self.json, "\n".join(names))


@dataclass(frozen=True)
class Info:
    """List methods, priors, devices and versions; or, given a method, its options."""

    method: tyro.conf.Positional[str | None] = None
    """A method."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Look around."""
        if self.method is None:
            self._all()
        else:
            self._one(self.method)

    def _one(self, name: str) -> None:
        import inspect

        from diffusionblend.methods import find_method
        from diffusionblend.reconstruction import option_defaults

        cls = find_method(name)
        options = option_defaults(cls)
        lines = [f"{name}: {inspect.getdoc(cls)}", ""]
        lines += [f"{option} = {value}" for option, value in options.items()]
        show({"method": name, "options": options}, self.json, "\n".join(lines))

    def _all(self) -> None:
        import torch

        from diffusionblend.methods import method_names
        from diffusionblend.prior import shipped_priors
        from diffusionblend.provenance import versions

        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        facts = {
            "methods": method_names(),
            "priors": list(shipped_priors()),
            "devices": ["cpu", *gpus],
            "versions": versions(),
        }
        parts = {name: ", ".join(facts[name]) for name in ("methods", "priors", "devices")}
        parts["versions"] = ", ".join(f"{name} {v}" for name, v in versions().items())
        show(facts, self.json, "\n".join(f"{name:10}{text}" for name, text in parts.items()))


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
    """Runs at a time; more than one needs Ray (pip install 'diffusionblend[benchmark]')."""
    volume: Path | None = None
    """Volume in HU in place of the recipe's."""
    slices: str | None = None
    """Slices A:B of that volume; without it all of them."""
    prior: str | None = None
    """Prior in place of the recipe's: its name, its folder, or owner/name@COMMIT of the hub."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ..., or auto."""
    json: bool = False
    """Print where the results are as JSON."""

    def run(self) -> None:
        """Check the recipe, run what is missing, write tables and pictures."""
        from diffusionblend.benchmark.experiment import Settings
        from diffusionblend.benchmark.run import run_benchmark

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
        facts = run_benchmark(self.name, settings)
        text = facts.pop("text")
        show(facts, self.json, text)


@dataclass(frozen=True)
class Demo:
    """Reconstruct a real chest CT from eight views, and compare five methods."""

    output: Output = Path("out/demo")
    """Folder for volumes, figures and the report."""
    steps: int | None = None
    """Steps of the diffusion methods (the demonstration's own numbers if not given)."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        """Run the demonstration."""
        from diffusionblend.demo import STEPS, run_demo, table

        steps = STEPS
        if self.steps is not None:
            steps = dict.fromkeys(STEPS, in_range("--steps", self.steps, 1, 1000))
        results = run_demo(self.output, steps, show_steps)
        show(results, self.json, f"{table(results)}\n\n{self.output / 'report.html'}")


def prior_record(name: str) -> dict[str, str]:
    """Return what a record says of a prior: what it is called, on the hub with its commit."""
    from diffusionblend.prior.store import find_prior, read_config

    folder = find_prior(name)
    called = folder.name if Path(name).is_dir() else name
    return {"name": called, "weights_sha256": read_config(folder).weights_sha256}
