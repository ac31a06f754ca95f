"""Checkpoints of a run in a file beside the output, and its intermediate volumes."""

import itertools
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import DAMAGE, Dispensable, make_folder, sha256, write_file
from diffusionblend.io.volumes import write_volume
from diffusionblend.machine.processes import here
from diffusionblend.methods import Step
from diffusionblend.methods.method import BEGINNING, State
from diffusionblend.runs.provenance import Machine, machine
from diffusionblend.runs.state import Facts, read_state, write_state

log = logging.getLogger(__name__)

INDEX = "steps.json"


class Checkpoint:
    """The state of a run in a file, written from time to time.

    It is a callback. Whatever kills the process, the file holds a whole state of an earlier step.
    Several processes write one file, from which any number of them can resume.
    If it cannot be written this is logged once, and the run continues: its result may still fit.

    Args:
        path: The file.
        run: What determines the result: the state of another run is refused.
        seconds: Least time between two states.
        threads: Number of threads that was asked for; None takes that of the interrupted run.

    Attributes:
        step: Step of the state that was loaded, 0 if there was none.
        seconds_before: Time that the run had taken by then.
        threads: Number of threads of the interrupted run; what was asked for if there was no state.
        run: What determines the result, as it is in the file.
    """

    def __init__(
        self, path: Path, run: Mapping[str, Any], seconds: float, threads: int | None = None
    ) -> None:
        self.path, self.step, self.seconds_before = path, 0, 0.0
        self.threads = threads
        # As it will be read back: tuples become lists.
        self.run = json.loads(json.dumps(run))
        self._every, self._began = seconds, time.monotonic()
        self._saved = self._began
        self._dispensable = Dispensable("a state to resume from")

    def load(self) -> State:
        """Return the state in the file; the beginning if there is no file."""
        if not self.path.exists():
            log.info("%s: not there; the run starts from the beginning", self.path)
            return BEGINNING
        facts, state = read_state(self.path)
        self._check(facts.run)
        self._take_up(facts.machine)
        self.step, self.seconds_before = facts.step, facts.seconds
        log.info("%s: continues after step %d", self.path, facts.step)
        return state

    def _check(self, known: Mapping[str, Any]) -> None:
        for name in itertools.chain(self.run, known):
            ours, theirs = self.run.get(name), known.get(name)
            if ours != theirs:
                raise UsageError(
                    f"{self.path}: belongs to another run ({name} {theirs}, here {ours}); give "
                    "the same command, or leave `resume` out"
                )

    def _take_up(self, begun: Machine) -> None:
        """Keep the number of threads of the interrupted run; warn where bytes may still differ."""
        if self.threads is not None and begun.threads not in (None, self.threads):
            raise UsageError(
                f"`threads={self.threads}`: {self.path} was begun with {begun.threads}, and the "
                "last digits depend on that; leave out `threads` to keep them, or `resume`"
            )
        here = machine()
        if begun.threads is None:
            log.warning("%s: does not say how many threads it began with; if not %d, the last "
                "digits may differ from those of an uninterrupted run",
                        self.path, self.threads or here.threads)  # fmt: skip
        elif (begun.processor, begun.engine) != (here.processor, here.engine):
            log.warning("%s: was begun on another machine (%s, %s; here %s, %s): the last digits "
                "may differ from those of an uninterrupted run", self.path,
                        begun.processor, begun.engine, here.processor, here.engine)  # fmt: skip
        self.threads = begun.threads or self.threads

    def __call__(self, step: Step) -> None:
        """Save the state of a step, if there is one and it is time."""
        if step.state is None or not here().agreed(self._is_time):
            return
        seconds = self.seconds_before + time.monotonic() - self._began
        with self._dispensable:
            write_state(self.path, Facts(self.run, step.index, seconds, machine()), step.state)
        self._saved = time.monotonic()

    @property
    def _is_time(self) -> bool:
        return time.monotonic() - self._saved >= self._every

    def remove(self) -> None:
        """Remove the file, since the run is done."""
        self.path.unlink(missing_ok=True)


class SavedStep(msgspec.Struct, frozen=True):
    """An intermediate volume.

    Attributes:
        volume: Name of its file in the folder.
        residual: |A u - y| / |y| of it.
        sha256: Of the file; empty in those of the first version.
    """

    step: int
    volume: str
    residual: float
    sha256: str = ""


class SavedSteps:
    """Every n-th intermediate volume, in a folder: step-0005.nii.gz, ..., and steps.json.

    It is a callback.

    Args:
        folder: The folder; volumes of an earlier run in it are removed.
        every: n.
        done: Step after which the run resumes: the volumes up to there are kept.
    """

    def __init__(self, folder: Path, every: int, done: int = 0) -> None:
        self._folder, self._every = folder, every
        self._dispensable = Dispensable("the intermediate volumes")
        self.kept: list[SavedStep] = []
        if here().leads:
            self._take_up(done)

    def _take_up(self, done: int) -> None:
        make_folder(self._folder)
        self.kept = [kept for kept in read_steps(self._folder) if kept.step <= done]
        stay = {kept.volume for kept in self.kept}
        for path in self._folder.glob("step-*.nii.gz"):
            if path.name not in stay:
                path.unlink()
        self._write_index()

    def __call__(self, step: Step) -> None:
        """Save the volume of a step, if it is one of every n, or the last."""
        if step.index % self._every and step.index != step.steps:
            return
        with self._dispensable:
            volume, residual = step.volume, round(step.residual, 6)  # by all processes
            if here().leads:
                self._keep(step.index, volume, residual)

    def _keep(self, index: int, volume: Volume, residual: float) -> None:
        name = f"step-{index:04d}.nii.gz"
        write_volume(volume, self._folder / name)
        digest = sha256(self._folder / name)
        self.kept.append(SavedStep(index, name, residual, digest))
        self._write_index()

    def _write_index(self) -> None:
        write_file(self._folder / INDEX, msgspec.json.encode(self.kept))


def read_steps(folder: Path) -> list[SavedStep]:
    """Return the volumes that `SavedSteps` left in a folder, if any."""
    path = folder / INDEX
    if not path.exists():
        return []
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=list[SavedStep])
        there = {place.name for place in folder.iterdir() if place.is_file()}
    except DAMAGE as error:
        raise CorruptInput(f"{path}: is damaged ({error}); remove the folder") from error
    for entry in kept:
        if entry.volume not in there:
            raise CorruptInput(f"{path}: names {entry.volume}, which is not there; remove it")
    return kept
