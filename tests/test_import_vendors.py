"""Formats of others are refused by their names and makers, and the way that is told works."""

import json

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.io import loadmat, netcdf_file, savemat

from conftest import command
from diffusionblend.errors import DiffusionBlendError, UnsupportedInput
from diffusionblend.geometry import ConeBeam
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from measured import ROWS, VIEWS, lines, write_geometry, write_tiffs
from test_import_readers import assert_is

XTEKCT = "\n".join([
    "[XTekCT]", "Name=scan", "SrcToObject=120.5", "SrcToDetector=980.2", "DetectorPixelSizeX=0.2",
    "DetectorPixelSizeY=0.25", "Projections=12", "InitialAngle=5", "AngularStep=30",
])  # fmt: skip
SKYSCAN = "\n".join([
    "[System]", "Scanner=SkyScan1176", "[Acquisition]", "Number of Files=  12",
    "Object to Source (mm)=120.000", "Camera to Source (mm)=165.000", "Rotation Step (deg)=30.000",
])  # fmt: skip


def hdf5_behind_a_header(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["CtDataFull/sinogram"] = lines()
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM")


@pytest.mark.parametrize(
    ("name", "held", "words"),
    [
        ("scan.xtekct", XTEKCT.encode(), "Nikon's text of an XT H scan; import the folder of its"),
        (
            "scan.log",
            SKYSCAN.encode(),
            "the log of a Bruker SkyScan; import the folder of its TIFF",
        ),
        ("scan.pca", b"[General]\r\n", "phoenix scan (Waygate, GE)"),
        ("scan.vgi", b"{volume1}\n[representation]\n", "VGStudio's text of a volume"),
        ("scan.txrm", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4096), "Zeiss Xradia's TXRM"),
        ("proj.mha", b"ObjectType = Image\nNDims = 3\n", "MetaImage, as RTK writes projections"),
        ("tilt.mrc", bytes(2048), "MRC, the tilt series of electron microscopes"),
        ("scan.nc", b"CDF\x01" + bytes(100), "NetCDF; save its projections"),
        ("scan.edf", b"{\nHeaderID = EH:000001:000000:000000 ;\n}\n", "EDF of the ESRF"),
        ("scan.fits", b"SIMPLE  =                    T" + bytes(100), "FITS; write it as TIFF"),
        ("scan.raw", bytes(1000), "numbers without a header"),
        ("scan.his", b"\x00\x70" + bytes(500), "HIS of PerkinElmer detectors (Elekta)"),
        ("proj.xim", b"VMS.XI  " + bytes(200), "XIM, HNC, HND or ATT of Varian"),
        ("proj.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG; write it as TIFF"),
        ("proj.jpg", b"\xff\xd8\xff\xe0" + bytes(100), "JPEG, a picture of 8 bits with losses"),
        (
            "a.mat",
            b"MATLAB 5.0 MAT-file, Platform: PCWIN64" + bytes(200),
            "MATLAB's MAT-file; save",
        ),
        ("b.mat", b"MATLAB 7.3 MAT-file, Platform: PCWIN64" + bytes(200), "of version 7.3"),
        (
            "geometry.xml",
            b'<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>',
            "--geometry FILE beside",
        ),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_a_vendor_is_named(place, name, held, words, folder):
    (place / name).write_bytes(held)
    ended = command("import", place if folder else place / name, "-o", place / "s.h5")
    assert ended.code == 4
    assert words in ended.err
    assert name in ended.err
    assert ended.err.count("\n") == 1


def test_ways_of_scipy_h5py_and_numpy(tmp_path):
    y = lines()
    savemat(tmp_path / "a.mat", {"m": y})
    hdf5_behind_a_header(tmp_path / "b.mat")
    with netcdf_file(tmp_path / "c.nc", "w") as file:
        for axis, length in zip("zyx", y.shape, strict=True):
            file.createDimension(axis, length)
        file.createVariable("array_data", "f4", tuple("zyx"))[:] = y
    y.tofile(tmp_path / "d.raw")
    for name in ("a.mat", "b.mat", "c.nc", "d.raw"):
        with pytest.raises(UnsupportedInput, match=r"save its projections as \.npy"):
            import_scan(tmp_path / name)
    with netcdf_file(tmp_path / "c.nc", mmap=False) as file:
        from_netcdf = file.variables["array_data"][:].copy()
    write_geometry(tmp_path, quantity="line-integrals")
    for saved in (
        loadmat(tmp_path / "a.mat")["m"],
        h5py.File(tmp_path / "b.mat")["CtDataFull/sinogram"][...],
        from_netcdf,
        np.fromfile(tmp_path / "d.raw", "f4").reshape(VIEWS, ROWS, -1),
    ):
        np.save(tmp_path / "p.npy", saved)
        assert_is(import_scan(tmp_path / "p.npy", Options(order="view,row,bin")))


def test_a_folder_of_png_becomes_one_of_tiff(tmp_path):
    whole = np.round(lines() * 1e4).astype(np.uint16)
    (tmp_path / "png").mkdir()
    for view, picture in enumerate(whole):
        Image.fromarray(picture).save(tmp_path / "png" / f"p{view}.png")
    with pytest.raises(UnsupportedInput, match=r"holds p0\.png, which is PNG"):
        import_scan(tmp_path / "png")
    (tmp_path / "tif").mkdir()
    for file in (tmp_path / "png").iterdir():
        values = np.asarray(Image.open(file))
        tifffile.imwrite(tmp_path / "tif" / f"{file.stem}.tif", values)
    write_geometry(tmp_path / "tif", quantity="line-integrals")
    assert import_scan(tmp_path / "tif").y.transpose(1, 0, 2) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [("s.xtekct", XTEKCT, (120.5, 980.2, 0.2, 5.0)), ("s.log", SKYSCAN, (120.0, 165.0, 0.2, 0.0))],
)
def test_the_numbers_of_a_vendor_go_into_a_geometry(tmp_path, name, text, expected):
    """Beside its TIFF, a vendor's text is pointed at where a number is asked for."""
    folder = write_tiffs(tmp_path / "f", lines())
    (folder / name).write_text(text)
    for options in ({}, {"bin_mm": 0.2}):  # the size of a pixel is asked for, then the angles
        with pytest.raises(DiffusionBlendError, match=f"{name} is .* is sod_mm of a cone"):
            import_scan(folder, Options(quantity="line-integrals", **options))
    sod, sdd, pixel, start = expected
    facts = {
        "schema": "diffusionblend-geometry/1", "kind": "cone", "sod_mm": sod, "sdd_mm": sdd,
        "bin_mm": pixel, "row_mm": 0.25, "offset_mm": 0,
        "angles_deg": {"start": start, "step": 30, "count": 12},
        "data": {"quantity": "line-integrals"},
    }  # fmt: skip
    (folder / "geometry.json").write_text(json.dumps(facts))
    found = import_scan(folder).geometry
    assert isinstance(found.beam, ConeBeam)
    beam = found.beam
    assert (beam.sod_mm, beam.sdd_mm, beam.bin_mm, beam.angles_deg[0]) == expected
