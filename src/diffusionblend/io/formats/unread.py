"""What is often given as a volume but cannot be read: what it is, and what to do."""

import shlex
from pathlib import Path

ARCHIVES = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar", ".7z", ".rar")
PAIRS = (".hdr", ".img")
ARRAYS = (".tif", ".tiff", ".png", ".jpg", ".bmp", ".npy", ".npz", ".mat", ".raw", ".bin")
CONVERT = "convert it"
SCANS = (".h5", ".hdf5")
_PAIRED, _MAGIC_AT = b"ni1", 344
_SIZELESS = (
    "such files do not say how large their voxels are; in Python, write HU (slices, rows, columns) "
    "by `write_volume(Volume(hu, Grid.from_spacing(hu.shape, (z, y, x) in mm)), 'v.nii.gz')`"
)
_SIDELESS = "Analyze does not say which side is left; write its source as NIfTI"


def way_to_read(path: Path) -> str:
    """Return what to do with a file that has not the name of a volume."""
    suffix = path.suffix.lower()
    if suffix in ARCHIVES:
        return "unpack it"
    if suffix in SCANS:
        return "if it is a scan, make a volume from it with `diffusionblend reconstruct`"
    if suffix in PAIRS:
        if not any(map(_is_nifti, map(path.with_suffix, (".hdr", ".HDR")))):
            return _SIDELESS
        pair, single = shlex.quote(path.name), shlex.quote(f"{path.stem}.nii.gz")
        return f"join the pair into one file: `nib-convert {pair} {single}`"
    return _SIZELESS if suffix in ARRAYS else CONVERT


def _is_nifti(header: Path) -> bool:
    """Return whether the header of a pair is NIfTI, and no older Analyze."""
    if not header.is_file():
        return False
    with open(header, "rb") as stream:
        return stream.read(_MAGIC_AT + len(_PAIRED))[_MAGIC_AT:] == _PAIRED
