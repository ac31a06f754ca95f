"""Scans in files: one HDF5 file each.

The SHA-256 of what HDF5 reads follows it: damage is found before HDF5 reads the file, where a
flipped bit may end in a segmentation fault. A program that changes the file by HDF5 cuts that line
off; then another process walks through it first.
"""

import contextlib
import dataclasses
import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from diffusionblend.data.scan import Noise, Scan, ScanFile, check_shape
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.geometry import Geometry, geometry_from_json
from diffusionblend.io.files import (
    DAMAGE,
    PathLike,
    as_utf8,
    atomic,
    check_kind,
    expect_suffix,
    has_suffix,
    naming,
    reading_cure,
    sha256,
)
from diffusionblend.io.formats.registry import is_volume
from diffusionblend.io.projections.formats.hdf5 import check_held, dataset
from diffusionblend.io.projections.formats.walked import walk

if TYPE_CHECKING:
    import h5py

log = logging.getLogger(__name__)

SCHEMA = "diffusionblend-scan/1"
SUFFIXES = (".h5", ".hdf5")
DATASET = "line_integrals"
AGAIN = "copy or make it again"
_SEAL = "\nSHA-256 of the above: {}\n"
_SEAL_BEGINS = _SEAL.partition("{")[0].encode()
_PART = 2**24
_SEAL_BYTES = len(_SEAL.format(64 * "0"))


def write_scan(scan: Scan, path: PathLike) -> None:
    """Write a scan to an HDF5 file: whole or not at all.

    Args:
        scan: The scan.
        path: A name in .h5 or .hdf5.

    Raises:
        OutputError: The place cannot be written or is full.
        UsageError: The name has no suffix of HDF5.
    """
    import h5py

    path = Path(path)
    check_suffix(path)
    # Made in memory: HDF5 itself does not say in so many words that a disk is full.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        # Fletcher-32 finds flipped bytes, which HDF5 would otherwise read without a word.
        file.create_dataset(
            DATASET, data=scan.y.astype(np.float32), compression="gzip", fletcher32=True
        )
        file.attrs["schema"] = SCHEMA
        file.attrs["geometry"] = scan.geometry.to_json()
        file.attrs["noise"] = msgspec.json.encode(scan.noise).decode()
        if scan.mu_water is not None:
            file.attrs["mu_water_per_mm"] = scan.mu_water
        provenance = {name: as_utf8(text) for name, text in scan.provenance.items()}
        file.attrs["provenance"] = msgspec.json.encode(provenance).decode()
    with atomic(path, check=read_scan) as temporary, open(temporary, "wb") as written:
        written.write(buffer.getbuffer())
        written.write(_SEAL.format(hashlib.sha256(buffer.getbuffer()).hexdigest()).encode())


def is_scan(path: Path) -> bool:
    """Return whether a file has the name of a scan, in capitals or not."""
    return has_suffix(path, SUFFIXES)


def check_suffix(path: Path) -> None:
    """Raise UsageError if `path` is not the name of a scan: a slip must not replace a volume."""
    expect_suffix(path, SUFFIXES, "a scan")


def read_scan(path: PathLike) -> Scan:
    """Read a scan, as `write_scan` or the command `import` wrote it.

    Args:
        path: The file.

    Raises:
        CorruptInput: The file is missing, truncated or damaged, or holds NaN or infinity.
        UnsupportedInput: It is not a scan, or does not fit its own geometry.
    """
    path = Path(path)
    before = _state(path)
    with _opened(path) as file:
        scan = _read(file, path)
    digest = sha256(path)
    if _state(path) != before:  # the digest may be that of another scan
        raise CorruptInput(f"{path}: changed while it was being read; read it again")
    if not scan.y.any():
        log.warning("%s: all line integrals are 0: there was nothing in the beam", path)
    return dataclasses.replace(scan, file=ScanFile(path.name, digest, scan.digest))


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes where a file is replaced or written to; nothing if it is not there."""
    if not path.is_file():
        return ()
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def read_geometry(path: PathLike) -> Geometry:
    """Read the geometry of a scan alone."""
    with _opened(Path(path)) as file:
        return _geometry(file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["h5py.File"]:
    """Open a file whose SHA-256 is what it says; errors name the file."""
    import h5py

    check_kind(path)
    if not path.is_file():
        found = "is a folder; expected a scan" if path.is_dir() else "no such file"
        raise CorruptInput(f"{path}: {found}; make one with `diffusionblend simulate` or `import`")
    try:
        with naming(path):
            if not _sealed(path):
                walk(path)
            with h5py.File(path) as file:
                yield file
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:160]
        cure = "make a scan of it with `diffusionblend simulate`" if is_volume(path) else AGAIN
        raise CorruptInput(
            f"{path}: cannot be read as a scan ({reason}); {reading_cure(error, cure)}"
        ) from error


def _sealed(path: Path) -> bool:
    """Return whether a file says its SHA-256; raise ValueError if it has another one."""
    length = max(0, path.stat().st_size - _SEAL_BYTES)
    with open(path, "rb") as file:
        file.seek(length)
        said = file.read()
        if _SEAL_BEGINS not in said:
            return False
        file.seek(0)
        digest = hashlib.sha256()
        while part := file.read(min(_PART, length - file.tell())):
            digest.update(part)
    if said != _SEAL.format(digest.hexdigest()).encode():
        raise ValueError("its SHA-256 differs from the one it states")
    return True


def _geometry(file: "h5py.File") -> Geometry:
    schema = file.attrs.get("schema")
    if schema != SCHEMA:
        raise UnsupportedInput(
            f"its schema is {schema!r}, expected {SCHEMA!r}; make a scan from projections with "
            "`diffusionblend import`, from a volume with `diffusionblend simulate`"
        )
    return geometry_from_json(file.attrs["geometry"])


def _read(file: "h5py.File", path: Path) -> Scan:
    """Read a scan: no memory is used for what it claims but does not have."""
    geometry = _geometry(file)
    found = dataset(file, path, DATASET)
    if found is None:
        raise CorruptInput(f"holds no {DATASET}; {AGAIN}")
    check_shape(found.shape, geometry)
    check_held(DATASET, found)
    noise = msgspec.json.decode(file.attrs["noise"], type=Noise)
    provenance = msgspec.json.decode(file.attrs["provenance"], type=dict[str, str])
    mu_water = file.attrs.get("mu_water_per_mm")
    y = np.asarray(found, dtype=np.float32)
    return Scan(y, geometry, noise, None if mu_water is None else float(mu_water), provenance)
