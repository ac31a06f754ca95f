"""Every kind of file that is read: small ones of each kind, and what tells apart what was read."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tifffile
import torch
from pydicom import dcmread
from safetensors import safe_open
from scipy.io import savemat

from diffusionblend.experiments.recipe import read_recipe as read_experiment
from diffusionblend.io.projections.formats.rtk import read_rtk
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.prior.store import load_network, read_config
from diffusionblend.prior.unet import UNetPrior
from diffusionblend.runs.checkpoint import read_steps
from diffusionblend.runs.record import find_record
from diffusionblend.runs.state import read_state
from diffusionblend.training.recipe import read_recipe
from diffusionblend.training.state import read_training_state
from support import rtk, scanners
from support.disc import burned
from support.measured import PARALLEL, counts, lines, write_exchange, write_geometry, write_tiffs
from support.metaimage import write_mha

SEAL_BYTES = 87
LINES = {"quantity": "line-integrals", "order": ["view", "row", "bin"]}
STATED = {"bin_mm": 1.0, "row_mm": 1.5, "centre": "none", "air_bins": "none"}


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        file: Its place among those of `write_all`, and of what `torture` makes.
        read: Reads it, and returns what tells apart what was read.
        checked: Whether it has a checksum: no other value is ever read.
        walked: Whether it is HDF5 without one, or MATLAB's: another process walks through it first.
    """

    file: str
    read: Callable[[Path], bytes]
    checked: bool = False
    walked: bool = False


def tensors(read: dict[str, torch.Tensor]) -> bytes:
    return b"".join(name.encode() + read[name].numpy().tobytes() for name in sorted(read))


def prior_of(path: Path) -> bytes:
    network = load_network(path.parent, read_config(path.parent), UNetPrior)
    return tensors(network.state_dict()) + repr(network.config).encode()


def scan_of(path: Path) -> bytes:
    scan = read_scan(path)
    return scan.y.tobytes() + repr((scan.geometry, scan.noise, scan.mu_water)).encode()


def volume_of(path: Path) -> bytes:
    volume = read_volume(path)
    return volume.hu.tobytes() + repr(volume.grid).encode()


def folder_of(path: Path) -> bytes:
    return volume_of(path.parent)


def imported(path: Path, **more: object) -> bytes:
    scan = import_scan(path, Options(**more))
    return scan.y.tobytes() + repr(scan.geometry).encode()


def counted(path: Path) -> bytes:
    return imported(path, **STATED)


def known(path: Path) -> bytes:
    return imported(path, centre="none", air_bins="none")


def with_air(path: Path) -> bytes:
    return imported(path, i0=60000, centre="none", air_bins="none")


@functools.cache
def decided(path: Path) -> dict:
    """Return what decides a training, as its whole state says it: before it is damaged."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["state"])["run"]


OWN = {
    "scan.h5": Reader("chest.h5", scan_of, checked=True),
    "scan.h5 without its seal": Reader("unsealed.h5", scan_of, walked=True),
    "state of a reconstruction": Reader(
        "k.nii.gz.state", lambda p: tensors(read_state(p)[1]), checked=True
    ),
    "state of a training": Reader(
        "run/state.safetensors",
        lambda p: tensors(read_training_state(p, decided(p))[1]),
        checked=True,
    ),
    "weights": Reader("run/prior/model.safetensors", prior_of, checked=True),
    "config.json": Reader("run/prior/config.json", prior_of, checked=True),
    "steps.json": Reader("k.steps/steps.json", lambda p: repr(read_steps(p.parent)).encode()),
    "record": Reader(
        "r.nii.gz.json", lambda p: repr(find_record(p.with_name("r.nii.gz"))).encode()
    ),
    "recipe": Reader("recipe.toml", lambda p: repr(read_recipe(p)).encode()),
    "recipe of an experiment": Reader("tiny.toml", lambda p: repr(read_experiment(p)).encode()),
    "geometry.json": Reader("raw/geometry.json", lambda p: imported(p.with_name("y.npy"))),
}
VOLUMES = {
    ".nii": Reader("v.nii", volume_of),
    ".nii.gz": Reader("v.nii.gz", volume_of, checked=True),
    ".nrrd": Reader("v.nrrd", volume_of),
    ".mha": Reader("v.mha", volume_of),
    "DICOM": Reader("series/0001.dcm", folder_of),
    "DICOMDIR": Reader("disc/DICOMDIR", volume_of),
    "OME-Zarr": Reader("v.ome.zarr/.zattrs", folder_of),
    "Zarr": Reader("v.ome.zarr/0/.zarray", lambda p: volume_of(p.parents[1])),
}
PROJECTIONS = {
    "TIFF": Reader("tiff/a.tif", imported),
    "Data Exchange": Reader("exchange/a.h5", counted, walked=True),
    "NXtomo": Reader("nexus/a.nxs", counted, walked=True),
    ".mat": Reader("mat/a.mat", imported, walked=True),
    ".xtekct": Reader("nikon/scan.xtekct", with_air),
    ".log": Reader("skyscan/scan.log", with_air),
    ".txrm": Reader("zeiss/a.txrm", known),
    "RTK": Reader("rtk/geometry.xml", lambda p: repr(read_rtk(p)).encode()),
}
READERS = OWN | VOLUMES | PROJECTIONS


def write_all(folder: Path) -> None:
    """Make the files of others, beside those of a small experiment (`chest.nii.gz`, `chest.h5`)."""
    volume = read_volume(folder / "chest.nii.gz").slices(0, 3).binned(4)
    for name in ("v.nii", "v.nii.gz", "v.nrrd", "v.ome.zarr", "series"):
        write_volume(volume, folder / name)
    burned(folder / "disc", [dcmread(path) for path in sorted((folder / "series").iterdir())])
    write_mha(folder / "v.mha", volume.hu.T.astype(np.int16))
    (folder / "unsealed.h5").write_bytes((folder / "chest.h5").read_bytes()[:-SEAL_BYTES])
    for name in ("tiff", "exchange", "nexus", "mat", "zeiss", "rtk"):
        (folder / name).mkdir()
    _write_projections(folder)


def _write_projections(folder: Path) -> None:
    y = lines()
    write_geometry(folder / "tiff", **LINES)
    tifffile.imwrite(folder / "tiff/a.tif", y, photometric="minisblack")
    write_exchange(folder / "exchange/a.h5", units="deg")
    _write_nexus(folder / "nexus/a.nxs", counts(y))
    write_geometry(folder / "mat", **LINES)
    savemat(folder / "mat/a.mat", {"p": y})
    shown = np.round(60000 * np.exp(-y)).astype(np.uint16)
    write_tiffs(folder / "nikon", shown)
    (folder / "nikon/scan.xtekct").write_text(
        scanners.xtekct(DetectorPixelsX=y.shape[2], DetectorPixelsY=y.shape[1])
    )
    write_tiffs(folder / "skyscan", shown)
    (folder / "skyscan/scan.log").write_text(scanners.skyscan(*y.shape[1:]))
    scanners.write_txrm(folder / "zeiss/a.txrm", shown.astype("<f4"), np.full(y.shape[1:], 60000.0))
    (folder / "rtk/geometry.xml").write_text(rtk.xml())


def _write_nexus(path: Path, values: np.ndarray) -> None:
    air, views = np.full((1, *values.shape[1:]), 24000.0), len(values)
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry1/tomo_entry/instrument/detector")
        detector["data"] = np.concatenate([air, np.full_like(air, 100.0), values]).astype("f4")
        detector["image_key"] = [1, 2] + [0] * views
        angles = [0.0, 0.0, *PARALLEL.beam.angles_deg]
        file["entry1/tomo_entry/sample/rotation_angle"] = angles
        file["entry1/tomo_entry/sample/rotation_angle"].attrs["units"] = "deg"
