"""The cache and packs: each volume once, found again, and every one that is left out is named."""

import dataclasses
import itertools
import json
import shutil

import h5py
import numpy as np
import pytest

from diffusionblend.data.volume import Volume
from diffusionblend.geometry import Grid
from diffusionblend.io.find import find_volumes
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.prior.facing import front_first
from diffusionblend.training import cache as cache_module
from diffusionblend.training import validation as measured
from diffusionblend.training.cache import Cache, load_sources
from diffusionblend.training.pack import read_pack, write_packs
from diffusionblend.training.recipe import Budget, Folder, Recipe, Validation
from diffusionblend.training.samples import Source, likeness, voxel_sizes
from support.commands import command


@pytest.fixture
def workshop(data, place):
    """A folder with two volumes that differ by one slice."""
    (place / "volumes").mkdir()
    shutil.copy(data.volume, place / "volumes/one.nii.gz")
    write_volume(read_volume(data.volume).slices(1, 12), place / "volumes/two.nii.gz")
    return place


def recipe(*folders, **changes):
    data = tuple(Folder(f) for f in folders or ["volumes"])
    return Recipe(**({"output": "out", "budget": Budget(steps=1), "data": data} | changes))


def reads(monkeypatch):
    """Return a list that grows by the name of each volume that is read."""
    told = []
    prepare = Cache._prepare

    def prepared(self, candidate, stamp):
        told.append(candidate.name)
        return prepare(self, candidate, stamp)

    monkeypatch.setattr(Cache, "_prepare", prepared)
    return told


def voxels_of(workshop):
    """Return the bytes of what is drawn from, by its name."""
    return {source.name: source.hu.tobytes() for source in load_sources(recipe(), workshop)[0]}


def test_what_is_drawn_from_is_what_the_files_hold(workshop, data):
    sources, left_out = load_sources(recipe(), workshop)
    assert [s.name for s in sources] == ["one.nii.gz", "two.nii.gz"]
    assert left_out == []
    hu = front_first(read_volume(data.volume)).hu
    np.testing.assert_array_equal(sources[0].hu, hu.round().astype(np.int16))
    np.testing.assert_array_equal(sources[1].hu, sources[0].hu[1:])


def test_the_size_of_voxels_is_known_also_of_a_pack_and_after_an_earlier_index(workshop, data):
    spacing = read_volume(data.volume).grid.spacing_mm
    sources, _ = load_sources(recipe(), workshop)
    assert {source.voxel_mm for source in sources} == {(spacing[0], spacing[2])}
    write_packs(sources, workshop / "pack.h5")
    packed, _ = load_sources(recipe("pack.h5"), workshop)
    assert [source.voxel_mm for source in packed] == [source.voxel_mm for source in sources]
    index = workshop / "out/cache/index.json"
    entries = json.loads(index.read_bytes())
    for entry in entries.values():
        del entry["voxel_mm"]
    index.write_text(json.dumps(entries))
    again, _ = load_sources(recipe(), workshop)
    assert [source.voxel_mm for source in again] == [source.voxel_mm for source in sources]


def test_the_sizes_of_voxels_are_those_of_scale_1_and_unknown_if_one_is():
    def source(voxel_mm, **facts):
        return Source("", np.zeros((1, 1, 1), np.int16), 1.0, voxel_mm=voxel_mm, **facts)

    known = [source((3.0, 0.5)), source((1.0, 1.5)), source((9.0, 9.0), scale=2)]
    assert voxel_sizes([*known, source((8.0, 8.0), finest=2)]) == ((0.5, 1.5), (1.0, 3.0))
    assert voxel_sizes([*known, source(None)]) == (None, None)
    assert voxel_sizes(known[2:]) == (None, None)


def test_voxels_are_mapped_not_read(workshop):
    sources, _ = load_sources(recipe(), workshop)
    assert all(isinstance(s.hu, np.memmap) for s in sources)


def test_a_volume_is_prepared_once_and_again_when_it_changes(workshop, monkeypatch, data):
    told = reads(monkeypatch)
    load_sources(recipe(), workshop)
    load_sources(recipe(), workshop)
    assert told == ["one.nii.gz", "two.nii.gz"]
    write_volume(read_volume(data.volume).slices(2, 12), workshop / "volumes/two.nii.gz")
    sources, _ = load_sources(recipe(), workshop)
    assert told[2:] == ["two.nii.gz"]
    assert len(sources[1].hu) == 10


def test_an_interrupted_preparation_goes_on_where_it_was(workshop, monkeypatch):
    store = cache_module.np.save

    def interrupted(file, voxels):
        if len(voxels) == 11:
            raise KeyboardInterrupt
        store(file, voxels)

    monkeypatch.setattr(cache_module.np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_sources(recipe(), workshop)
    monkeypatch.undo()
    told = reads(monkeypatch)
    sources, _ = load_sources(recipe(), workshop)
    assert told == ["two.nii.gz"]
    assert [len(s.hu) for s in sources] == [12, 11]


def test_an_entry_that_was_removed_is_made_again(workshop):
    before = voxels_of(workshop)
    (entry, *_) = (workshop / "out/cache").glob("*.npy")
    entry.unlink()
    assert voxels_of(workshop) == before


def test_a_damaged_index_is_made_again(workshop):
    before = voxels_of(workshop)
    (workshop / "out/cache/index.json").write_text('{"one')
    assert voxels_of(workshop) == before


def test_recipes_with_one_cache_share_its_entries(workshop, monkeypatch):
    load_sources(recipe(cache="shared", output="first"), workshop)
    told = reads(monkeypatch)
    load_sources(recipe(cache="shared", output="second"), workshop)
    assert told == []


def test_volumes_of_one_name_in_two_folders_are_each_prepared_once(workshop, monkeypatch):
    (workshop / "more").mkdir()
    shutil.copy(workshop / "volumes/two.nii.gz", workshop / "more/one.nii.gz")
    both = recipe("volumes", "more", cache="shared")
    load_sources(both, workshop)
    told = reads(monkeypatch)
    load_sources(both, workshop)
    assert told == []


def test_the_window_is_part_of_an_entry(workshop):
    whole, _ = load_sources(recipe(cache="shared"), workshop)
    narrow, _ = load_sources(recipe(cache="shared", window=(-500, 100)), workshop)
    np.testing.assert_array_equal(narrow[0].hu, whole[0].hu.clip(-500, 100))


def test_each_volume_that_is_left_out_is_named_with_the_reason(workshop):
    volumes = workshop / "volumes"
    shutil.copy(volumes / "one.nii.gz", volumes / "copy.nii.gz")
    (volumes / "broken.nii.gz").write_bytes((volumes / "one.nii.gz").read_bytes()[:2000])
    (volumes / "empty.nrrd").write_bytes(b"")
    sources, left_out = load_sources(recipe(), workshop)
    assert [s.name for s in sources] == ["copy.nii.gz", "two.nii.gz"]
    broken, empty, one = left_out
    assert "broken.nii.gz" in broken
    assert "empty.nrrd" in empty
    assert one == "one.nii.gz: the same voxels as copy.nii.gz"
    assert load_sources(recipe(), workshop)[1] == left_out


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_copy_that_is_counted_from_other_ends_is_the_same_volume(workshop, axes):
    """As a series of DICOM is beside its NIfTI: its slices would be drawn twice as often."""
    one = read_volume(workshop / "volumes/one.nii.gz")
    turned = Volume(np.flip(one.hu, axes), one.grid.reversed(axes))
    write_volume(turned, workshop / "volumes/turned.nii.gz")
    sources, left_out = load_sources(recipe(), workshop)
    assert [s.name for s in sources] == ["one.nii.gz", "two.nii.gz"]
    assert left_out == ["turned.nii.gz: the same voxels as one.nii.gz"]


def test_what_volumes_share_with_their_mirror_images_is_theirs_alone():
    hu = np.random.default_rng(0).integers(-1000, 999, (4, 5, 6)).astype(np.int16)
    mirrors = [np.flip(hu, axes) for n in range(4) for axes in itertools.combinations(range(3), n)]
    assert len({likeness(mirror) for mirror in mirrors}) == 1
    others = [hu + np.int16(1), hu[1:], hu.transpose(0, 2, 1), hu[[1, 0, 2, 3]]]
    assert len({likeness(other) for other in (hu, *others)}) == 5


@pytest.mark.parametrize("kind", ["as it is", "turned", "packed"])
def test_a_volume_to_validate_on_that_is_trained_on_is_told(workshop, caplog, kind):
    two = read_volume(workshop / "volumes/two.nii.gz")
    (workshop / "unseen").mkdir()
    if kind == "turned":
        two = Volume(np.flip(two.hu, (0, 2)), two.grid.reversed((0, 2)))
    write_volume(two, workshop / "unseen/v.nii.gz")
    sources, _ = load_sources(recipe(), workshop)
    place = "unseen"
    if kind == "packed":
        place = "unseen.h5"
        write_packs([s for s in sources if s.name == "two.nii.gz"], workshop / place)
    unseen = recipe(validation=Validation(place, views=(), slices=3))
    measured.Validation.read(unseen, workshop, sources[:1])
    assert not caplog.messages
    measured.Validation.read(unseen, workshop, sources)
    (told,) = caplog.messages
    assert told.startswith(
        "two.nii.gz: is also the volume of `validation`, whose figures then say nothing"
    )


@pytest.mark.parametrize("sides", [(64, 32), (32, 64), (48, 40)])
def test_slices_to_validate_on_keep_their_pixels_whatever_their_sides(workshop, data, sides):
    chest = read_volume(data.volume)
    part = chest.grid.part((0, 0, 0), (12, *sides))
    (workshop / "unseen").mkdir()
    write_volume(Volume(chest.hu[:, : sides[0], : sides[1]], part), workshop / "unseen/v.nii.gz")
    unseen = recipe(validation=Validation("unseen", views=(4,), slices=3))
    found = measured.Validation.read(unseen, workshop)
    assert found.truth.hu.shape == (3, *sides)
    assert found.scans[4].geometry.grid == found.truth.grid


def test_a_volume_that_is_stretched_is_left_out(workshop, data):
    affine = np.diag([1.6, 2.0, 2.5, 1.0])
    hu = read_volume(data.volume).hu
    wide = Volume(hu, Grid.from_affine(hu.shape, affine))
    write_volume(wide, workshop / "volumes/wide.nii.gz")
    sources, left_out = load_sources(recipe(), workshop)
    assert [s.name for s in sources] == ["one.nii.gz", "two.nii.gz"]
    assert left_out == [
        "wide.nii.gz: pixels of 2 x 1.6 mm; expected square ones; resample the slices; a NIfTI by "
        "nibabel.processing: `resample_to_output(image, (1.6, 1.6, 2.5), order=1, mode='nearest')`"
    ]


@pytest.mark.parametrize("name", ["one", "one.nii.gz"])
def test_a_volume_is_left_out_by_name(workshop, name):
    data = (Folder("volumes", without=(name,)),)
    sources, left_out = load_sources(recipe(data=data), workshop)
    assert ([s.name for s in sources], left_out) == (["two.nii.gz"], [])


def test_a_name_with_dots_is_a_name(workshop):
    (workshop / "volumes/one.nii.gz").rename(workshop / "volumes/one.1.nii.gz")
    (workshop / "volumes/two.nii.gz").rename(workshop / "volumes/one.2.nii.gz")
    data = (Folder("volumes", without=("one.1",)),)
    assert [s.name for s in load_sources(recipe(data=data), workshop)[0]] == ["one.2.nii.gz"]
    data = (Folder("volumes", only=("one.2",)),)
    assert [s.name for s in load_sources(recipe(data=data), workshop)[0]] == ["one.2.nii.gz"]


def test_a_name_of_no_volume_is_told(workshop, caplog):
    """A slip in it would train on what is to be validated with."""
    data = (Folder("volumes", without=("one", "tow")),)
    load_sources(recipe(data=data), workshop)
    said = [r.getMessage() for r in caplog.records]
    assert said == [f"{workshop / 'volumes'}: holds no volume tow, which the recipe names"]


def test_a_pack_holds_the_same_voxels(workshop):
    made, _ = load_sources(recipe(), workshop)
    assert write_packs(made, workshop / "all.h5") == [workshop / "all.h5"]
    unpacked, left_out = load_sources(recipe("all.h5", output="other"), workshop)
    assert ([s.name for s in unpacked], left_out) == ([s.name for s in made], [])
    for a, b in zip(unpacked, made, strict=True):
        np.testing.assert_array_equal(a.hu, b.hu)


def test_a_pack_keeps_weights_and_a_recipe_multiplies_them(workshop):
    made, _ = load_sources(recipe(data=(Folder("volumes", weight=0.5),)), workshop)
    write_packs(made, workshop / "all.h5")
    unpacked, _ = load_sources(recipe(data=(Folder("all.h5", weight=3.0),)), workshop)
    assert [s.weight for s in unpacked] == [1.5, 1.5]


def test_a_pack_keeps_scales(workshop):
    folder = Folder("volumes", scale=2, finest=4)
    made, _ = load_sources(recipe(data=(folder,)), workshop)
    write_packs(made, workshop / "all.h5")
    unpacked, _ = load_sources(recipe("all.h5"), workshop)
    assert [(s.scale, s.finest) for s in unpacked] == [(2, 4), (2, 4)]


def test_a_folder_of_packs_holds_the_volumes_of_all(workshop):
    made, _ = load_sources(recipe(), workshop)
    (workshop / "packs").mkdir()
    for name, source in zip(("part-0.h5", "part-1.H5"), made, strict=True):
        write_packs([source], workshop / "packs" / name)
    unpacked, _ = load_sources(recipe("packs"), workshop)
    assert [s.name for s in unpacked] == [s.name for s in made]


def test_volumes_of_one_name_are_packed_apart(workshop):
    made, _ = load_sources(recipe(), workshop)
    alike = [dataclasses.replace(s, name="one.nii.gz") for s in made]
    write_packs([*alike, made[0]], workshop / "all.h5")
    names = [v.name for v in read_pack(workshop / "all.h5")]
    assert names == ["one.nii.gz", "one.nii.gz-2", "one.nii.gz-3"]


def test_parts_of_a_pack_are_small_enough_and_hold_all(workshop):
    made, _ = load_sources(recipe(), workshop)
    write_packs(made, workshop / "all.h5")
    limit = 0.75 * (workshop / "all.h5").stat().st_size / 2**20
    parts = write_packs(made, workshop / "part.h5", limit)
    assert [p.name for p in parts] == ["part-1.h5", "part-2.h5"]
    assert [v.name for p in parts for v in read_pack(p)] == ["one.nii.gz", "two.nii.gz"]
    assert all(p.stat().st_size < (limit + 0.02) * 2**20 for p in parts)


def test_the_command_packs_and_says_what(workshop):
    (workshop / "r.toml").write_text(
        'output = "out"\ndata = [{ path = "volumes", without = ["two"] }]\n'
        '[budget]\nsteps = 1\n[validation]\npath = "volumes"\n'
    )
    ended = command("pack", workshop / "r.toml", "-o", workshop / "all.h5", "--json")
    assert ended.code == 0, ended.err
    packs = [workshop / "all.h5", workshop / "all-validation.h5"]
    told = json.loads(ended.out)
    assert told == {"packs": [str(p) for p in packs], "volumes": 1, "left_out": []}
    assert [len(read_pack(p)) for p in packs] == [1, 2]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [(["-o", "all.zip"], 2, [".h5"]), (["-o", "all.h5", "--max-mib", "0.001"], 2, ["larger"])],
)
def test_a_pack_that_cannot_be_is_refused(workshop, options, code, words, monkeypatch):
    monkeypatch.chdir(workshop)
    (workshop / "r.toml").write_text(
        'output = "out"\ndata = [{ path = "volumes" }]\n[budget]\nsteps = 1\n'
    )
    ended = command("pack", "r.toml", *options)
    assert (ended.code, ended.out) == (code, "")
    assert all(word in ended.err for word in words)
    assert not list(workshop.glob("all*"))


@pytest.mark.parametrize("edit", ["text", "schema", "flat", "gone"])
def test_a_damaged_pack_is_named(workshop, edit):
    made, _ = load_sources(recipe(), workshop)
    path = workshop / "all.h5"
    write_packs(made, path)
    if edit == "text":
        path.write_text("no pack")
    else:
        with h5py.File(path, "a") as file:
            if edit == "schema":
                file.attrs["schema"] = "other"
            elif edit == "flat":
                for name in list(file):
                    del file[name]
                file["flat"] = np.zeros((4, 4))
            else:
                for name in list(file):
                    del file[name]
    (workshop / "r.toml").write_text(
        'output = "out"\ndata = [{ path = "all.h5" }]\n[budget]\nsteps = 1\n'
    )
    ended = command("train", workshop / "r.toml")
    assert ended.code == 3, ended.err
    assert "all.h5" in ended.err
    assert "Traceback" not in ended.err


def test_volumes_of_all_formats_are_found(workshop):
    assert [c.name for c in find_volumes(workshop / "volumes")] == ["one.nii.gz", "two.nii.gz"]
    assert all(isinstance(c.read(), Volume) for c in find_volumes(workshop / "volumes"))
