"""Damaged projections: one line with its exit code, little memory and time, nothing written."""

import io
import json
import os
import struct
import time
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from diffusionblend.cli.commands import Import
from diffusionblend.errors import CorruptInput, DiffusionBlendError, UnsupportedInput
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from support.commands import command, contents
from support.measured import PARALLEL, counts, lines, write_exchange, write_geometry, write_tiffs
from support.scanners import write_txrm

CORRUPT, UNSUPPORTED = CorruptInput.code, UnsupportedInput.code
LINES, ORDER = "line-integrals", ["view", "row", "bin"]
MEMORY, SECONDS = 60e6, 5.0


def exchange(folder):
    return write_exchange(folder / "a.h5")


def tiff(folder):
    write_geometry(folder, quantity=LINES, order=ORDER)
    tifffile.imwrite(folder / "a.tif", lines(), photometric="minisblack")
    return folder / "a.tif"


def npy(folder):
    write_geometry(folder, quantity=LINES, order=ORDER)
    np.save(folder / "a.npy", lines())
    return folder / "a.npy"


def npz(folder):
    write_geometry(folder, quantity=LINES, order=ORDER)
    np.savez_compressed(folder / "a.npz", lines())
    return folder / "a.npz"


def geometry(folder):
    np.save(folder / "a.npy", lines())
    return write_geometry(folder, quantity=LINES, order=ORDER, file="a.npy")


def txrm(folder):
    y = lines()
    white = np.full(y.shape[1:], 1000.0)
    stated = {"ImageInfo/XrayGeometry": struct.pack("<i", 0),
              "ImageInfo/PixelSize": struct.pack("<f", 1000)}  # fmt: skip
    return write_txrm(folder / "a.txrm", (white * np.exp(-y)).astype("<f4"), white, **stated)


def mat(folder):
    write_geometry(folder, quantity=LINES, order=ORDER)
    savemat(folder / "a.mat", {"p": lines()})
    return folder / "a.mat"


def packed_mat(folder):
    write_geometry(folder, quantity=LINES, order=ORDER)
    savemat(folder / "a.mat", {"p": lines()}, do_compression=True)
    return folder / "a.mat"


SOURCES = {f.__name__: f for f in (exchange, tiff, npy, npz, geometry, txrm, mat, packed_mat)}


def assert_refused(place, source, codes, *words):
    """The command fails, soon, with little memory, and writes nothing."""
    before = contents(place)
    run = Import(source=source, output=place / "o.h5", bin_mm=1.0, centre="none").run
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(DiffusionBlendError) as caught:
        run()
    seconds, (_, most) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code in codes, caught.value
    for word in words:
        assert word in str(caught.value)
    assert contents(place) == before
    assert most < MEMORY
    assert seconds < SECONDS


DAMAGE = {
    "empty": lambda raw: b"",
    "one byte": lambda raw: raw[:1],
    "header only": lambda raw: raw[:64],
    "half": lambda raw: raw[: len(raw) // 2],
    "without its end": lambda raw: raw[:-200],
    "wrong magic": lambda raw: b"\x00nope\x00\x00\x00" + raw[8:],
    "zeros": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_command_takes_a_source_and_says_its_damage_in_one_line(place, kind):
    source = SOURCES[kind](place)
    arguments = ("import", source, "-o", place / "o.h5", "--bin-mm", "1")
    assert command(*arguments).code == 0
    (place / "o.h5").unlink()
    source.write_bytes(source.read_bytes()[:100])
    ended = command(*arguments)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (CORRUPT, "", 1)
    assert ended.err.startswith(f"diffusionblend: {source}: ")
    assert not (place / "o.h5").exists()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_damaged_source(place, kind, damage):
    source = SOURCES[kind](place)
    source.write_bytes(DAMAGE[damage](source.read_bytes()))
    fewer = kind == "tiff" and damage == "half"  # pages, fewer than angles
    assert_refused(place, source, {UNSUPPORTED if fewer else CORRUPT}, source.name)


@pytest.mark.parametrize("kind", SOURCES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 400),
)
def test_any_flipped_bytes(tmp_path_factory, kind, changes, end):
    """Whatever the bytes of the header: a scan, or a failure of ours."""
    folder = tmp_path_factory.mktemp("fuzz")
    source = SOURCES[kind](folder)
    raw = bytearray(source.read_bytes())
    for at, value in changes:
        raw[at % len(raw)] = value
    source.write_bytes(raw[: len(raw) - end])
    said = ""
    try:
        scan = import_scan(source, Options(bin_mm=1.0, centre="none"))
    except DiffusionBlendError as error:
        said = str(error)
    assert str(folder) in said or said.startswith("--") or np.isfinite(scan.y).all()


# HDF5


def with_data(folder, **settings):
    """Make a Data Exchange file whose data are a dataset made with these settings."""
    path = write_exchange(folder / "a.h5", data=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("exchange/data", **settings)
    return path


HUGE = (10**5, 10**4, 10**4)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"shape": HUGE, "dtype": "u2", "chunks": (1, 100, 100)}, CORRUPT, "its header says"),
        ({"shape": (0, 3, 57), "dtype": "u2"}, UNSUPPORTED, "has the shape (0, 3, 57)"),
        ({"data": np.ones((12, 57), "u2")}, UNSUPPORTED, "projections have (1, 57) pixels"),
        ({"data": np.zeros((12, 3, 57), "c8")}, UNSUPPORTED, "its values are complex64"),
        ({"data": np.full((12, 3, 57), np.nan)}, CORRUPT, "dead or not numbers"),
        ({"data": np.full((12, 3, 57), b"x")}, UNSUPPORTED, "its values are |S1"),
        ({"data": 3.0}, UNSUPPORTED, "has the shape ()"),
    ],
)
def test_hdf5_that_claims_what_it_has_not(place, settings, code, words):
    assert_refused(place, with_data(place, **settings), {code}, "a.h5", words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"theta": np.full(12, np.nan)}, "the angle of view 0 is nan"),
        ({"theta": np.zeros(5)}, "has 5 angles for 12 views"),
        ({"theta": None}, "nothing states the angles of its 12 views"),
        ({"data": None}, "has no /exchange/data"),
        (
            {"data_white": np.ones((2, 3, 9))},
            "has the shape (2, 3, 9), but the projections have (3, 57) pixels",
        ),
        ({"data_white": np.zeros((2, 3, 57))}, "air has 0 counts, no rays 100"),
    ],
)
def test_hdf5_whose_parts_do_not_fit(place, change, words):
    source = write_exchange(place / "a.h5", **change)
    assert_refused(place, source, {CORRUPT, UNSUPPORTED}, "a.h5", words)


@pytest.mark.parametrize("how", ["external link", "external storage", "virtual", "linked group"])
def test_hdf5_that_names_other_files(place, tmp_path, how):
    other = write_exchange(tmp_path / "secret.h5")
    path = write_exchange(place / "a.h5", data=None)
    with h5py.File(path, "a") as file:
        if how == "external link":
            file["exchange/data"] = h5py.ExternalLink(str(other), "/exchange/data")
        elif how == "linked group":
            del file["exchange"]
            file["exchange"] = h5py.ExternalLink(str(other), "/exchange")
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape=(12, 3, 57), dtype="f4")
            layout[:] = h5py.VirtualSource(str(other), "exchange/data", shape=(12, 3, 57))
            file.create_virtual_dataset("exchange/data", layout)
        else:
            place_in_file = [(str(other), 0, 12 * 3 * 57 * 4)]
            file.create_dataset("exchange/data", (12, 3, 57), "f4", external=place_in_file)
    assert_refused(place, path, {UNSUPPORTED}, "is in another file, which is not followed")


def test_hdf5_whose_link_leads_to_nothing(place):
    path = write_exchange(place / "a.h5", data=None)
    with h5py.File(path, "a") as file:
        file["exchange/data"] = h5py.SoftLink("/exchange/data")
    assert_refused(place, path, {CORRUPT, UNSUPPORTED}, "a.h5")


# NumPy


def npy_header(shape, descr="<f4", body=b""):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (118 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize("shape", [(10**6, 10**4, 10**4), (2**62, 4, 1), (-12, 3, 57), (0, 3, 57)])
@pytest.mark.parametrize("packed", [False, True])
def test_arrays_that_claim_what_they_have_not(place, shape, packed):
    source = npz(place) if packed else npy(place)
    raw = npy_header(shape, body=bytes(1000))
    if packed:
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("arr_0.npy", raw)
    else:
        source.write_bytes(raw)
    assert_refused(place, source, {CORRUPT, UNSUPPORTED}, source.name)


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_of_objects_are_never_unpickled(place, packed):
    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(place / "canary"),)

    source = npz(place) if packed else npy(place)
    buffer = io.BytesIO()
    save = np.savez if packed else np.save
    save(buffer, np.array([[[Canary()]]], dtype=object))
    source.write_bytes(buffer.getvalue())
    assert_refused(place, source, {CORRUPT, UNSUPPORTED}, source.name)
    assert not (place / "canary").exists()


def test_a_bomb_of_zeros(place):
    """A deflated array that inflates to a gigabyte and more is refused by what it claims."""
    source = npz(place)
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", npy_header((12, 3, 57), body=bytes(4)))
        archive.writestr("../../evil.npy", b"x")
    assert_refused(place, source, {CORRUPT, UNSUPPORTED}, source.name)


# TIFF


def entry(raw, tag, value):
    """Put a value into the first picture's entry of a little-endian TIFF."""
    at = struct.unpack_from("<I", raw, 4)[0]
    header = bytearray(raw)
    for index in range(struct.unpack_from("<H", raw, at)[0]):
        place = at + 2 + 12 * index
        if struct.unpack_from("<H", raw, place)[0] == tag:
            kind = struct.unpack_from("<H", raw, place + 2)[0]
            struct.pack_into("<H" if kind == 3 else "<I", header, place + 8, value)
            return bytes(header)
    raise KeyError(tag)


WIDTH, HEIGHT, BITS, COMPRESSION, OFFSETS = 256, 257, 258, 259, 273


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (WIDTH, 0),
        (WIDTH, 60000),
        (HEIGHT, 0),
        (HEIGHT, 60000),
        (BITS, 7),
        (COMPRESSION, 50000),
        (COMPRESSION, 5),
        (OFFSETS, 2**31),
        (OFFSETS, 0),
    ],
)
def test_a_picture_that_claims_what_it_has_not(place, tag, value):
    folder = write_tiffs(place / "views", lines())
    write_geometry(folder, quantity=LINES, order=ORDER)
    picture = folder / "view_3.tif"
    picture.write_bytes(entry(picture.read_bytes(), tag, value))
    assert_refused(place, folder, {CORRUPT, UNSUPPORTED}, "view_3.tif")


@pytest.mark.parametrize(
    ("name", "pixels", "settings"),
    [
        ("view_3.tif", np.zeros((3, 9), np.float32), {}),
        ("view_3.tif", np.zeros((3, 57), np.uint16), {}),
        ("view_3.tif", np.zeros((3, 57, 3), np.float32), {"photometric": "rgb"}),
        ("view_3.tif", np.zeros((2, 3, 57), np.float32), {"photometric": "minisblack"}),
        ("view_3.tif", np.zeros((3, 57), np.float32), {"photometric": "miniswhite"}),
        ("view_30.tif", np.zeros((3, 57), np.float32), {}),
    ],
)
def test_pictures_that_do_not_fit_the_others(place, name, pixels, settings):
    folder = write_tiffs(place / "views", lines())
    write_geometry(folder, quantity=LINES, order=ORDER)
    tifffile.imwrite(folder / name, pixels, **settings)
    assert_refused(place, folder, {UNSUPPORTED}, "views")


def test_pages_in_a_circle(place):
    source = tiff(place)
    raw = bytearray(source.read_bytes())
    first = struct.unpack_from("<I", raw, 4)[0]
    length = struct.unpack_from("<H", raw, first)[0]
    struct.pack_into("<I", raw, first + 2 + 12 * length, first)
    source.write_bytes(raw)
    assert_refused(place, source, {CORRUPT, UNSUPPORTED}, "a.tif")


# geometry.json


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bin_mm": 0}, "bin_mm"),
        ({"bin_mm": -1.0}, "bin_mm"),
        ({"bin_mm": "NaN"}, "bin_mm"),
        ({"bin_mm": 1e300}, "bin_mm"),
        ({"row_mm": -2.0}, "row_mm"),
        ({"offset_mm": 1e400}, ""),
        ({"angles_deg": []}, "angles_deg is empty or has NaN"),
        ({"angles_deg": [1.0, 2.0]}, "2 angles for 12 views"),
        ({"angles_deg": {"start": 0, "step": 1, "count": 10**12}}, "count"),
        ({"bins": 10**12}, "bins"),
        ({"bins": 58}, "the geometry states 58 bins, but the projections have 57"),
        ({"schema": "diffusionblend-geometry/9"}, "schema"),
        ({"kind": "helix"}, "kind"),
        ({"kind": "fan"}, "sod_mm"),
        ({"kind": "fan", "sod_mm": -3.0, "sdd_mm": 200.0, "detector": "flat"}, "sod_mm"),
        ({"kind": "fan", "sod_mm": 10.0, "sdd_mm": 20.0, "detector": "flat"}, "inside the slices"),
        ({"bin_cm": 1.0}, "bin_cm"),
        ({"mu_water_per_mm": -1.0}, "mu_water"),
    ],
)
def test_a_geometry_that_cannot_be(place, changes, words):
    source = geometry(place)
    known = json.loads(source.read_text(encoding="utf-8"))
    source.write_text(json.dumps(known | changes).replace("Infinity", "1e400"))
    assert_refused(place, source, {CORRUPT, UNSUPPORTED}, words)


@pytest.mark.parametrize(
    "name", ["../a.npy", "/etc/passwd", "..", ".", "x\0y", "link.npy", "no.npy"]
)
def test_a_geometry_that_names_what_is_not_beside_it(place, tmp_path, name):
    source = geometry(place)
    np.save(tmp_path / "a.npy", lines())
    (place / "link.npy").symlink_to(tmp_path / "a.npy")
    write_geometry(place, quantity=LINES, order=ORDER, file=name)
    assert_refused(place, source, {CORRUPT})


def test_fields_that_are_not_beside_the_geometry(place):
    np.save(place / "a.npy", counts(lines()))
    data = {"quantity": "counts", "order": ORDER, "file": "a.npy", "white": "../white.npy"}
    assert_refused(place, write_geometry(place, **data), {CORRUPT}, "is outside the folder")


def test_json_of_a_million_brackets(place):
    (place / "geometry.json").write_text("[" * 10**6)
    assert_refused(place, place / "geometry.json", {CORRUPT}, "geometry.json")


@pytest.mark.parametrize("source", ["nothing.h5", ".", "views"])
def test_a_place_without_projections(place, source):
    (place / "views").mkdir()
    assert_refused(place, place / source, {CORRUPT})


def test_line_integrals_that_are_no_numbers(place):
    y = lines()
    y[2, 1, 7] = np.inf
    np.save(place / "a.npy", y)
    source = write_geometry(place, PARALLEL, quantity=LINES, order=ORDER, file="a.npy")
    ended = command("import", source, "-o", place / "o.h5", "--no-repair")
    assert ended.code == CORRUPT
    assert "contains NaN or infinity; leave --no-repair out" in ended.err
    assert not (place / "o.h5").exists()
