"""Volumes of scans."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffusionblend.cli.commands.arguments import Groups, Input, Output
from diffusionblend.cli.terminal import present


@dataclass(frozen=True)
class Reconstruct:
    """Reconstruct a volume from a scan, and say how far it can be trusted.

    Beside the volume it writes the classical reconstruction (OUT.classical.nii.gz), to compare
    with, and OUT.nii.gz.json: what made it, and the quality record with its warnings.

    Examples:
        diffusionblend reconstruct scan.h5 -o volume.nii.gz --dry-run
        diffusionblend reconstruct scan.h5 -o volume.nii.gz
        diffusionblend reconstruct scan.h5 -o tv.nii.gz --method tv
        diffusionblend reconstruct scan.h5 -o dds.nii --method dds --set weight=0.2
    """

    groups: ClassVar[Groups] = {
        "output": ("classical", "like", "save_steps"),
        "advanced": (
            "mu_water", "scale", "seed", "resume", "save_state", "device", "threads", "max_memory",
        ),
    }  # fmt: skip

    scan: Input
    """Scan (.h5), as `simulate` and `import` write it."""
    output: Output
    """Where the volume goes, in HU: .nii.gz, .nii, .nrrd or .ome.zarr; a name without a
    suffix is the new folder of a DICOM series."""
    method: str = "diffusionblend-fast"
    """How to reconstruct; `diffusionblend info` lists the methods."""
    prior: str = "chest"
    """`chest` for bodies, `general` for other objects, a folder, or owner/name@COMMIT of the
    Hugging Face hub."""
    steps: int | None = None
    """Time steps of a diffusion method (its own default if not given)."""
    set: tuple[str, ...] = ()
    """Other options of the method, for instance `--set jump_every=4 eta=0.5`; `info METHOD` lists
    them."""
    samples: int = 1
    """Samples; the volume is their mean, and OUT.std.nii.gz their standard deviation, which is not
    calibrated against errors."""
    classical: bool = True
    """Make the classical reconstruction, too."""
    mu_water: float | None = None
    """Attenuation of water in 1/mm, instead of what the scan states or what is estimated."""
    scale: float | None = None
    """Factor on the values, to bring objects that are not tissue into the prior's range."""
    like: Path | None = None
    """DICOM series (folder or zip) whose patient, study and frame of reference a DICOM output
    gets."""
    seed: int = 0
    """Seed of the sampling noise; further samples have the next ones."""
    save_steps: int | None = None
    """Save every N-th intermediate volume, in the folder OUT.steps."""
    save_state: float = 30.0
    """Seconds between two saves of the run's state, in OUT.nii.gz.state, which is removed at the
    end; `inf` saves none."""
    resume: bool = False
    """Continue from that state, if there is one, with the same number of threads and to the same
    bytes."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ..., or auto."""
    threads: int | None = None
    """Threads that share the work; the last digits depend on their number (as many as cores, or
    OMP_NUM_THREADS, if not given)."""
    max_memory: str | None = None
    """Memory to use, for instance 8G (what is free, if not given). Methods that
    can do so work on what does not fit in slabs of slices, to the same bytes (for a cone, apart
    from rounding); meanwhile, files of the volume's size, without names, are in the output
    folder."""
    dry_run: bool = False
    """Say what would be done, how long it would take, and how much memory and disk it needs; write
    nothing."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Reconstruct, with the processes that torchrun has started; only one of them prints."""
        from diffusionblend.io.files import writable
        from diffusionblend.machine.processes import join
        from diffusionblend.progress import shown

        leads = join(self.device).leads
        if leads:
            writable(self.output)
        else:
            logging.disable()
        present(self.scan, "make one with `diffusionblend simulate` or `diffusionblend import`")
        from diffusionblend.cli.reconstructing import run

        with contextlib.nullcontext() if leads else shown(False):
            run(self)
