"""Formats of others are refused by their names and makers, and the way that is told works."""

import pathlib
import re

import numpy as np
import PIL
import pytest
import tifffile
from PIL import Image
from scipy.io import netcdf_file

from diffusionblend.errors import UnsupportedInput
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from support.commands import command
from support.imported import assert_is
from support.measured import ROWS, VIEWS, lines, write_geometry


@pytest.mark.parametrize(
    ("name", "held", "words"),
    [
        ("scan.pca", b"[General]\r\n", "phoenix scan (Waygate, GE)"),
        ("scan.vgi", b"{volume1}\n[representation]\n", "VGStudio's text of a volume"),
        ("proj.mha", b"ObjectType = Image\nNDims = 3\n", "MetaImage, as RTK writes projections"),
        ("tilt.mrc", bytes(2048), "MRC, the tilt series of electron microscopes"),
        ("tilt.rec", bytes(2048), "a tomogram of IMOD, which is a volume; expected projections"),
        ("scan.nc", b"CDF\x01" + bytes(100), "NetCDF; save its projections"),
        ("scan.edf", b"{\nHeaderID = EH:000001:000000:000000 ;\n}\n", "EDF of the ESRF"),
        ("scan.fits", b"SIMPLE  =                    T" + bytes(100), "FITS; write each as TIFF"),
        ("scan.raw", bytes(1000), "numbers without a header"),
        ("scan.his", b"\x00\x70" + bytes(500), "HIS of PerkinElmer detectors (Elekta)"),
        ("proj.xim", b"VMS.XI  " + bytes(200), "XIM, HNC, HND or ATT of Varian"),
        ("proj.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG; write each as TIFF"),
        ("proj.bmp", b"BM" + bytes(100), "BMP, a picture of 8 bits; write each as TIFF"),
        ("sino.csv", b"1.0,2.0\n1.5,2.5\n", "a text; save its projections as .npy"),
        ("proj.nrrd", b"NRRD0004\ntype: float\n", "NRRD; save its projections as .npy"),
        ("proj.jpg", b"\xff\xd8\xff\xe0" + bytes(100), "JPEG, a lossy picture of 8 bits"),
        (
            "geometry.xml",
            b'<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>',
            "by --geometry FILE, and the projections",
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


def test_a_folder_is_named_by_its_pictures_not_by_its_notes(tmp_path):
    (tmp_path / "angles.txt").write_text("0\n90\n")
    (tmp_path / "p0.bmp").write_bytes(b"BM" + bytes(100))
    with pytest.raises(UnsupportedInput, match=r"holds p0\.bmp, which is BMP"):
        import_scan(tmp_path)


def test_ways_of_scipy_and_numpy(tmp_path):
    y = lines()
    with netcdf_file(tmp_path / "c.nc", "w") as file:
        for axis, length in zip("zyx", y.shape, strict=True):
            file.createDimension(axis, length)
        file.createVariable("array_data", "f4", tuple("zyx"))[:] = y
    y.tofile(tmp_path / "d.raw")
    for name in ("c.nc", "d.raw"):
        with pytest.raises(UnsupportedInput, match=r"save its projections as \.npy"):
            import_scan(tmp_path / name)
    with netcdf_file(tmp_path / "c.nc", mmap=False) as file:
        from_netcdf = file.variables["array_data"][:].copy()
    write_geometry(tmp_path, quantity="line-integrals")
    for saved in (
        from_netcdf,
        np.fromfile(tmp_path / "d.raw", "f4").reshape(VIEWS, ROWS, -1),
    ):
        np.save(tmp_path / "p.npy", saved)
        assert_is(import_scan(tmp_path / "p.npy", Options(order="view,row,bin")))


def test_a_folder_of_png_becomes_one_of_tiff(tmp_path):
    """By the line that the refusal tells, which wrote all views into one file."""
    whole = np.round(lines() * 1e4).astype(np.uint16)
    for view, picture in enumerate(whole):
        Image.fromarray(picture).save(tmp_path / f"p{view}.png")
    with pytest.raises(UnsupportedInput, match=r"holds p0\.png, which is PNG") as caught:
        import_scan(tmp_path)
    line = re.search(r"tifffile: (\[.*\]);", str(caught.value))
    known = {"tifffile": tifffile, "numpy": np, "pathlib": pathlib, "PIL": PIL}
    eval(line[1], known | {"FOLDER": tmp_path})
    write_geometry(tmp_path, quantity="line-integrals")
    assert import_scan(tmp_path).y.transpose(1, 0, 2) == pytest.approx(whole)
