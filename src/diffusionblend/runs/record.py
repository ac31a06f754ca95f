"""The record beside a volume: `save` writes it, but the one that is read may come from anybody.

So what a record says is checked for its form and size; it belongs to a volume only if it holds that
volume's SHA-256; and no name in it points outside the folder.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput
from diffusionblend.io.files import inside, reading_cure, sha256
from diffusionblend.io.remote import Place
from diffusionblend.io.volumes import read_beside
from diffusionblend.methods.method import Convergence
from diffusionblend.quality import Quality
from diffusionblend.runs.checkpoint import SavedStep
from diffusionblend.runs.provenance import Machine, beside, record_of, steps_folder

MAX_BYTES = 2**25
Text = Annotated[str, Meta(max_length=20_000)]
Facts = Annotated[dict[Text, Any], Meta(max_length=1000)]


class File(msgspec.Struct, frozen=True):
    """A file beside the volume: its name, and the SHA-256 of what is in it."""

    name: Text
    sha256: Text


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What made a volume. Older records, and those of other commands, hold less.

    Attributes:
        finished: When, in UTC.
        versions: Of what the result depends on.
        again: The line that makes the volume again; empty if there is none.
        prior: Its name and the SHA-256 of its weights.
        seed: Seed of the first sample.
        mu_water, scale: What was asked for in place of the scan's, if anything was.
        operator: How the projector had its weights: a `matrix`, `rays`, or `diffct`.
        scan: Name and SHA-256 of the scan, and what made that.
        quality: How far it can be trusted.
        convergence: The residuals that the method ended with, of one that ends by its own.
    """

    schema: Literal["diffusionblend-run/1"]
    output: Text = ""
    sha256: Text
    finished: Text = ""
    versions: Annotated[dict[Text, Text], Meta(max_length=100)] = {}
    machine: Machine = Machine()
    files: Annotated[dict[Text, File], Meta(max_length=10)] = {}
    command: Text = ""
    again: Text = ""
    method: Facts = {}
    prior: Facts | None = None
    seed: int | None = None
    samples: int = 1
    mu_water: float | None = None
    scale: float | None = None
    device: Text = ""
    scan: Facts = {}
    seconds: float | None = None
    operator: Text = ""
    convergence: Convergence | None = None
    quality: Quality | None = None
    steps: Annotated[tuple[SavedStep, ...], Meta(max_length=100_000)] = ()

    def sample_of(self, step: int) -> tuple[int, int]:
        """Return the sample that a step belongs to, and its number there, both from 1.

        Samples are drawn one after another, and their steps counted on.
        """
        last = max((saved.step for saved in self.steps), default=1)
        sample, index = divmod(max(step, 1) - 1, max(1, math.ceil(last / max(1, self.samples))))
        return sample + 1, index + 1


@dataclass(frozen=True)
class Found:
    """The record of a volume, and what else is beside it.

    Attributes:
        digest: SHA-256 of the volume.
        record: Its record; None if there is none of this volume.
        missing: Why there is none: a sentence; empty if there is one.
    """

    path: Path
    digest: str
    record: Record | None
    missing: str = ""

    def part(self, part: str) -> Volume | None:
        """Read another volume beside it; None if there is none of the same run."""
        path = inside(self.path.parent, beside(self.path, part).name)
        if not os.path.isfile(path):  # Path.is_file() raises where the name is too long
            return None
        known = None if self.record is None else self.record.files.get(part)
        if self.record is not None and (known is None or known.sha256 != sha256(path)):
            return None
        return read_beside(path)

    def step(self, step: SavedStep) -> Volume | None:
        """Read an intermediate volume; None if it is not there, or is of another run."""
        folder = inside(self.path.parent, steps_folder(self.path).name)
        path = inside(folder, step.volume)
        if not path.is_file() or (step.sha256 and step.sha256 != sha256(path)):
            return None
        return read_beside(path)


def find_record(path: Path) -> Found:
    """Return the record of a volume, if one is beside it."""
    digest, place = sha256(path), record_of(path)
    if not os.path.isfile(place):
        return Found(path, digest, None, f"no record is beside it ({place.name})")
    record = read_record(inside(place.parent, place.name))
    if record.sha256 != digest:
        return Found(
            path, digest, None, f"{place.name} belongs to another volume (its SHA-256 differs)"
        )
    return Found(path, digest, record)


def read_record(path: Place) -> Record:
    """Read a record, of whatever volume."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CorruptInput(f"{path}: is larger than {MAX_BYTES} bytes; expected a record")
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as error:
        cure = reading_cure(error, "remove it")
        raise CorruptInput(f"{path}: cannot be read ({error.strerror}); {cure}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptInput(
            f"{path}: is not the record of a volume ({error}); remove it, or make the volume again"
        ) from error
