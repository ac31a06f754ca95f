"""White fields that were exposed otherwise than views: what the file or the user says of it."""

import h5py
import numpy as np
import pytest

from diffusionblend.errors import UsageError
from diffusionblend.io.projections.importing import import_scan
from support.cases import beam, cylinder, project

VIEWS, ROWS, PHOTONS, NO_RAYS = 90, 4, 20000.0, 100.0
WIDE = [(cylinder(2, 1, 40), 0.02), (cylinder(9, 4, 6), 0.02)]
"""An object that is cut off: nothing shows air."""
SLIM = [(cylinder(2, 1, 12), 0.02), (cylinder(5, 4, 3), 0.02)]
BEAM = beam("parallel", VIEWS, size=48, slices=ROWS)
BINS = BEAM.beam.bins
ENTRY = "entry/instrument/detector"


def lines(objects):
    return np.asarray(project(objects, BEAM))


def exposed(objects, views=1.0, white=(1.0, 1.0), seed=0):
    """Return counts of views and white fields that were exposed so, with the noise of photons."""
    rng = np.random.default_rng(seed)
    each = np.broadcast_to(views, VIEWS)[:, None, None]
    y = rng.poisson(each * PHOTONS * np.exp(-lines(objects))) + NO_RAYS
    fields = [rng.poisson(w * PHOTONS, (5, ROWS, BINS)) + NO_RAYS for w in white]
    return y, np.concatenate(fields)


def write(path, y, white, before=5, **stated):
    """Write NXtomo with some white fields before the views, and numbers of each frame."""
    frames = np.concatenate([np.full((1, ROWS, BINS), NO_RAYS), white[:before], y, white[before:]])
    keys = [2, *[1] * before, *[0] * VIEWS, *[1] * (len(white) - before)]
    angles = np.zeros(len(keys))
    angles[np.array(keys) == 0] = BEAM.beam.angles_deg
    with h5py.File(path, "w") as file:
        file[f"{ENTRY}/data"] = frames.astype(np.float32)
        file[f"{ENTRY}/image_key"] = keys
        file["entry/sample/rotation_angle"] = angles
        for name, (values, unit) in stated.items():
            place = {"control": "entry/control/data", "time": f"{ENTRY}/count_time"}
            place |= {axis: f"entry/sample/{axis}_translation" for axis in "xyz"}
            dataset = place.get(name, f"{ENTRY}/{name}")
            file[dataset] = values
            if unit:
                file[dataset].attrs["units"] = unit
    return path


def per_frame(views, before, after):
    return np.r_[1.0, np.full(5, before), np.broadcast_to(views, VIEWS), np.full(5, after)]


def imported(path, **options):
    return import_scan(path, bin_mm=1.0, row_mm=1.0, **({"centre": "none"} | options))


def off(scan, objects=WIDE):
    """Return by how much line integrals are off, on the whole."""
    return abs(float(np.mean(scan.y.transpose(1, 0, 2) - lines(objects))))


FADING = 1 - 0.3 * np.arange(VIEWS) / VIEWS


@pytest.mark.parametrize(
    ("views", "white", "stated"),
    [
        (1.0, (0.5, 0.5), {"time": (per_frame(0.2, 0.1, 0.1), "s")}),
        (FADING, (0.5, 0.3), {"control": (per_frame(7e6 * FADING, 3.5e6, 2.1e6), "counts")}),
        (
            FADING,
            (0.5, 0.4),
            {
                "control": (per_frame(0.2 * FADING, 0.2, 0.16), "A"),
                "time": (per_frame(0.2, 0.1, 0.1), "s"),
            },
        ),
        (
            FADING,  # a monitor counts for the time of the exposure
            (0.5, 0.4),
            {
                "control": (per_frame(7e6 * FADING, 3.5e6, 2.8e6), None),
                "time": (per_frame(0.2, 0.1, 0.1), "s"),
            },
        ),
    ],
    ids=["times", "a monitor", "a current and times", "a monitor and times"],
)
def test_white_fields_count_by_their_exposure(tmp_path, views, white, stated):
    """Of an object that is cut off they made all line integrals 0.7 too small, without a word."""
    y, fields = exposed(WIDE, views, white)
    scan = imported(write(tmp_path / "a.nxs", y, fields, **stated))
    assert off(scan) < 2e-3
    assert "warnings" not in scan.provenance
    assert "of a view's exposure" in scan.provenance["corrections"]
    usual = PHOTONS * float(np.median(np.broadcast_to(views, VIEWS)))
    assert scan.noise.photons == pytest.approx(usual, rel=0.1)


def test_the_same_without_what_is_stated(tmp_path):
    y, fields = exposed(WIDE, 1.0, (0.5, 0.5))
    path = write(tmp_path / "a.nxs", y, fields)
    assert off(imported(path)) > 0.6
    scan = imported(path, white_exposure=0.5)
    assert off(scan) < 2e-3
    assert scan.noise.photons == pytest.approx(PHOTONS, rel=0.1)
    stated = write(tmp_path / "b.nxs", y, fields, time=(per_frame(0.2, 0.2, 0.2), "s"))
    assert off(imported(stated, white_exposure=0.5)) < 2e-3  # the user is believed


def test_exposures_of_views_alone(tmp_path):
    y, fields = exposed(WIDE, FADING, (1.0, 1.0))
    values = per_frame(FADING, 1.0, 1.0)
    scan = imported(write(tmp_path / "a.nxs", y, fields, control=(values, "counts")))
    assert off(scan) < 2e-3
    some = imported(tmp_path / "a.nxs", views=9, without="3,4")
    expected = lines(WIDE)[np.round(np.array(some.geometry.beam.angles_deg) / 2).astype(int)]
    np.testing.assert_allclose(some.y.mean((0, 2)), expected.mean((1, 2)), atol=6e-3)


@pytest.mark.parametrize(
    ("objects", "values", "words"),
    [
        (
            WIDE,
            per_frame(1 + 0.2 * np.sin(99 * np.arange(VIEWS)), 1, 1),
            "views divided by it flic",
        ),
        (WIDE, per_frame(1.0, 1.0, 0.5), "white fields divided by it differ by 0.33 instead of"),
        (SLIM, per_frame(1.0, 0.5, 0.5), "of the white fields by it, and 1 without"),
    ],
)
def test_what_frames_do_not_follow_is_not_heeded(tmp_path, objects, values, words):
    y, fields = exposed(objects)
    scan = imported(write(tmp_path / "a.nxs", y, fields, control=(values, "counts")))
    assert off(scan, objects) < 2e-3
    assert words in scan.provenance["warnings"]
    assert "white_exposure" in scan.provenance["warnings"]


def test_exposures_that_are_the_same_or_missing_say_nothing(tmp_path):
    y, fields = exposed(WIDE)
    plain = imported(write(tmp_path / "a.nxs", y, fields)).provenance
    same = {"time": (per_frame(0.2, 0.2, 0.2), "s"), "x": (per_frame(0.1, 5.0, 5.0), "m")}
    scan = imported(write(tmp_path / "b.nxs", y, fields, **same))
    for name in ("corrections", "remarks", "warnings"):
        assert scan.provenance.get(name) == plain.get(name)
    dead = write(tmp_path / "c.nxs", y, fields, control=(np.zeros(VIEWS + 11), "counts"))
    scan = imported(dead)
    assert off(scan) < 2e-3
    assert "/entry/control/data was left out: it is not above 0" in scan.provenance["remarks"]


def test_exposures_in_another_file_are_not_asked_for(tmp_path):
    y, fields = exposed(WIDE)
    path = write(tmp_path / "a.nxs", y, fields)
    with h5py.File(path, "a") as file:
        file["entry/control/data"] = h5py.ExternalLink("other.h5", "/data")
        file[f"{ENTRY}/x_flipped"] = h5py.ExternalLink("other.h5", "/data")
    assert off(imported(path)) < 2e-3


@pytest.mark.parametrize(
    "options", [{"white_exposure": 0.5, "i0": 20000.0}, {"white_exposure": 0.0}]
)
def test_an_exposure_that_cannot_be_used(tmp_path, options):
    path = write(tmp_path / "a.nxs", *exposed(WIDE))
    with pytest.raises(UsageError, match="white_exposure"):
        imported(path, **options)


def test_an_object_that_moved_is_told(tmp_path):
    """Half a bin is what a stage may stray."""
    y, fields = exposed(WIDE)
    rise = np.r_[np.zeros(6), np.linspace(0, 1, VIEWS), np.zeros(5)]
    for unit, mm in (("m", 1e-3), ("um", 1e3), ("mm", 1.0)):
        path = write(tmp_path / "a.nxs", y, fields, z=(0.7 * mm * rise, unit))
        words = "the object moved between views, /entry/sample/z_translation by 0.7 mm"
        assert words in imported(path).provenance["warnings"]
    path = write(tmp_path / "a.nxs", y, fields, z=(0.4 * rise, "mm"), x=(9 * rise, None))
    assert "warnings" not in imported(path).provenance


@pytest.mark.parametrize("flips", [(True, False), (False, True)])
def test_mirrored_frames_are_remarked(tmp_path, flips):
    y, fields = exposed(WIDE)
    named = dict(zip(("x_flipped", "y_flipped"), ((flip, None) for flip in flips), strict=True))
    remarks = imported(write(tmp_path / "a.nxs", y, fields, **named)).provenance["remarks"]
    assert "slices may be mirrored" in remarks
    both = {name: (True, None) for name in named}
    assert "remarks" not in imported(write(tmp_path / "b.nxs", y, fields, **both)).provenance


@pytest.mark.parametrize("word", ["Different", np.frombuffer(b"Different\0\0", np.uint8)[None]])
@pytest.mark.parametrize("place", ["exposure_time_flat", "brightfield_exposure_time"])
def test_a_data_exchange_says_how_long_white_fields_were_exposed(tmp_path, word, place):
    """Tomoscan's files do; of an object that is cut off, nothing else tells it."""
    y, white = exposed(WIDE, white=(0.5, 0.5))

    def exchange(name, word):
        with h5py.File(tmp_path / name, "w") as file:
            file["exchange/data"], file["exchange/data_white"] = y, white
            file["exchange/data_dark"] = np.full((2, ROWS, BINS), NO_RAYS)
            file["exchange/theta"] = BEAM.beam.angles_deg
            detector = file.create_group("measurement/instrument/detector")
            detector["exposure_time"], detector[place] = [0.2], [0.1]
            detector["different_flat_exposure"] = word
        return imported(tmp_path / name)

    scan = exchange("different.h5", word)
    assert off(scan) < 0.005
    assert "white fields have 0.5 of a view's exposure" in scan.provenance["corrections"]
    assert off(exchange("same.h5", "Same")) == pytest.approx(np.log(2), abs=0.01)
