"""A scan of a store is copied to this machine, its volume made here and put into a store.

Work is done in a temporary folder that all processes of this user share, so that a scan continues
from the state that a killed process has left.

The other volumes are uploaded first, then the volume, and the record last: if there is a record,
everything it names is there. A mark is there as long as a volume has no record, so that the volume
of a killed process can be told from a stranger's.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diffusionblend.batch.claims import PLACE
from diffusionblend.batch.jobs import Job
from diffusionblend.errors import OutputError
from diffusionblend.io.files import make_folder, writing
from diffusionblend.io.locks import sole
from diffusionblend.io.remote import Remote, fetched
from diffusionblend.reconstruction.request import Request
from diffusionblend.runs.provenance import outputs_of, record_of, state_of


@contextlib.contextmanager
def at_hand(job: Job) -> Iterator[tuple[Path, Path]]:
    """Yield the paths of a scan and its output on this machine, and remove them if they are copies.

    Raises:
        Busy: Another process makes the same output.
        DiffusionBlendError: The scan cannot be copied.
    """
    place = job.output
    output = place if isinstance(place, Path) else _workplace(place) / place.name
    make_folder(output.parent)
    with fetched(job.scan) as scan, sole(output):
        try:
            yield scan, output
        finally:
            if isinstance(place, Remote) and not state_of(output).exists():
                shutil.rmtree(output.parent)


def deliver(job: Job, output: Path, request: Request) -> None:
    """Put what was made at `output` into the store of a job, if that is where it belongs."""
    place = job.output
    if not isinstance(place, Remote):
        return
    volume, record, *others = outputs_of(output, request)
    _mark(job).write_bytes(b"")
    record_of(place).unlink(missing_ok=True)
    for path in (*others, volume, record):
        place.with_name(path.name).put(path)
    end(job)


def begun(job: Job) -> bool:
    """Return whether a process was killed while it put the volume of a job."""
    return isinstance(job.folder, Remote) and _mark(job).exists()


def end(job: Job) -> None:
    """Remove the mark of a job whose record is there, if a process was killed before it could."""
    if isinstance(job.folder, Remote):
        _mark(job).unlink(missing_ok=True)


def _mark(job: Job) -> Remote:
    name = hashlib.sha256(job.name.encode()).hexdigest()[:32]
    return Remote(f"{job.folder}/{PLACE}/begun/{name}", OutputError)


def _workplace(place: Remote) -> Path:
    """Return the folder of this user and machine for what belongs to an address."""
    root = Path(tempfile.gettempdir(), f"diffusionblend-{os.getuid()}")
    with writing(root):
        root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise OutputError(f"{root}: belongs to another user; set TMPDIR to another folder")
    return root / hashlib.sha256(place.url.encode()).hexdigest()[:32]
