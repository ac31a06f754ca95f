"""Volumes of scans."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusionblend import __version__
from diffusionblend.commands.arguments import Changes, Input, Output, command_line
from diffusionblend.commands.plan import plan_reconstruction
from diffusionblend.progress import show_steps
from diffusionblend.terminal import in_range, show, split_pairs

if TYPE_CHECKING:
    from diffusionblend.geometry import Grid
    from diffusionblend.methods import Method
    from diffusionblend.reconstruction import Reconstruction
    from diffusionblend.scan import Scan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconstruct:
    """Reconstruct a volume from a scan, and say how far it can be trusted.

    Beside the volume lie the classical reconstruction (OUT.classical.nii.gz), to compare with, and
    OUT.nii.gz.json: what made it, and the quality record with its warnings.
    """

    scan: Input
    """Scan (.h5), as `simulate` and `import` write it."""
    output: Output
    """Where the volume goes, in HU: .nii.gz, .nii or .nrrd; a name without a suffix is the new
    folder of a DICOM series."""
    method: str = "diffusionblend-fast"
    """How to reconstruct; `diffusionblend info` lists the methods."""
    prior: str = "chest"
    """A prior's name in the package, its folder, or owner/name@COMMIT of the Hugging Face hub."""
    steps: int | None = None
    """Time steps of a diffusion method (its own default if not given)."""
    set: Changes = ()
    """Other options of the method, for instance `--set jump_every=4 eta=0.5`; `info METHOD` lists
    them."""
    samples: int = 1
    """Samples; the volume is their mean, and OUT.std.nii.gz their standard deviation, which nobody
    has calibrated against errors."""
    classical: bool = True
    """Make the classical reconstruction, too."""
    mu_water: float | None = None
    """Attenuation of water in 1/mm, in place of what the scan says or what is estimated."""
    scale: float | None = None
    """Multiply the values, so that what is no tissue comes into the prior's range."""
    like: Path | None = None
    """DICOM series (folder or zip) whose patient, study and frame of reference a DICOM output
    gets."""
    seed: int = 0
    """Seed of the sampling noise; further samples have the next ones."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ..., or auto."""
    dry_run: bool = False
    """Say what would be done, how long it would take and how much memory; write nothing."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Read, reconstruct, write."""
        from diffusionblend.files import naming
        from diffusionblend.provenance import write_reconstruction
        from diffusionblend.reconstruction import (
            check_samples,
            find_device,
            make_method,
            reconstruct_and_assess,
        )
        from diffusionblend.scan import read_scan

        in_range("--seed", self.seed, 0, 2**63 - self.samples)
        method = make_method(self.method, **self._options())
        check_samples(method, self.samples)
        device = find_device(self.device)
        self._check_outputs(method)
        scan = read_scan(self.scan)
        self._check_source(scan.geometry.grid)
        if self.dry_run:
            with naming(self.scan):
                return plan_reconstruction(self, scan, method, device)
        with naming(self.scan), show_steps(self.method) as callback:
            made = reconstruct_and_assess(
                scan,
                method,
                prior=self.prior,
                seed=self.seed,
                samples=self.samples,
                classical=self.classical,
                mu_water=self.mu_water,
                scale=self.scale,
                device=device,
                callback=callback,
            )
        write_reconstruction(
            made,
            self.output,
            source=self.like,
            description=self._description(len(scan.geometry.angles)),
            **self._facts(scan, method, str(device)),
            seconds=made.seconds,
        )
        self._tell(made)

    def _facts(self, scan: "Scan", method: "Method", device: str) -> dict[str, Any]:
        from diffusionblend.files import sha256

        prior = prior_record(self.prior) if method.needs_prior else None
        named = self if prior is None else dataclasses.replace(self, prior=prior["name"])
        return {
            "command": "reconstruct",
            "again": command_line("reconstruct", named),
            "method": {"name": self.method, **vars(method)},
            "prior": prior,
            "seed": self.seed,
            "samples": self.samples,
            "device": device,
            "scan": {"name": self.scan.name, "sha256": sha256(self.scan), **scan.provenance},
        }

    def _description(self, views: int) -> str:
        return f"DiffusionBlend {__version__}, {self.method}, {views} views; research only"

    def _tell(self, made: "Reconstruction") -> None:
        """Print what was made on stdout, and the warnings on stderr for people."""
        warnings = {w.code: w.text for w in made.quality.warnings}
        facts = {
            "volume": str(self.output),
            "method": self.method,
            "seconds": made.seconds,
            "warnings": warnings,
        }
        for text in warnings.values():
            log.warning("warning: %s", text)
        show(facts, self.json, f"{self.output}: {self.method}, {made.seconds} s")

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = split_pairs(self.set)
        return options if self.steps is None else {**options, "steps": self.steps}

    def _check_outputs(self, method: "Method") -> None:
        from diffusionblend.provenance import check_outputs
        from diffusionblend.reconstruction import is_classical
        from diffusionblend.volume import check_suffix

        check_suffix(self.output)
        another = self.classical and not is_classical(method)
        check_outputs(self.output, samples=self.samples, classical=another)

    def _check_source(self, grid: "Grid") -> None:
        from diffusionblend.volume import check_source

        if self.like is not None:
            check_source(self.like, self.output, grid)


def prior_record(name: str) -> dict[str, str]:
    """Return what a record says of a prior: what it is called, on the hub with its commit."""
    from diffusionblend.prior.store import find_prior, read_config

    folder = find_prior(name)
    called = folder.name if Path(name).is_dir() else name
    return {"name": called, "weights_sha256": read_config(folder).weights_sha256}
