"""Volumes of scans."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionblend.commands.arguments import Input, Output
from diffusionblend.progress import show_steps
from diffusionblend.terminal import in_range, show


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


def prior_record(name: str) -> dict[str, str]:
    """Return what a record says of a prior: what it is called, on the hub with its commit."""
    from diffusionblend.prior.store import find_prior, read_config

    folder = find_prior(name)
    called = folder.name if Path(name).is_dir() else name
    return {"name": called, "weights_sha256": read_config(folder).weights_sha256}
