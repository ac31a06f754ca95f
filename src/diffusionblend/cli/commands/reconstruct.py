"""Volumes of scans."""

import contextlib
import dataclasses
import logging
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from diffusionblend.cli.commands.arguments import (
    Groups,
    Input,
    Output,
    command_line,
    method_options,
)
from diffusionblend.cli.commands.plan import plan_reconstruction
from diffusionblend.cli.terminal import in_range, present, show
from diffusionblend.errors import LostProcess

if TYPE_CHECKING:
    import torch

    from diffusionblend.data.scan import Scan
    from diffusionblend.geometry import Geometry
    from diffusionblend.machine.processes import Processes
    from diffusionblend.methods import Method
    from diffusionblend.methods.method import State
    from diffusionblend.reconstruction.request import Request
    from diffusionblend.reconstruction.result import Reconstruction
    from diffusionblend.runs.checkpoint import Checkpoint
    from diffusionblend.runs.room import Room

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconstruct:
    """Reconstruct a volume from a scan, and say how far it can be trusted.

    Beside the volume lie the classical reconstruction (OUT.classical.nii.gz), to compare with, and
    OUT.nii.gz.json: what made it, and the quality record with its warnings.

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
    """Samples; the volume is their mean, and OUT.std.nii.gz their standard deviation, which nobody
    has calibrated against errors."""
    classical: bool = True
    """Make the classical reconstruction, too."""
    mu_water: float | None = None
    """Attenuation of water in 1/mm, in place of what the scan says or what is estimated."""
    scale: float | None = None
    """Factor on the values, to bring objects that are not tissue into the prior's range."""
    like: Path | None = None
    """DICOM series (folder or zip) whose patient, study and frame of reference a DICOM output
    gets."""
    seed: int = 0
    """Seed of the sampling noise; further samples have the next ones."""
    save_steps: int | None = None
    """Save every N-th volume on the way, in the folder OUT.steps."""
    save_state: float = 30.0
    """Seconds between two savings of the run's state, in OUT.nii.gz.state, which is removed at the
    end; `inf` saves none."""
    resume: bool = False
    """Continue from that state, if there is one, to the same bytes, with as many threads."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ..., or auto."""
    threads: int | None = None
    """Threads that share the work; the last digits depend on their number (as many as cores, or
    OMP_NUM_THREADS, if not given)."""
    max_memory: str | None = None
    """Memory to take, for instance 8G (what is free, if not given). What does not fit goes through
    in slabs of fewer slices, by methods that can do that, to the same bytes (of a cone: but for
    rounding); files of the volume's size, without names, lie in the folder of the output
    meanwhile."""
    dry_run: bool = False
    """Say what would be done, how long it would take, how much memory and disk; write nothing."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Reconstruct, with the processes that torchrun has started, of which one speaks."""
        from diffusionblend.machine.processes import join
        from diffusionblend.progress import shown

        processes = join(self.device)
        if processes.leads:
            return self._run(processes)
        logging.disable()
        with shown(False):
            return self._run(processes)

    def _run(self, processes: "Processes") -> None:
        """Check what was asked for, read the scan, and do this process's part."""
        from diffusionblend.io.files import writable

        if processes.leads:
            writable(self.output)
        present(self.scan, "make one with `diffusionblend simulate` or `diffusionblend import`")
        from diffusionblend.io.scans import read_scan
        from diffusionblend.io.volumes import check_suffix
        from diffusionblend.machine.device import find_device
        from diffusionblend.machine.memory import bytes_of
        from diffusionblend.methods.options import make_method
        from diffusionblend.reconstruction.reconstruct import check_samples
        from diffusionblend.reconstruction.request import Request
        from diffusionblend.runs.provenance import MOST_THREADS

        in_range("--seed", self.seed, 0, 2**63 - self.samples)
        if self.save_steps is not None:
            in_range("--save-steps", self.save_steps, 1, 100_000)
        in_range("--save-state", self.save_state, 0, math.inf)
        if self.threads is not None:
            in_range("--threads", self.threads, 1, MOST_THREADS)
        if self.max_memory is not None:
            bytes_of(self.max_memory)
        method = make_method(self.method, **method_options(self.steps, self.set))
        check_samples(method, self.samples)
        device = find_device(self.device)
        if processes.leads:
            check_suffix(self.output)
            self._tell_of_unused(method)
        scan = read_scan(self.scan)
        if processes.leads:
            request = Request(scan.geometry, method, self.samples, self.classical)
            self._lead(scan, request, device)
        elif not self.dry_run:
            self._reconstruct(scan, method, device)

    def _lead(self, scan: "Scan", request: "Request", device: "torch.device") -> None:
        """Say what it takes, or reconstruct while no other process makes the same output."""
        from diffusionblend.io.files import naming, sole
        from diffusionblend.io.volumes import check_source
        from diffusionblend.machine.device import threads
        from diffusionblend.machine.processes import alone
        from diffusionblend.runs.provenance import check_outputs

        check_outputs(self.output, request)
        if self.like is not None:
            check_source(self.like, self.output, scan.geometry.grid)
            _tell_of_another(self.like, scan.provenance)
        if self.dry_run:
            with naming(self.scan), threads(self.threads), alone():
                return plan_reconstruction(self, scan, request, device)
        self.room(request).check(self.output)
        with sole(self.output):
            self._reconstruct(scan, request.method, device)

    def _reconstruct(self, scan: "Scan", method: "Method", device: "torch.device") -> None:
        """Begin, or go on from a state with as many threads as it was begun with."""
        from diffusionblend.machine.device import threads
        from diffusionblend.machine.processes import here
        from diffusionblend.methods.method import BEGINNING
        from diffusionblend.prior.store import facts_of
        from diffusionblend.runs.provenance import machine

        prior = facts_of(self.prior) if method.needs_prior else None
        run = self._checkpoint(scan, method, prior, str(device))
        start = run.load() if self.resume else BEGINNING
        with threads(run.threads) as number:
            also = {"classical": self.classical, "save_steps": self.save_steps}
            here().check_same({**run.run, **also, "step": run.step, "machine": machine()})
            self._work(scan, method, device, run, start, self._again(prior, number))

    def _work(
        self,
        scan: "Scan",
        method: "Method",
        device: "torch.device",
        run: "Checkpoint",
        start: "State",
        again: str,
    ) -> None:
        """Reconstruct, saving the state on the way, and write what was made."""
        from diffusionblend.io.files import naming
        from diffusionblend.machine.processes import here
        from diffusionblend.methods.method import ignore, in_turn
        from diffusionblend.reconstruction.reconstruct import reconstruct
        from diffusionblend.runs.checkpoint import SavedSteps
        from diffusionblend.runs.provenance import steps_folder
        from diffusionblend.runs.save import finish

        steps = None
        if self.save_steps is not None:
            steps = SavedSteps(steps_folder(self.output), self.save_steps, run.step)
        with naming(self.scan), _way_to_go_on(run):
            made = reconstruct(
                scan,
                method,
                prior=self.prior,
                seed=self.seed,
                samples=self.samples,
                classical=self.classical,
                mu_water=self.mu_water,
                scale=self.scale,
                max_memory=self.max_memory,
                scratch=self.output.absolute().parent,
                device=device,
                callback=in_turn(steps or ignore, run),
                start=start,
            )
        if not here().leads:
            return
        kept = steps.kept if steps else ()
        self._tell(finish(made, self.output, run, source=self.like, again=again, steps=kept))

    def _again(self, prior: dict[str, str] | None, threads: int) -> str:
        """Return the line that gives the same bytes on a processor of the same type."""
        named = dataclasses.replace(self, resume=False, threads=threads)
        named = named if prior is None else dataclasses.replace(named, prior=prior["name"])
        return command_line("reconstruct", named)

    def _checkpoint(
        self, scan: "Scan", method: "Method", prior: dict[str, str] | None, device: str
    ) -> "Checkpoint":
        from diffusionblend.runs.checkpoint import Checkpoint
        from diffusionblend.runs.provenance import state_of
        from diffusionblend.runs.save import identity

        run = identity(
            method,
            prior,
            seed=self.seed,
            samples=self.samples,
            mu_water=self.mu_water,
            scale=self.scale,
        )
        run |= {"device": device, "scan": scan.facts["sha256"]}
        return Checkpoint(state_of(self.output), run, self.save_state, self.threads)

    def _tell(self, made: "Reconstruction") -> None:
        """Print what was made on stdout, and the warnings on stderr for people."""
        import msgspec

        facts = {
            "volume": str(self.output),
            "method": self.method,
            "seconds": made.seconds,
            "warnings": msgspec.to_builtins(made.quality.warnings),
        }
        for warning in made.quality.warnings:
            log.warning("warning: %s", warning.text)
        show(facts, self.json, "\n".join(self._in_words(made)))

    def _in_words(self, made: "Reconstruction") -> Iterator[str]:
        """Yield what was made, what lies beside it, and what to do next."""
        from diffusionblend.io.formats.registry import STD
        from diffusionblend.runs.provenance import CLASSICAL, beside, record_of, steps_folder

        yield f"{self.output}: {self.method}, {made.seconds} s"
        yield f"{record_of(self.output)}: what made it, its quality and warnings"
        if made.classical is not None:
            yield f"{beside(self.output, CLASSICAL)}: the classical reconstruction, to compare with"
        if made.std is not None:
            yield f"{beside(self.output, STD)}: the standard deviation of the samples"
        if self.save_steps is not None:
            yield f"{steps_folder(self.output)}: volumes on the way"
        yield f"next: diffusionblend report {shlex.quote(str(self.output))} -o report.html"
        yield f"      diffusionblend view {shlex.quote(str(self.output))}"

    def _tell_of_unused(self, method: "Method") -> None:
        """Name options that were given and change nothing of this method's volume."""
        used = {"prior": method.needs_prior, "seed": method.random}
        for name, matters in used.items():
            value = getattr(self, name)
            if value != getattr(Reconstruct, name) and not matters:
                log.warning("--%s %s: %s makes no use of it", name, value, self.method)

    def room(
        self, request: "Request", worked_on: "Geometry | None" = None, *, slabs: bool = False
    ) -> "Room":
        """Return what it needs of the disk."""
        from diffusionblend.runs.room import room

        return room(
            self.output,
            request,
            save_state=self.save_state,
            save_steps=self.save_steps,
            worked_on=worked_on,
            slabs=slabs,
        )


def _tell_of_another(like: Path, provenance: Mapping[str, str]) -> None:
    """Warn where a scan was made from another series of DICOM: that may be another patient's.

    Scans of one protocol lie in the same place, so that their grids tell nothing.
    """
    from diffusionblend.io.formats.registry import is_volume
    from diffusionblend.io.volumes import digest

    source, known = provenance.get("source", ""), provenance.get("source_sha256")
    if known and not is_volume(Path(source)) and digest(like) != known:
        log.warning(
            "--like %s: differs from %s, which the scan was made from; make sure that both are of "
            "the same patient",
            like,
            source,
        )


@contextlib.contextmanager
def _way_to_go_on(run: "Checkpoint") -> Iterator[None]:
    """Say how a run that is interrupted or ended goes on."""
    from diffusionblend.machine.processes import here

    try:
        yield
    except (KeyboardInterrupt, SystemExit, LostProcess) as error:
        kept = f"{run.path} is kept: the same command with --resume goes on"
        if here().count > 1 and not isinstance(error, KeyboardInterrupt):
            # Which of both is heard first, the others do not know.
            lost = "ended by a signal, which torchrun sends where another process has ended"
            lost = str(error) if isinstance(error, LostProcess) else lost
            raise LostProcess(f"{lost}; {kept}" if run.path.exists() else lost) from error
        if run.path.exists():
            log.info("%s", kept)
        raise
