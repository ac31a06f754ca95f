"""OME-Zarr: a folder that others open, each voxel in its place; chunks that are lost are missed."""

import contextlib
import json
import random
import shutil

import numpy as np
import pytest
import zarr

from diffusionblend.data.volume import Volume
from diffusionblend.errors import CorruptInput, DiffusionBlendError, OutputError, UnsupportedInput
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import sparse_view
from diffusionblend.io.find import find_volumes
from diffusionblend.io.formats import ome_zarr
from diffusionblend.io.scans import write_scan
from diffusionblend.io.volumes import digest, read_shape, read_volume, write_volume
from diffusionblend.show.viewer.contents import gather
from diffusionblend.simulation.simulate import simulate
from support.commands import command, user_command
from support.small_volumes import refusal

HU = np.random.default_rng(0).integers(-1000, 1500, (5, 130, 150)).astype(np.float32)
SIGNS = [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)]


def volume_of(hu=HU, spacing=(2.5, 0.5, 0.5), signs=(1, 1, 1), origin=(3.0, -20.0, 7.5)):
    affine = np.diag([*(s * mm for s, mm in zip(signs, spacing[::-1], strict=True)), 1.0])
    affine[:3, 3] = origin
    return Volume(hu, Grid.from_affine(hu.shape, affine))


@pytest.fixture
def path(place):
    write_volume(volume_of(), place / "v.ome.zarr")
    return place / "v.ome.zarr"


def attributes(path, change):
    """Change the metadata of the image."""
    held = json.loads((path / ".zattrs").read_text())
    change(held["multiscales"][0])
    (path / ".zattrs").write_text(json.dumps(held))


@pytest.mark.parametrize("signs", SIGNS)
def test_a_voxel_stays_where_it_is(place, signs):
    volume = volume_of(signs=signs)
    write_volume(volume, place / "v.ome.zarr")
    back = read_volume(place / "v.ome.zarr")
    assert np.array_equal(back.hu, HU)
    np.testing.assert_allclose(back.grid.affine, volume.grid.affine)


def test_an_image_in_a_group_or_under_another_name_is_told_what_to_call(place, path):
    """As bioformats2raw writes it; and what is copied out of that has its name, a number."""
    group = zarr.open_group(place / "outer.ome.zarr", mode="w", zarr_format=2)
    group.attrs.put({"bioformats2raw.layout": 3})
    path.rename(place / "outer.ome.zarr" / "0")
    with pytest.raises(UnsupportedInput, match=r"copy 0 out of it, to a name that ends in \.ome"):
        read_volume(place / "outer.ome.zarr")
    with pytest.raises(CorruptInput, match=r"give it a name that ends in \.ome\.zarr"):
        read_volume(place / "outer.ome.zarr" / "0")
    shutil.copytree(place / "outer.ome.zarr" / "0", path)
    assert np.array_equal(read_volume(path).hu, HU)


def test_others_find_levels_that_lie_on_each_other(path):
    """As NGFF says: index x scale + translation is the place, in mm, of the centre of a voxel."""
    image = zarr.open_group(path, mode="r").attrs["multiscales"][0]
    assert [(axis["name"], axis["unit"]) for axis in image["axes"]] == [
        (name, "millimeter") for name in "zyx"
    ]
    finest, *coarser = image["datasets"]
    assert [step["type"] for step in finest["coordinateTransformations"]] == [
        "scale",
        "translation",
    ]
    scale, start = (s[s["type"]] for s in finest["coordinateTransformations"])
    assert scale == [2.5, 0.5, 0.5]
    assert start == [7.5, -20.0, 3.0]
    assert len(coarser) == 2  # 130 pixels a side, 65, 33
    for level, dataset in enumerate(coarser, 1):
        array = zarr.open_array(path / dataset["path"], mode="r")
        step, origin = (s[s["type"]] for s in dataset["coordinateTransformations"])
        blocks = HU[:, : 2**level, : 2**level]
        np.testing.assert_allclose(array[:, 0, 0], blocks.mean(axis=(1, 2)), rtol=1e-5)
        assert step == [2.5, 0.5 * 2**level, 0.5 * 2**level]  # slices are thick enough
        middle = [start[i] + (2**level - 1) / 2 * scale[i] for i in (1, 2)]
        np.testing.assert_allclose(origin, [start[0], *middle])


def test_thin_slices_are_joined_too(place):
    hu = np.arange(70**3, dtype=np.float32).reshape(70, 70, 70) % 900 - 1000
    write_volume(volume_of(hu, (0.5, 0.5, 0.5)), place / "v.ome.zarr")
    assert zarr.open_array(place / "v.ome.zarr/1", mode="r").shape == (35, 35, 35)


def renamed(names, unit="millimeter", **orientation):
    def change(image):
        for axis, name in zip(image["axes"], names, strict=True):
            axis.update(name=name, unit=unit)
            del axis["orientation"]
            if name in orientation:
                axis["orientation"] = {"type": "anatomical", "value": orientation[name]}

    return change


USUAL = {"k": "inferior-to-superior", "j": "posterior-to-anterior", "i": "left-to-right"}
SAID_OTHERWISE = {
    "in capitals": renamed("ZYX"),
    "in short": renamed("zyx", unit="mm"),
    "by their orientation": renamed("kji", **USUAL),
}
UNKNOWN = {
    "without a direction": (
        renamed("kji"),
        "its axis k does not say where it points; expected the names z, y",
    ),
    "along an animal": (
        renamed("zyx", z="rostral-to-caudal"),
        "its axis z points rostral-to-caudal; expected the names z, y and x, or as `orientation`",
    ),
    "twice": (renamed("zyx", z="left-to-right"), "two of its axes point along the same line"),
}


@pytest.mark.parametrize("name", SAID_OTHERWISE)
def test_axes_mean_what_they_are_called(path, name):
    before = read_volume(path)
    attributes(path, SAID_OTHERWISE[name])
    assert np.array_equal(read_volume(path).hu, HU)
    np.testing.assert_allclose(read_volume(path).grid.affine, before.grid.affine)


@pytest.mark.parametrize("name", UNKNOWN)
def test_axes_that_lead_nowhere_known_are_refused_with_what_to_state(path, name):
    change, words = UNKNOWN[name]
    attributes(path, change)
    assert words in str(refusal(read_volume, path))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_others_write_is_read(place, version):
    """With channels, in micrometres, with the transformations of all levels, without directions."""
    path = place / "o.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("s0", data=HU[None].astype("<i2"), chunks=(1, 4, 64, 64))
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    image = {
        "axes": axes,
        "datasets": [{"path": "s0", "coordinateTransformations": [
            {"type": "scale", "scale": [1, 250, 50, 50]},
            {"type": "translation", "translation": [0, 1000, 0, 3000]}]}],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 10, 10, 10]}],
    }  # fmt: skip
    image["version"] = version
    group.attrs.put(
        {"multiscales": [image]} if version == "0.4" else {"ome": {"multiscales": [image]}}
    )
    volume = read_volume(path)
    assert np.array_equal(volume.hu, HU)
    np.testing.assert_allclose(volume.grid.spacing_mm, (2.5, 0.5, 0.5))
    np.testing.assert_allclose(np.array(volume.grid.affine)[:3, 3], (30, 0, 10))
    assert read_shape(path) == HU.shape[::-1]


def test_a_name_without_ome_is_read(place, path):
    expected = read_volume(path)
    other = path.rename(place / "v.zarr")
    assert np.array_equal(read_volume(other).hu, expected.hu)
    assert read_volume(other).grid == expected.grid


def test_a_channel_is_one_by_its_name_too(place):
    group = zarr.open_group(place / "o.ome.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=HU[None])
    steps = [{"type": "scale", "scale": [1, 2.5, 0.5, 0.5]}]
    axes = [{"name": "c"}, *({"name": n, "unit": "millimeter"} for n in "zyx")]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs.put({"multiscales": [{"axes": axes, "datasets": datasets}]})
    volume = read_volume(place / "o.ome.zarr")
    assert np.array_equal(volume.hu, HU)
    assert volume.grid.spacing_mm == (2.5, 0.5, 0.5)


def test_a_chunk_that_is_lost_is_missed(path):
    """It would read as the fill value."""
    (path / "0/0/0/0").unlink()
    with pytest.raises(CorruptInput, match=r"v\.ome\.zarr: 1 of 1 chunks are missing"):
        read_volume(path)


def test_others_chunks_that_are_left_out_are_missed_too(place):
    group = zarr.open_group(place / "o.ome.zarr", mode="w", zarr_format=2)
    array = group.create_array("0", shape=(4, 8, 8), chunks=(2, 8, 8), dtype="f4", fill_value=0)
    array[:2] = -1000
    steps = [{"type": "scale", "scale": [1, 1, 1]}]
    axes = [{"name": n, "type": "space", "unit": "millimeter"} for n in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs.put({"multiscales": [{"axes": axes, "datasets": datasets}]})
    with pytest.raises(CorruptInput, match=r"1 of 2 chunks are missing and would be read as 0"):
        read_volume(place / "o.ome.zarr")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda i: i["axes"][0].pop("unit"), UnsupportedInput, "axis z is in no unit"),
        (lambda i: i["axes"][0].update(unit="parsec"), UnsupportedInput, "axis z is in parsec"),
        (lambda i: i["axes"][0].update(type="time"), UnsupportedInput, r"its axes are z \(5\)"),
        (lambda i: i["datasets"][0].update(path="../w.ome.zarr/0"), CorruptInput, "outside"),
        (lambda i: i.pop("datasets"), CorruptInput, "cannot be read"),
        (
            lambda i: i.pop("axes"),
            UnsupportedInput,
            "do not state their units, as NGFF 0.4 and 0.5",
        ),
        (lambda i: i.update(axes=["z", "y", "x"]), UnsupportedInput, "with its voxel size"),
        (
            lambda i: i["datasets"][0].pop("coordinateTransformations"),
            CorruptInput,
            "have no scale, which is the voxel size; add it",
        ),
        (
            lambda i: i["datasets"][0]["coordinateTransformations"].pop(0),
            CorruptInput,
            "have no scale, which is the voxel size; add it",
        ),
        (
            lambda i: i["datasets"][0]["coordinateTransformations"][0].update(type="affine"),
            UnsupportedInput,
            "transformation of the type affine",
        ),
        (
            lambda i: i["datasets"][0]["coordinateTransformations"][0].update(scale=[1, 0, 1]),
            CorruptInput,
            "voxels of 1 x 0 x 1 mm",
        ),
        (
            lambda i: i["axes"][0].update(orientation={"value": "left-to-right"}),
            DiffusionBlendError,
            r"v\.ome\.zarr",
        ),
    ],
)
def test_metadata_that_say_nothing_usable_are_named(path, change, error, words):
    attributes(path, change)
    with pytest.raises(error, match=words):
        read_volume(path)


def test_a_zip_of_a_zarr_is_to_be_unpacked(path):
    packed = shutil.make_archive(str(path), "zip", path)
    with pytest.raises(
        CorruptInput, match=r"v\.ome\.zarr\.zip: is a Zarr, .*; unpack it into a fo"
    ):
        read_volume(packed)


def test_a_first_level_that_is_not_the_finest_is_refused(path):
    attributes(path, lambda image: image["datasets"].reverse())
    with pytest.raises(CorruptInput, match=r"first level, 2, is coarser than 0; expected the fi"):
        read_volume(path)


@pytest.mark.parametrize("sign", [1, -1])
def test_levels_that_run_backwards_or_state_no_size_are_no_finer(path, sign):
    def turned(image):
        first, *others = image["datasets"]
        first["coordinateTransformations"][0]["scale"][0] *= sign
        for other in others:
            del other["coordinateTransformations"]

    expected = read_volume(path).hu
    attributes(path, turned)
    assert np.array_equal(read_volume(path).hu, expected)


def test_any_damage_is_read_the_same_or_refused(path):
    numbers, before = random.Random(0), read_volume(path)
    files = [p for p in (path / "0").rglob("*") if p.is_file()] + [path / ".zattrs"]
    for _ in range(60):
        file = numbers.choice(files)
        raw = file.read_bytes()
        damaged = bytearray(raw)
        damaged[numbers.randrange(len(raw))] ^= 1 << numbers.randrange(8)
        file.write_bytes(damaged)
        with contextlib.suppress(DiffusionBlendError):
            back = read_volume(path)
            assert file.name.startswith(".") or np.array_equal(back.hu, before.hu)
        file.write_bytes(raw)


def test_a_header_that_claims_too_much_takes_no_memory(path):
    header = json.loads((path / "0/.zarray").read_text())
    header["shape"] = [2**20, 2**20, 2**20]
    (path / "0/.zarray").write_text(json.dumps(header))
    with pytest.raises(DiffusionBlendError, match="voxels"):
        read_volume(path)


def test_oblique_axes_are_refused_before_anything_is_written(place):
    affine = np.diag([0.5, 0.5, 2.5, 1.0])
    affine[0, 1] = 0.009
    volume = Volume(HU, Grid.from_affine(HU.shape, affine))
    with pytest.raises(UnsupportedInput, match=r"oblique, which OME-Zarr cannot express; write"):
        write_volume(volume, place / "v.ome.zarr")
    assert list(place.iterdir()) == []


def test_oblique_axes_are_refused_before_the_run(place):
    """The dry run said that all was well, and the run was lost when its volume was written."""
    affine = np.diag([1.0, 1.0, 2.5, 1.0])
    affine[:2, :2] = [[np.cos(0.015), -np.sin(0.015)], [np.sin(0.015), np.cos(0.015)]]
    hu = np.full((2, 64, 64), -1000, np.float32)
    hu[:, 16:48, 16:48] = 40
    scan = simulate(Volume(hu, Grid.from_affine(hu.shape, affine)), sparse_view(8), size=64)
    write_scan(scan, place / "s.h5")
    for more in (("--dry-run",), ()):
        ended = command("reconstruct", place / "s.h5", "-o", place / "v.ome.zarr", "--method",
                        "fbp", *more)  # fmt: skip
        assert ended.code == 4
        assert "oblique, which OME-Zarr cannot express; write .nii.gz" in ended.err
        assert "reconstructed" not in ended.err
    assert [path.name for path in place.iterdir()] == ["s.h5"]


def test_a_write_that_is_stopped_leaves_nothing_of_the_final_name(place, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ome_zarr, "_described", stop)
    with pytest.raises(KeyboardInterrupt):
        write_volume(volume_of(), place / "v.ome.zarr")
    assert list(place.iterdir()) == []


def test_killed_while_it_writes_it_leaves_nothing_of_the_final_name(data, place):
    """The next run of the same output removes what there is."""
    kill = "import os; os.replace = lambda *a: os.kill(os.getpid(), 9)"
    words = ("reconstruct", data.scan, "--method", "fbp", "-o", place / "v.ome.zarr")
    assert user_command(*words, before_main=kill).code == -9
    left = [p.name for p in place.iterdir()]
    assert left
    assert all(name.startswith(".") for name in left)
    assert command(*words).code == 0
    assert sorted(p.name for p in place.iterdir()) == ["v.ome.zarr", "v.ome.zarr.json"]


def test_a_name_without_a_folder_will_do(place, monkeypatch):
    monkeypatch.chdir(place)
    write_volume(volume_of(), "o.ome.zarr")
    assert np.array_equal(read_volume("o.ome.zarr").hu, HU)


def test_what_is_there_is_not_replaced(path):
    before = digest(path)
    with pytest.raises(OutputError, match=r"v\.ome\.zarr: is a folder that is not empty"):
        write_volume(volume_of(), path)
    assert digest(path) == before
    (path / "0/0/0/0").write_bytes(b"other")
    assert digest(path) != before


def test_every_command_takes_it(data, place):
    made, truth = place / "v.ome.zarr", place / "truth.nii.gz"
    shutil.copy(data.volume, truth)
    ended = command("reconstruct", data.scan, "--method", "sbtv", "-o", made)
    assert ended.code == 0, ended.err
    for words in (
        ["evaluate", made, truth],
        ["info", made],
        ["report", place, "--truth", truth, "-o", place / "r.html"],
        ["report", made, "-o", place / "s.html"],
        ["simulate", made, "-o", place / "s.h5"],
    ):
        ended = command(*words)
        assert ended.code == 0, ended.err
    assert "v.ome.zarr" in command("info", made).out
    seen = gather([place], place / "s.h5")
    assert [v.name for v in seen.shown] == ["truth.nii.gz", "v.ome.zarr"]
    assert [c.name for c in find_volumes(place)] == ["truth.nii.gz", "v.ome.zarr"]
