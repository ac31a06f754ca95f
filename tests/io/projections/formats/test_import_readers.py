"""Every source of projections, written by another library, gives the line integrals it holds."""

import json
import re

import h5py
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.dataset import FileMetaDataset

from diffusionblend.errors import CorruptInput, UnsupportedInput, UsageError
from diffusionblend.geometry import FanBeam, ParallelBeam
from diffusionblend.io.files import sha256
from diffusionblend.io.projections.importing import import_scan
from diffusionblend.io.projections.options import Options
from support.imported import assert_is, stated
from support.measured import (
    AIR,
    DARK,
    FAN,
    PARALLEL,
    ROWS,
    VIEWS,
    air,
    counts,
    lines,
    write_exchange,
    write_geometry,
    write_tiffs,
)
from support.phantoms import changed

LINES = "line-integrals"


def test_data_exchange(tmp_path):
    scan = import_scan(write_exchange(tmp_path / "a.h5"), stated())
    assert_is(scan)
    assert scan.mu_water is None
    assert scan.geometry.grid.spacing_mm == (1.5, 1.0, 1.0)


def test_data_exchange_as_published(tmp_path):
    """Whole counts of 16 bits, big-endian and compressed, in chunks."""
    whole = counts(lines()).round().astype(">u2")
    path = write_exchange(tmp_path / "a.h5", data=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("exchange/data", data=whole, chunks=(1, ROWS, 20), compression="gzip")
    assert_is(import_scan(path, stated()), atol=1 / AIR * np.exp(lines().max()))


@pytest.mark.parametrize(
    ("units", "given"), [("radians", None), ("rad", None), (None, "radians"), (b"deg", "radians")]
)
def test_angles_in_radians(tmp_path, units, given):
    path = write_exchange(tmp_path / "a.h5", units=units, theta=np.array(PARALLEL.beam.angles))
    assert_is(import_scan(path, stated(angles=given)))


def test_angles_that_look_like_radians_are_not_guessed(tmp_path):
    y = np.repeat(lines(), 2, axis=0)
    path = write_exchange(tmp_path / "a.h5", y, theta=np.linspace(0, np.pi, 2 * VIEWS))
    with pytest.raises(
        UnsupportedInput, match=r"a\.h5: .*`angles='radians'` or `angles='degrees'`"
    ):
        import_scan(path, stated())


@pytest.mark.parametrize("axes", ["theta:y:x", np.bytes_("theta:y:x"), "y:theta:x", "x:y:theta"])
def test_the_axes_that_a_file_states(tmp_path, axes):
    names = [str(axes, "ascii") if isinstance(axes, bytes) else axes][0].split(":")
    order = [("theta", "y", "x").index(name) for name in names]
    data = counts(lines()).transpose(order)
    path = write_exchange(tmp_path / "a.h5", data=data)
    with h5py.File(path, "a") as file:
        file["exchange/data"].attrs["axes"] = axes
    assert_is(import_scan(path, stated()))


def test_axes_that_are_not_known(tmp_path):
    path = write_exchange(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["exchange/data"].attrs["axes"] = "theta:energy:x"
    with pytest.raises(UnsupportedInput, match="its axes are 'theta:energy:x'; expected theta:y:x"):
        import_scan(path, stated())
    assert_is(import_scan(path, stated(order="view,row,bin")))


def test_angles_that_count_clockwise(tmp_path):
    path = write_exchange(tmp_path / "a.h5", theta=-np.array(PARALLEL.beam.angles_deg))
    assert_is(import_scan(path, stated(clockwise=True)))


def test_a_folder_of_tiff_with_fields(tmp_path):
    """View 10 comes after view 9; the fields are files of many pages."""
    folder = write_tiffs(tmp_path / "views", counts(lines()).astype(np.float32))
    white = np.repeat(air(PARALLEL.beam.bins)[None], 2, 0)
    tifffile.imwrite(tmp_path / "white.tif", white, photometric="minisblack")
    np.save(tmp_path / "dark.npy", np.full((1, ROWS, PARALLEL.beam.bins), DARK))
    data = {"quantity": "counts", "white": "white.tif", "dark": "dark.npy", "file": "views"}
    described = write_geometry(tmp_path, order=["view", "row", "bin"], **data)
    assert_is(import_scan(described))
    assert_is(import_scan(folder, Options(geometry=described)))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_sinograms(tmp_path, compression):
    sinograms = lines().transpose(1, 0, 2)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, sinograms, photometric="minisblack", compression=compression)
    write_geometry(tmp_path, quantity=LINES, order=["row", "view", "bin"])
    assert_is(import_scan(path))


def test_views_that_are_channels_of_one_page_are_made_pages_by_what_is_told(tmp_path):
    values = lines()
    settings = {"photometric": "minisblack", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "a.tif", values, **settings)
    write_geometry(tmp_path, quantity=LINES, order=["view", "row", "bin"])
    with pytest.raises(UnsupportedInput, match=f"not {len(values)} as channels of one; .*") as told:
        import_scan(tmp_path / "a.tif")
    assert "tifffile.imwrite(NEW, tifffile.imread(OLD), photometric='minisblack')" in str(
        told.value
    )
    (tmp_path / "new").mkdir()
    new = tmp_path / "new" / "a.tif"
    tifffile.imwrite(new, tifffile.imread(tmp_path / "a.tif"), photometric="minisblack")
    write_geometry(tmp_path / "new", quantity=LINES, order=["view", "row", "bin"])
    assert_is(import_scan(new))


@pytest.mark.parametrize("bits", [10, 12])
def test_packed_pixels_of_a_camera(tmp_path, bits):
    """Files of 12 bits a pixel were called damaged: they are shorter than with 16."""
    pytest.importorskip("imagecodecs")
    top = 2**bits - 1
    values = np.round(top * np.exp(-lines())).astype(np.uint16)
    path, cut = tmp_path / "a.tif", tmp_path / "cut.tif"
    tifffile.imwrite(path, values, photometric="minisblack", bitspersample=bits)
    write_geometry(tmp_path, quantity="counts", order=["view", "row", "bin"], i0=float(top))
    scan = import_scan(path)
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), -np.log(values / top), atol=1e-5)
    cut.write_bytes(path.read_bytes()[: values.nbytes // 3])
    with pytest.raises(CorruptInput, match=r"cut\.tif"):
        import_scan(cut)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_reduced_pages_of_a_tiff_are_no_views(tmp_path, step, first):
    """One of the same size was a view, and of another size the file was refused."""
    path, small = tmp_path / "a.tif", lines()[0, ::step, ::step]
    pages = [(view, 0) for view in lines()]
    pages.insert(0 if first else len(pages), (small, 1))
    with tifffile.TiffWriter(path) as file:
        for picture, kind in pages:
            file.write(picture, photometric="minisblack", subfiletype=kind, contiguous=False)
    write_geometry(tmp_path, quantity=LINES, order=["view", "row", "bin"])
    assert_is(import_scan(path))


@pytest.mark.parametrize("order", [("view", "row", "bin"), ("bin", "view", "row")])
def test_an_array_in_any_order(tmp_path, order):
    axes = ("view", "row", "bin")
    np.save(tmp_path / "a.npy", lines().transpose([axes.index(axis) for axis in order]))
    write_geometry(tmp_path, quantity=LINES, order=order)
    assert_is(import_scan(tmp_path / "a.npy"))


def test_one_array_of_several(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", y=lines(), z=np.zeros(3))
    order = ["view", "row", "bin"]
    write_geometry(tmp_path, quantity=LINES, order=order, array="y")
    assert_is(import_scan(tmp_path / "a.npz"))
    write_geometry(tmp_path, quantity=LINES, order=order)
    with pytest.raises(UnsupportedInput, match=r"a\.npz: holds 2 arrays \(y, z\)"):
        import_scan(tmp_path / "a.npz")


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_a_fan_of_one_row(tmp_path, detector):
    """A sinogram alone: 2 axes; angles in short."""
    fan = changed(FAN, detector=detector, axis_mm=0.4, offset_mm=-2.0)
    np.save(tmp_path / "a.npy", lines(fan)[:, 0])
    path = write_geometry(tmp_path, fan, quantity=LINES, order=["view", "bin"])
    told = json.loads(path.read_text(encoding="utf-8"))
    even = {"start": 0.0, "step": 360 / VIEWS, "count": VIEWS}
    path.write_text(json.dumps(told | {"angles_deg": even}))
    scan = import_scan(tmp_path / "a.npy")
    assert isinstance(scan.geometry.beam, FanBeam)
    assert scan.geometry.beam.sod_mm == fan.beam.sod_mm
    assert scan.geometry.beam.axis_mm == fan.beam.axis_mm
    assert scan.geometry.beam.detector == detector
    np.testing.assert_allclose(scan.y[0], lines(fan)[:, 0], atol=1e-6)


def test_views_rows_and_pixels_are_taken(tmp_path):
    path = write_exchange(tmp_path / "a.h5")
    scan = import_scan(path, stated(views=4, rows="1:3", size=20, pixel_mm=2.0))
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), lines()[::3, 1:3], atol=1e-5)
    assert scan.geometry.beam.angles_deg == PARALLEL.beam.angles_deg[::3]
    assert scan.geometry.grid.shape == (2, 20, 20)
    assert scan.geometry.grid.affine[2][3] == 1.5  # of the first row taken
    every = import_scan(path, stated(every=3, rows="1:3", size=20, pixel_mm=2.0))
    assert (every.y == scan.y).all()


def test_what_is_left_out_changes_nothing(tmp_path):
    """20 views of a scan are a scan of 20 views: no number comes from the others but the centre."""
    y = lines()
    path = write_exchange(tmp_path / "a.h5", y)
    rng = np.random.default_rng(0)
    wild = counts(y).astype(np.float32)
    others = [v for v in range(VIEWS) if v % 3]
    wild[others] *= rng.uniform(0.2, 3.0, (len(others), *y.shape[1:])).astype(np.float32)
    wild[:, 2] = 0
    another = write_exchange(tmp_path / "b.h5", y, data=wild)
    wish = stated(views=4, rows="0:2", stripes="median", bin=2)
    one, two = import_scan(path, wish), import_scan(another, wish)
    assert (one.y == two.y).all()
    assert (one.geometry, one.noise) == (two.geometry, two.noise)


def test_pixels_are_joined_where_they_lie(tmp_path):
    """Transmissions are averaged, and the joined bins lie in the middle of their parts."""
    path = write_exchange(tmp_path / "a.h5")
    scan = import_scan(path, stated(bin=3))
    shares = np.exp(-lines()[:, :, : PARALLEL.beam.bins // 3 * 3])
    expected = -np.log(shares.reshape(VIEWS, 3, -1, 3).mean((1, 3)))
    np.testing.assert_allclose(scan.y[0], expected, atol=1e-5)
    parts = PARALLEL.beam.positions_mm()[: PARALLEL.beam.bins // 3 * 3].reshape(-1, 3)
    np.testing.assert_allclose(scan.geometry.beam.positions_mm(), parts.mean(1), atol=1e-9)
    assert scan.geometry.grid.spacing_mm == (4.5, 3.0, 3.0)


# What nobody says is asked for by name, and what two say has to agree.


def saved(folder, **data):
    np.save(folder / "a.npy", lines())
    return write_geometry(folder, **({"order": ["view", "row", "bin"], "file": "a.npy"} | data))


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ({}, {}, "`quantity`: nothing states whether the numbers are counts or line integrals"),
        ({"quantity": "counts"}, {}, "nothing states the counts through air"),
        (
            {"quantity": LINES},
            {"quantity": "counts"},
            "`quantity='counts'`: geometry.json says other",
        ),
        ({"quantity": LINES}, {"bin_mm": 2.0}, "`bin_mm=2`: the geometry states 1"),
        ({"quantity": LINES}, {"views": 4, "every": 2}, "cannot be combined"),
        ({"quantity": LINES}, {"views": VIEWS + 1}, "`views=13`: expected 1 to 12"),
        ({"quantity": LINES}, {"rows": "2:9"}, "`rows='2:9'`: expected A:B with 0 <= A < B <= 3"),
        ({"quantity": LINES}, {"rows": "x"}, "`rows='x'`: expected A:B"),
        ({"quantity": LINES}, {"order": "row,row,bin"}, "`order='row,row,bin'`: "),
        ({"quantity": LINES}, {"centre": "left"}, "`centre='left'`: expected auto, none, or a bin"),
        ({"quantity": LINES}, {"bin": 100}, "`bin=100`: expected 1 to 57"),
        ({"quantity": LINES}, {"electronic": 2.0}, "`electronic`: is in units of photons"),
        ({"quantity": LINES}, {"pixel_mm": float("nan")}, "`pixel_mm=nan`: expected"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, data, options, words):
    source = saved(tmp_path, **data)
    with pytest.raises((UsageError, UnsupportedInput), match=re.escape(words)):
        import_scan(source, Options(**options))


def test_the_size_of_a_pixel_is_asked_for(tmp_path):
    with pytest.raises(UsageError, match="`bin_mm`: nothing states the size of a detector pixel"):
        import_scan(write_exchange(tmp_path / "a.h5"))


def test_the_sum_of_a_folder_is_that_of_its_projections(tmp_path):
    folder, below = tmp_path / "tiff", tmp_path / "tiff/below"
    source = {"quantity": LINES, "order": ["view", "row", "bin"]}
    write_tiffs(folder, lines())
    whole = sha256(folder)
    below.mkdir()
    (below / "of-another-scan.tif").write_bytes(b"1")
    write_geometry(folder, **source, sha256=whole)
    made = import_scan(folder)
    assert made.provenance["source_sha256"] == whole
    next(folder.glob("*.tif")).unlink()
    with pytest.raises(CorruptInput, match="its SHA-256 differs from the one in its geometry"):
        import_scan(folder)


def test_a_geometry_of_other_data(tmp_path):
    source = saved(tmp_path, quantity=LINES, sha256="0" * 64)
    with pytest.raises(
        CorruptInput, match=r"a\.npy: its SHA-256 differs from the one in its geometry"
    ):
        import_scan(source)
    saved(tmp_path, quantity=LINES, sha256=sha256(tmp_path / "a.npy"))
    assert isinstance(import_scan(source).geometry.beam, ParallelBeam)
    np.save(tmp_path / "b.npy", lines())
    with pytest.raises(CorruptInput, match=r"is the geometry of a\.npy, not of b\.npy"):
        import_scan(tmp_path / "b.npy")


def test_a_scan_of_ours_is_no_source(data):
    with pytest.raises(UnsupportedInput, match="is already a scan; give it to `reconstruct`"):
        import_scan(data.scan)


# DICOM


def write_dicom(path, *private):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    header = pydicom.Dataset()
    header.file_meta = meta
    header.Modality = "CT"
    for group, element, kind, value in private:
        header.add_new((group, element), kind, value)
    header.save_as(path, enforce_file_format=True)


def test_dicom_ct_pd_is_refused_by_name(tmp_path):
    """As Chen et al. (2015) write it: rows in (7029,1010), the detector's angle in (7031,1001)."""
    write_dicom(
        tmp_path / "1.dcm",
        (0x7029, 0x0010, "LO", "MAYO CT PD"),
        (0x7029, 0x1010, "US", 64),
        (0x7031, 0x1001, "FL", 1.5),
    )
    for source in (tmp_path, tmp_path / "1.dcm"):
        with pytest.raises(UnsupportedInput, match="is DICOM-CT-PD: projections of a helix"):
            import_scan(source)


def test_a_ct_series_is_no_projections(tmp_path):
    write_dicom(tmp_path / "1.dcm")
    with pytest.raises(UnsupportedInput, match="is DICOM, but not projections; `simulate` reads"):
        import_scan(tmp_path)


def test_an_array_of_more_than_three_axes(tmp_path):
    """No order of three axes is that of four: what helps is another array."""
    np.save(tmp_path / "p.npy", lines()[:, None])
    options = {"order": "view,row,bin", "quantity": LINES, "arc": 180.0}
    with pytest.raises(UnsupportedInput, match=r"save it .*; numpy\.squeeze"):
        import_scan(tmp_path / "p.npy", stated(**options))
    np.save(tmp_path / "p.npy", np.squeeze(np.load(tmp_path / "p.npy")))
    assert import_scan(tmp_path / "p.npy", stated(**options)).y.shape == (ROWS, VIEWS, 57)
