"""Layouts of HDF5: Data Exchange as it varies, NXtomo, CIL: read, or refused with a cure."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from diffusionblend.errors import (
    CorruptInput,
    DiffusionBlendError,
    UnsupportedInput,
    UsageError,
)
from diffusionblend.geometry import ConeBeam
from diffusionblend.io.projections.formats import hdf5
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
)

ANGLES = np.array(PARALLEL.beam.angles_deg)
WHITE, NO_RAYS = air(PARALLEL.beam.bins), np.full((ROWS, PARALLEL.beam.bins), DARK)


def extended(path, values):
    with h5py.File(path, "a") as file:
        for name, value in values.items():
            file[name] = value
    return path


# Data Exchange


def test_fields_of_one_picture(tmp_path):
    path = write_exchange(tmp_path / "a.h5", data_white=WHITE, data_dark=NO_RAYS)
    assert_is(import_scan(path, stated()))


def test_fields_of_no_pictures_are_none(tmp_path):
    """Programs make the data sets and fill them only if fields were measured."""
    none = np.zeros((0, *WHITE.shape), np.uint16)
    path = write_exchange(tmp_path / "a.h5", data_white=none, data_dark=none)
    scan = import_scan(path, stated(i0=2e4, quantity="counts"))
    assert scan.provenance["corrections"].startswith("air 20000 counts, no dark field")
    with pytest.raises(UsageError, match="nothing states whether the numbers are counts"):
        import_scan(path, stated())


@pytest.mark.parametrize("fields", ["of views", "of rows"])
def test_sinograms_are_known_by_the_number_of_angles(tmp_path, fields):
    white = np.repeat(WHITE[None], 2, 0)
    path = write_exchange(
        tmp_path / "a.h5",
        data=counts(lines()).transpose(1, 0, 2),
        data_white=white if fields == "of views" else white.transpose(1, 0, 2),
    )
    scan = import_scan(path, stated(rows="0:2"))
    np.testing.assert_allclose(scan.y, lines().transpose(1, 0, 2)[:2], atol=1e-5)
    assert "axes taken for row, view, bin" in scan.provenance["remarks"]


def test_the_order_may_be_given(tmp_path):
    path = write_exchange(tmp_path / "a.h5", data=counts(lines()).transpose(2, 1, 0))
    assert_is(import_scan(path, stated(order="bin,row,view")))


def test_axes_that_matlab_turned_are_told_by_the_angles(tmp_path):
    """The white fields were blamed."""
    turned = {"data": counts(lines()), "data_white": WHITE[None], "data_dark": NO_RAYS[None]}
    path = write_exchange(tmp_path / "a.h5", **{n: v.T for n, v in turned.items()})
    with pytest.raises(
        UnsupportedInput, match="last axis has as many entries as there are angles; give"
    ):
        import_scan(path, stated())
    assert_is(import_scan(path, stated(order="bin,row,view")))


@pytest.mark.parametrize("units", [np.array([b"rad"]), np.array(["radian"], dtype=object), "Rad "])
def test_units_may_be_an_array_of_one(tmp_path, units):
    path = write_exchange(tmp_path / "a.h5", theta=np.radians(ANGLES), units=units)
    assert_is(import_scan(path, stated()))


def test_empty_units_are_none(tmp_path):
    assert_is(import_scan(write_exchange(tmp_path / "a.h5", units=""), stated()))


@pytest.mark.parametrize("start", [0.0, -90.0])
def test_the_first_angle_and_the_step_of_tomoscan(tmp_path, start):
    path = write_exchange(tmp_path / "a.h5", theta=None)
    place = "process/acquisition/rotation/"
    named = {"rotation_start": start, "rotation_step": 15.0, "num_angles": VIEWS}
    extended(path, {place + name: value for name, value in named.items()})
    found = import_scan(path, stated()).geometry.beam.angles_deg
    assert found == pytest.approx(start + 15.0 * np.arange(VIEWS))


def test_one_value_for_all_white_fields(tmp_path):
    flat = DARK + (AIR - DARK) * np.exp(-lines().astype(np.float64))
    path = write_exchange(tmp_path / "a.h5", data=flat, data_white=None)
    extended(path, {"process/acquisition/flat_fields/flat_field_value": AIR})
    assert_is(import_scan(path, stated()))


@pytest.mark.parametrize(
    ("theta", "words"),
    [
        (None, "nothing states the angles of its 12 views"),
        (np.r_[ANGLES, [0.0] * 4], "/exchange/theta has 16 angles for 12 views; nothing states"),
    ],
)
def test_angles_that_are_not_there_can_be_given(tmp_path, theta, words):
    path = write_exchange(tmp_path / "a.h5", theta=theta)
    with pytest.raises(CorruptInput, match='add "angles_deg" to its geometry') as caught:
        import_scan(path, stated())
    assert words in str(caught.value)
    assert_is(import_scan(path, Options(geometry=write_geometry(tmp_path, name="g.json"))))
    write_geometry(tmp_path)
    assert_is(import_scan(path))


def test_shares_of_air_are_counts_of_one(tmp_path):
    share = np.exp(-lines().astype(np.float64))
    path = write_exchange(tmp_path / "a.h5", data=share, data_white=None, data_dark=None)
    assert_is(import_scan(path, stated(quantity="counts", i0=1.0)))


def test_what_lies_in_another_file_is_copied(tmp_path):
    good = write_exchange(tmp_path / "good.h5")
    layout = h5py.VirtualLayout((VIEWS, ROWS, PARALLEL.beam.bins), "f4")
    layout[:] = h5py.VirtualSource(good, "exchange/data", layout.shape)
    path = write_exchange(tmp_path / "a.h5", data=None)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("exchange/data", layout)
    cure = r"new\['exchange/data'\] = old\['exchange/data'\]\[\.\.\.\]"
    with pytest.raises(UnsupportedInput, match=cure):
        import_scan(path, stated())
    whole = write_exchange(tmp_path / "b.h5", data=None)
    with h5py.File(path) as old, h5py.File(whole, "a") as new:
        new["exchange/data"] = old["exchange/data"][...]
    assert_is(import_scan(whole, stated()))


# NXtomo


def write_nxtomo(
    path, entry="entry1/tomo_entry", *, keys=None, frames=None, angles=None, unit=None, control=None
):
    """Write fields before and after, and among the projections frames that do not count."""
    y = counts(lines())
    if frames is None:
        frames = np.concatenate([[WHITE, NO_RAYS], y[:6], [WHITE * 0.5], y[6:], [WHITE]])
        keys = [1, 2, *[0] * 6, 3, *[0] * 6, 1]
        angles = [0, 0, *ANGLES[:6], 77, *ANGLES[6:], 180]
    with h5py.File(path, "w") as file:
        detector = file.create_group(f"{entry}/instrument/detector")
        detector["data"] = np.asarray(frames, np.float32)
        detector["image_key"] = keys
        if control is not None:
            detector["image_key_control"] = control
        file[f"{entry}/sample/rotation_angle"] = angles
        file[f"{entry}/data/data"] = h5py.SoftLink(f"/{entry}/instrument/detector/data")
        if unit:
            file[f"{entry}/sample/rotation_angle"].attrs["units"] = unit
    return path


@pytest.mark.parametrize("entry", ["entry1/tomo_entry", "entry", "entry0000"])
def test_nxtomo(tmp_path, entry):
    scan = import_scan(write_nxtomo(tmp_path / "a.nxs", entry), stated())
    assert_is(scan)
    assert scan.provenance["kind"] == "NXtomo HDF5"
    words = scan.provenance["corrections"]
    assert words.startswith("mean of 2 white fields, interpolated over the views between 2 times")
    assert "(as the source says), 1 dark field" in words
    assert "1 frames left out" in scan.provenance["remarks"]


@pytest.mark.parametrize(
    ("width", "units", "words"),
    [(1.2e-3, "m", "0.0012 m, which is `bin_mm=1.2`, unless optics magnify"),
     (650.0, "um", "650 um, which is `bin_mm=0.65`"),
     (3.0, "pixels", "3 pixels, unless optics magnify")],
)  # fmt: skip
def test_the_pixel_that_nxtomo_states_is_named_where_it_is_asked_for(tmp_path, width, units, words):
    """Files differ in whether it is that of the sensor, or of what that sees through optics."""
    path = write_nxtomo(tmp_path / "a.nxs", "entry")
    with h5py.File(path, "a") as file:
        file["entry/instrument/detector/x_pixel_size"] = width
        file["entry/instrument/detector/x_pixel_size"].attrs["units"] = units
    with pytest.raises(UsageError, match=f"`bin_mm`: .*x_pixel_size is {words}"):
        import_scan(path, stated(bin_mm=None))


def test_a_source_that_fades_between_the_fields_of_nxtomo(tmp_path):
    flux = 1 - 0.2 * (np.arange(VIEWS) + 0.5)[:, None, None] / VIEWS
    y = DARK + (counts(lines()) - DARK) * flux
    last = DARK + (WHITE - DARK) * 0.8
    path = write_nxtomo(
        tmp_path / "a.nxs", frames=np.concatenate([[WHITE, NO_RAYS], y, [last]]),
        keys=[1, 2, *[0] * VIEWS, 1], angles=[0, 0, *ANGLES, 180],
    )  # fmt: skip
    assert_is(import_scan(path, stated()), atol=0.02)


def test_views_that_were_taken_again_are_left_out(tmp_path):
    """They were taken for views of the scan, at the angles of others."""
    again = counts(lines())[[0, 6]]
    path = write_nxtomo(
        tmp_path / "a.nxs", frames=np.concatenate([[WHITE, NO_RAYS], counts(lines()), again]),
        keys=[1, 2, *[0] * (VIEWS + 2)], control=[1, 2, *[0] * VIEWS, -1, -1],
        angles=[0, 0, *ANGLES, ANGLES[0], ANGLES[6]],
    )  # fmt: skip
    scan = import_scan(path, stated())
    assert_is(scan)
    assert scan.provenance["remarks"].startswith("2 frames left out")
    assert "image_key_control differs" in scan.provenance["remarks"]


def test_views_and_rows_of_nxtomo(tmp_path):
    scan = import_scan(write_nxtomo(tmp_path / "a.nxs"), stated(views=4, rows="1:3"))
    np.testing.assert_allclose(scan.y.transpose(1, 0, 2), lines()[::3, 1:3], atol=1e-5)


def test_angles_of_the_projections_alone_in_radians(tmp_path):
    y = counts(lines())
    path = write_nxtomo(
        tmp_path / "a.nxs", frames=np.concatenate([[WHITE, NO_RAYS], y]),
        keys=[1, 2, *[0] * VIEWS], angles=np.radians(ANGLES), unit="rad",
    )  # fmt: skip
    assert_is(import_scan(path, stated()))


def test_fields_of_nxtomo_need_no_angles(tmp_path):
    frames = np.concatenate([[WHITE, NO_RAYS], counts(lines())])
    angles = np.array([np.nan, np.nan, *ANGLES])
    whole = {"frames": frames, "keys": [1, 2, *[0] * VIEWS]}
    assert_is(import_scan(write_nxtomo(tmp_path / "a.nxs", **whole, angles=angles), stated()))
    angles[5] = np.nan
    path = write_nxtomo(tmp_path / "b.nxs", **whole, angles=angles)
    with pytest.raises(CorruptInput, match="the angle of view 3 is nan"):
        import_scan(path, stated())


def test_the_order_of_frames_may_be_given(tmp_path):
    """It was ignored: rows became bins."""
    frames = np.concatenate([[WHITE, NO_RAYS], counts(lines())]).transpose(0, 2, 1)
    angles, keys = [0, 0, *ANGLES], [1, 2, *[0] * VIEWS]
    path = write_nxtomo(tmp_path / "a.nxs", frames=frames, keys=keys, angles=angles)
    assert_is(import_scan(path, stated(order="view,bin,row")))
    labels = ("angle", "vertical", "horizontal")
    path = write_cil(tmp_path / "b.nxs", lines().transpose(0, 2, 1), ANGLES, labels)
    assert_is(import_scan(path, stated(order="view,bin,row", quantity="line-integrals")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keys": [1, 2, 0]}, "expected one for each frame"),
        ({"control": [1, 2, 0]}, "image_key_control 3 values; expected one for each frame"),
        ({"keys": [1] * 14}, "marks no frame as a projection"),
        ({"angles": [0.0] * 3}, "has 3 angles for 14 frames; nothing states the angles"),
    ],
)
def test_nxtomo_whose_parts_do_not_fit(tmp_path, change, words):
    whole = {
        "frames": np.concatenate([[WHITE, NO_RAYS], counts(lines())]),
        "keys": [1, 2, *[0] * VIEWS],
        "angles": [0, 0, *ANGLES],
    }
    path = write_nxtomo(tmp_path / "a.nxs", **(whole | change))
    with pytest.raises(DiffusionBlendError, match=r"a\.nxs: ") as caught:
        import_scan(path, stated())
    assert words in str(caught.value)


def test_several_scans_in_one_file(tmp_path):
    path = write_nxtomo(tmp_path / "a.nxs", "one")
    with h5py.File(path, "a") as file:
        file.copy("one", "two")
    with pytest.raises(
        UnsupportedInput, match="holds 2 scans; expected one; copy the one you want"
    ):
        import_scan(path, stated())
    with h5py.File(path) as old, h5py.File(tmp_path / "b.nxs", "w") as new:
        old.copy("two", new)
    assert_is(import_scan(tmp_path / "b.nxs", stated()))


@pytest.mark.parametrize("part", ["instrument/detector/data", "sample/rotation_angle", "sample"])
def test_nxtomo_that_names_other_files(tmp_path, part):
    secret = write_nxtomo(tmp_path / "secret.nxs", "entry")
    path = write_nxtomo(tmp_path / "a.nxs", "entry")
    with h5py.File(path, "a") as file:
        del file[f"entry/{part}"]
        file[f"entry/{part}"] = h5py.ExternalLink(str(secret), f"/entry/{part}")
    with pytest.raises(UnsupportedInput, match="is in another file, which is not followed"):
        import_scan(path, stated())


# CIL


def write_cil(path, values, angles, labels=None, **attributes):
    with h5py.File(path, "w") as file:
        file["entry1/tomo_entry/data/data"] = values
        file["entry1/tomo_entry/data/rotation_angle"] = angles
        for axis, label in enumerate(labels or ()):
            attributes[f"dimension{axis}"] = label
        file["entry1/tomo_entry/data/data"].attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (lines(), None),
        (lines(), ("angle", "vertical", "horizontal")),
        (lines().transpose(1, 0, 2), ("vertical", "angle", "horizontal")),
        (lines().transpose(1, 0, 2), None),
    ],
)
def test_cil(tmp_path, values, labels):
    path = write_cil(tmp_path / "a.nxs", values, ANGLES, labels, geometry="parallel")
    assert_is(import_scan(path, stated(quantity="line-integrals")))


def test_cil_of_a_cone_needs_its_distances(tmp_path):
    path = write_cil(tmp_path / "a.nxs", lines(FAN), FAN.beam.angles_deg, geometry="cone")
    wish = {"quantity": "line-integrals", "centre": "none"}
    with pytest.raises(UnsupportedInput, match="its rays come from a point; give `geometry=FILE`"):
        import_scan(path, stated(**wish))
    (tmp_path / "g.json").write_text(
        '{"schema": "diffusionblend-geometry/1", "kind": "cone", "sod_mm": 150, "sdd_mm": 260}'
    )
    found = import_scan(path, stated(**wish, geometry=tmp_path / "g.json")).geometry
    assert isinstance(found.beam, ConeBeam)


def test_a_volume_of_cil_is_no_scan(tmp_path):
    labels = ("vertical", "horizontal_y", "horizontal_x")
    path = write_cil(tmp_path / "a.nxs", np.zeros((3, 4, 4)), [0.0], labels)
    with pytest.raises(UnsupportedInput, match="expected projections: angle, vertical and"):
        import_scan(path, stated())


# Other layouts, and filters


@pytest.mark.parametrize("order", [("view", "row", "bin"), ("row", "view", "bin")])
def test_an_array_by_its_place(tmp_path, order):
    """As some scanners write it: no angles, no keys."""
    axes = [("view", "row", "bin").index(axis) for axis in order]
    held = {"entry/detector/detector": lines().transpose(axes), "entry/spectrum": np.ones(4)}
    path = extended(tmp_path / "a.h5", held)
    with pytest.raises(UnsupportedInput, match=r'name its projections as "array" and') as caught:
        import_scan(path, stated())
    assert "/entry/detector/detector (" in str(caught.value)
    told = {"quantity": "line-integrals", "array": "/entry/detector/detector"}
    write_geometry(tmp_path, order=order, **told)
    assert_is(import_scan(path))
    write_geometry(tmp_path, **told)
    with pytest.raises(UnsupportedInput, match="nothing states what its axes are"):
        import_scan(path)


def test_an_array_that_is_not_there(tmp_path):
    path = extended(tmp_path / "a.h5", {"entry/data": lines()})
    write_geometry(tmp_path, quantity="line-integrals", order=["view", "row", "bin"], array="data")
    with pytest.raises(CorruptInput, match=r"has no array /data; holds /ent"):
        import_scan(path)


ORDER = ["view", "row", "bin"]


def own_layout(path):
    """Counts and their fields in one file, in a layout of its own."""
    parts = {"scan/seen": counts(lines()), "air/a": np.stack([WHITE] * 2), "air/none": NO_RAYS}
    return extended(path, parts)


def test_fields_in_the_file_of_the_projections(tmp_path):
    """No option and no geometry could name them."""
    path = own_layout(tmp_path / "a.h5")
    described = {"quantity": "counts", "order": ORDER, "array": "scan/seen"}
    write_geometry(tmp_path, **described, white="a.h5:/air/a", dark="a.h5:air/none")
    assert_is(import_scan(path))
    write_geometry(tmp_path, **described)
    assert_is(import_scan(path, white=f"{path}:/air/a", dark=f"{path}:/air/none"))
    fields = {"white": f"{path}:/air/a", "dark": f"{path}:/air/none"}
    assert_is(import_scan(path, **fields, white_after=f"{path}:/air/a"))


@pytest.mark.parametrize("suffix", ["npz", "mat"])
def test_fields_by_their_names_in_other_files(tmp_path, suffix):
    path = own_layout(tmp_path / "a.h5")
    held, file = {"air": WHITE, "none": NO_RAYS}, tmp_path / f"fields:1.{suffix}"
    with open(file, "wb") as out:
        np.savez(out, **held) if suffix == "npz" else savemat(out, held)
    write_geometry(tmp_path, quantity="counts", order=ORDER, array="scan/seen")
    assert_is(import_scan(path, white=f"{file}:air", dark=f"{file}:none"))
    with pytest.raises(UnsupportedInput, match=rf"or of fields as fields:1\.{suffix}:ARRAY"):
        import_scan(path, white=file)


def test_a_field_of_hdf5_has_to_be_named(tmp_path):
    path = own_layout(tmp_path / "a.h5")
    write_geometry(tmp_path, quantity="counts", order=ORDER, array="scan/seen")
    with pytest.raises(UnsupportedInput, match=r"a\.h5:/exchange/data_white; holds /air/a \(2, "):
        import_scan(path, white=path)
    with pytest.raises(CorruptInput, match=r"has no array /air/b; holds /air/a \(2, "):
        import_scan(path, white=f"{path}:/air/b")
    with pytest.raises(CorruptInput, match=r"b\.h5:/air/a: no such file or folder; expected TIFF"):
        import_scan(path, white=tmp_path / "b.h5:/air/a")


@pytest.mark.parametrize("white", ["../a.h5:/air/a", "link.h5:/air/a"])
def test_a_field_outside_the_folder_of_its_geometry_is_not_read(tmp_path, white):
    outside, folder = own_layout(tmp_path / "a.h5"), tmp_path / "scan"
    folder.mkdir()
    (folder / "link.h5").symlink_to(outside)
    own_layout(folder / "b.h5")
    write_geometry(folder, quantity="counts", order=ORDER, array="scan/seen", white=white)
    with pytest.raises(CorruptInput, match="is outside the folder of the file that names it"):
        import_scan(folder / "b.h5")


@pytest.mark.parametrize(("code", "name"), [(32008, "Bitshuffle"), (60001, "of no known name")])
def test_a_filter_that_is_missing_is_asked_for(tmp_path, code, name):
    """It was called a file that cannot be read, to be copied again."""
    path = write_exchange(tmp_path / "a.h5", data=None)
    with h5py.File(path, "a") as file:
        made = file.create_dataset(
            "exchange/data", lines().shape, "f4", chunks=(1, *lines().shape[1:]),
            compression=code, allow_unknown_filter=True,
        )  # fmt: skip
        for view in range(VIEWS):
            made.id.write_direct_chunk((view, 0, 0), b"packed")
    with pytest.raises(UsageError, match="run `pip install hdf5plugin`") as caught:
        import_scan(path, stated())
    assert f"/exchange/data: is compressed by the filter {code} ({name})" in str(caught.value)


def test_a_filter_that_hdf5plugin_brings_is_used(tmp_path, monkeypatch):
    path = write_exchange(tmp_path / "a.h5", data=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("exchange/data", data=counts(lines()), compression="gzip")
    brought = []
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: bool(brought))
    monkeypatch.setattr(hdf5, "import_module", brought.append)
    assert_is(import_scan(path, stated()))
    assert brought[0] == "hdf5plugin"
