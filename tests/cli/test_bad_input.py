"""Bad input: one line that names what is wrong, an exit code, and no partial file."""

import errno
import gzip
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
from itertools import product
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
from nibabel.openers import ImageOpener
from nibabel.processing import resample_to_output
from safetensors.torch import load_file, save_file

from diffusionblend.errors import CorruptInput, PriorError, UnsupportedInput
from diffusionblend.io import scans
from diffusionblend.io.volumes import read_volume
from diffusionblend.prior import UNetPrior, from_pretrained
from support.commands import command, contents, user_command
from support.small_data import Data, save_tiny_prior

# Where not even root can make a file.
needs_proc = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="the system has no /proc")
USAGE, CORRUPT, UNSUPPORTED, OUTPUT, PRIOR = 2, 3, 4, 5, 7


def assert_refused(folder, code, words, arguments):
    """The command fails with one line that holds the words, and leaves the folder as it was."""
    before = without_derived(contents(folder))
    ended = command(*arguments)
    assert without_derived(contents(folder)) == before
    assert_one_line(ended, code, words)


def without_derived(files):
    """Leave out what training may write before it fails: prepared volumes and its journal."""
    return {p: data for p, data in files.items() if not {"cache", "tensorboard"} & set(p.parts)}


def assert_one_line(ended, code, words):
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1, ended.err
    assert ended.err.startswith("diffusionblend: ")
    for word in words:
        assert word in ended.err, ended.err


@pytest.fixture
def old(place):
    """Outputs of an earlier run, which a failure must leave as they are."""
    for name in ("o.h5", "o.nii.gz", "o.nii.gz.json"):
        (place / name).write_bytes(b"of an earlier run")
    return place


# Volumes


def plain(data):
    return nibabel.load(data.volume).to_bytes()


def put(offset, form, *values):
    def edit(raw):
        header = bytearray(raw)
        struct.pack_into("<" + form, header, offset, *values)
        return bytes(header)

    return edit


def dims(*sizes):
    return put(40, "8h", len(sizes), *sizes, *(1,) * (7 - len(sizes)))


def by_quaternions(*pixdim):
    def edit(raw):
        return put(252, "2h", 1, 0)(put(80, f"{len(pixdim)}f", *pixdim)(raw))

    return edit


NAN, INF = float("nan"), float("inf")
DAMAGE = {
    "half": (lambda raw: raw[: len(raw) // 2], CORRUPT, "copy"),
    "header only": (lambda raw: raw[:352], CORRUPT, "copy"),
    "part of the header": (lambda raw: raw[:100], CORRUPT, "not a NIfTI file"),
    "empty": (lambda raw: b"", CORRUPT, "not a NIfTI file"),
    "one byte": (lambda raw: raw[:1], CORRUPT, "not a NIfTI file"),
    "other file": (lambda raw: b"PK\x03\x04" * 1000, CORRUPT, "convert it to NIfTI"),
    "wrong magic": (put(344, "4s", b"abc"), CORRUPT, "not a NIfTI file"),
    "unknown type": (put(70, "h", 999), CORRUPT, "data code 999"),
    "colours": (
        put(70, "2h", 128, 24),
        UNSUPPORTED,
        "are colours; expected one number per voxel, in HU; give the",
    ),
    "complex": (put(70, "2h", 32, 64), UNSUPPORTED, "complex64"),
    "huge": (dims(30000, 30000, 30000), UNSUPPORTED, "27000000000000 voxels; at most"),
    "larger than the file": (dims(1000, 1000, 2000), CORRUPT, "says 8000000000 bytes"),
    "no rows": (dims(64, 0, 12), UNSUPPORTED, "(64, 0, 12)"),
    "less than none": (dims(-64, 64, 12), UNSUPPORTED, "(-64, 64, 12)"),
    "two-dimensional": (dims(64, 64), UNSUPPORTED, "expected three dimensions"),
    "four-dimensional": (dims(64, 64, 6, 2), UNSUPPORTED, "(64, 64, 6, 2)"),
    "NaN in the affine": (put(280, "4f", NAN, 0, 0, 0), CORRUPT, "affine holds NaN"),
    "zero column": (put(280, "4f", 0, 0, 0, 0), CORRUPT, "expected 0.001 to 100 mm"),
    "zero spacing": (by_quaternions(5.6, 0.0, 2.5), CORRUPT, "5.6 x 0 x 2.5 mm"),
    "NaN spacing": (by_quaternions(5.6, NAN, 2.5), CORRUPT, "5.6 x nan x 2.5 mm"),
    "infinite spacing": (by_quaternions(5.6, 5.6, INF), CORRUPT, "5.6 x 5.6 x inf mm"),
    "singular affine": (put(280, "8f", 5.6, 5.6, 0, 0, 0, 0, 0, 0), UNSUPPORTED, "oblique"),
    "oblique affine": (put(280, "4f", 5.6, 0, 1.0, 0), UNSUPPORTED, "resample"),
    "metres": (put(123, "B", 1), UNSUPPORTED, "in metres; expected mm"),
    "micrometres": (put(123, "B", 3 + 8), UNSUPPORTED, "in micrometres; expected mm"),
    "no such unit": (put(123, "B", 7), UNSUPPORTED, "in unit 7; expected mm"),
    "data far away": (put(108, "f", 1e9), CORRUPT, "begin at byte 1e+09"),
    "data nowhere": (put(108, "f", NAN), CORRUPT, "begin at byte nan"),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_volume_is_named(data, old, name, suffix):
    edit, code, word = DAMAGE[name]
    raw, path = edit(plain(data)), old / f"bad{suffix}"
    path.write_bytes(gzip.compress(raw, 1) if suffix == ".nii.gz" else raw)
    assert_refused(old, code, [path.name, word], ["simulate", path, "-o", old / "o.h5"])


@pytest.mark.parametrize("keep", [0, 1, 15, 0.5, -9, -4, -1])
def test_a_truncated_gzip_is_named(data, old, keep):
    raw = data.volume.read_bytes()
    keep = int(keep * len(raw)) if keep == 0.5 else keep
    (old / "cut.nii.gz").write_bytes(raw[:keep])
    words = ["cut.nii.gz", "convert it"]
    assert_refused(old, CORRUPT, words, ["evaluate", data.volume, old / "cut.nii.gz"])


TOO_LONG = 300 * "a"


@pytest.mark.parametrize("name", [TOO_LONG, f"{TOO_LONG}.nii.gz", f"{TOO_LONG}.h5"])
@pytest.mark.parametrize(
    "words",
    [
        "info NAME",
        "simulate NAME -o s.h5",
        "reconstruct NAME -o o.nii.gz",
        "evaluate VOLUME NAME",
        "report VOLUME --truth NAME",
        "view NAME --no-browser",
        "import NAME -o s.h5",
        "batch NAME -o made",
        "benchmark table1 --dry-run --volume NAME",
    ],
)
def test_a_name_that_is_too_long_is_one_line(data, old, name, words):
    given = words.replace("NAME", name).replace("VOLUME", str(data.volume)).split()
    ended = command(*given, "--json")
    assert ended.code == CORRUPT, ended.err
    assert ended.err.count("\n") == 1
    assert f"{name}: cannot be reached (File name too long)" in ended.err
    assert json.loads(ended.out)["error"]["code"] == CORRUPT


@pytest.fixture
def closed(monkeypatch):
    """Let files and folders that are called `closed` be read by nobody, root neither."""

    def refusing(call):
        def refuse(path, *more, **known):
            named = isinstance(path, str | os.PathLike) and Path(path).stem == "closed"
            if named and os.path.lexists(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *more, **known)

        return refuse

    monkeypatch.setattr("builtins.open", refusing(open))
    monkeypatch.setattr("io.open", refusing(open))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))


@pytest.mark.parametrize(
    "words", ["reconstruct closed.h5 -o", "simulate closed.nii -o", "import closed.npy -o"]
)
def test_what_may_not_be_read_is_no_damage(data, old, closed, monkeypatch, words):
    monkeypatch.chdir(old)
    for name, source in (("closed.h5", data.scan), ("closed.nii", data.volume)):
        shutil.copy(source, name)
    np.save("closed", np.ones((12, 3, 57)))
    output = "o.nii.gz" if "h5" in words else "o.h5"
    said = ["closed.", "Permission denied", "; give this user the right to read it"]
    assert_one_line(command(*words.split(), output), CORRUPT, said)


def test_a_folder_of_scans_that_may_not_be_read_is_not_left_out(data, place, closed):
    for name in ("scans/a", "scans/closed"):
        (place / name).mkdir(parents=True)
        shutil.copy(data.scan, place / name / "s.h5")
    for given in (place / "scans", place / "scans/**/*.h5"):
        ended = command("batch", given, "-o", place / "made")
        said = "scans/closed: cannot be read (Permission denied); give this user the right to read"
        assert_one_line(ended, CORRUPT, [f"{said} it\n"])
    assert not (place / "made").exists()


def test_a_folder_that_may_not_be_read_is_one_line(place, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "secret")

    monkeypatch.setattr(Path, "exists", refuse)
    ended = command("info", place / "v.nii.gz")
    assert ended.code == CORRUPT
    assert "secret: cannot be reached (Permission denied)" in ended.err


@pytest.mark.parametrize("verb", ["simulate", "reconstruct", "report", "import"])
def test_the_root_is_no_output(data, verb):
    given = data.scan if verb == "reconstruct" else data.volume
    ended = command(verb, given, "-o", "/")
    assert (ended.code, ended.err.count("\n")) in ((5, 1), (2, 1)), ended.err


def test_a_flipped_bit_in_a_gzip_is_found(data, old):
    raw = bytearray(data.volume.read_bytes())
    raw[len(raw) // 2] ^= 16
    (old / "flipped.nii.gz").write_bytes(raw)
    arguments = ["simulate", old / "flipped.nii.gz", "-o", old / "o.h5"]
    assert_refused(old, CORRUPT, ["flipped.nii.gz", "cannot be read"], arguments)


def test_headers_with_a_bit_flipped_are_read_or_refused(data, place):
    raw, path = plain(data), place / "flipped.nii"
    read, refused = [], []
    for bit in range(3, 352 * 8, 7):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            read.append(read_volume(path).hu)
        except (CorruptInput, UnsupportedInput) as error:
            refused.append(str(error))
    assert len(read) > 100
    assert len(refused) > 20
    assert all(np.isfinite(hu).all() for hu in read)
    assert all("flipped.nii: " in message for message in refused)


def hu_edited(data, edit):
    image = nibabel.load(data.volume)
    return nibabel.Nifti1Image(edit(image.get_fdata()).astype(np.float32), image.affine)


def with_one(value):
    def edit(hu):
        hu[5, 5, 5] = value
        return hu

    return edit


VALUES = {
    "NaN": (with_one(NAN), CORRUPT, "NaN or infinity"),
    "infinity": (with_one(INF), CORRUPT, "NaN or infinity"),
    "minus infinity": (with_one(-INF), CORRUPT, "NaN or infinity"),
    "0 to 1": (lambda hu: (hu + 1000) / 4000, UNSUPPORTED, "Hounsfield"),
    "x": (lambda hu: hu / 1000, UNSUPPORTED, "Hounsfield"),
    "mu": (lambda hu: 0.0193 * (1 + hu / 1000), UNSUPPORTED, "Hounsfield"),
    "0 to 4095": (lambda hu: hu + 1024, UNSUPPORTED, "rescale slope and intercept"),
    "constant": (np.zeros_like, UNSUPPORTED, "from 0 to 0"),
    "beyond": (with_one(1e6), UNSUPPORTED, "to 1e+06"),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_not_hounsfield_units_are_refused(data, old, name):
    edit, code, word = VALUES[name]
    nibabel.save(hu_edited(data, edit), old / "bad.nii.gz")
    arguments = ["simulate", old / "bad.nii.gz", "-o", old / "o.h5"]
    assert_refused(old, code, ["bad.nii.gz", word], arguments)


@pytest.mark.parametrize("shape", [(64, 64, 12, 1), (64, 64, 12, 1, 1)])
def test_further_axes_of_one_are_no_axes(data, place, shape):
    image = nibabel.load(data.volume)
    image = nibabel.Nifti1Image(image.get_fdata(dtype=np.float32).reshape(shape), image.affine)
    nibabel.save(image, place / "v.nii.gz")
    expected = read_volume(data.volume)
    found = read_volume(place / "v.nii.gz")
    assert np.array_equal(found.hu, expected.hu)
    assert found.grid == expected.grid


def test_what_was_read_stays_when_the_file_is_written_over(data, place):
    path = place / "v.nii"
    path.write_bytes(plain(data))
    volume = read_volume(path)
    before = volume.hu.copy()
    with open(path, "r+b") as file:
        file.seek(352)
        file.write(bytes(100_000))
    assert np.array_equal(volume.hu, before)


def stretched(data, place):
    """Write a volume of 64 x 64 pixels of 8.4375 x 5.625 mm."""
    image = nibabel.load(data.volume)
    affine = image.affine @ np.diag([1, 1.5, 1, 1])
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), affine), place / "v.nii.gz")


NOT_SQUARE = (
    "v.nii.gz: pixels of 8.4375 x 5.625 mm; expected square ones; resample the slices; a NIfTI by "
    "nibabel.processing: `resample_to_output(image, (5.625, 5.625, 2.5), order=1, mode='nearest')`"
)


@pytest.mark.parametrize("further", [[], ["--size", 48], ["--dry-run"], ["--beam", "fan"]])
def test_pixels_that_are_not_square_are_refused_before_all_else(data, old, further):
    stretched(data, old)
    words = ["simulate", old / "v.nii.gz", "-o", old / "o.h5", *further]
    assert_refused(old, UNSUPPORTED, [NOT_SQUARE], words)


def test_the_cure_for_pixels_that_are_not_square_works_as_written(data, old, monkeypatch):
    monkeypatch.chdir(old)
    stretched(data, old)
    image = nibabel.load("v.nii.gz")
    cure = NOT_SQUARE.split("`")[1]
    square = eval(cure, {"image": image, "resample_to_output": resample_to_output})
    nibabel.save(square, "square.nii.gz")
    before, after = (read_volume(old / name) for name in ("v.nii.gz", "square.nii.gz"))
    assert after.hu.shape == (12, 96, 64)
    assert after.grid.spacing_mm == pytest.approx((2.5, 5.625, 5.625))
    # From the back, two rows before are three after.
    rows = before.as_seen()[:, ::-2], after.as_seen()[:, ::-3]
    np.testing.assert_allclose(*rows, atol=0.01)
    ended = command("simulate", "square.nii.gz", "-o", "o.h5", "--views", 4)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("o.h5: 12 slices, 12 rows, 4 views, 116 bins\n")


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("no.nii.gz", ["simulate", "no.nii.gz", "-o", "o.h5"]),
        ("no.h5", ["reconstruct", "no.h5", "-o", "o.nii.gz", "--method", "fbp"]),
        ("no.nii.gz", ["evaluate", "no.nii.gz", "no.nii.gz"]),
        ("no.toml", ["train", "no.toml"]),
    ],
)
def test_a_missing_file_is_named(old, monkeypatch, missing, arguments):
    monkeypatch.chdir(old)
    assert_refused(old, CORRUPT, [missing, "o such file"], arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("reconstruct", "p.h5", "-o", "o.nii.gz"),
        ("reconstruct", "s.h5", "-o", "o.nii.gz", "--config", "p.toml"),
        ("import", "p.npy", "-o", "o.h5"),
        ("import", "y.npy", "-o", "o.h5", "--geometry", "p.json"),
        ("import", "y.npy", "-o", "o.h5", "--white", "p.tif", "--order", "view,row,bin",
         "--quantity", "counts", "--bin-mm", 1, "--arc", 180),
        ("simulate", "p.nii.gz", "-o", "o.h5"),
        ("batch", "p.h5", "-o", "made"),
        ("batch", "p.csv", "-o", "made"),
        ("train", "p.toml"),
        ("benchmark", "p.toml", "-o", "made"),
        ("info", "p.h5"),
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)  # fmt: skip
def test_a_pipe_is_not_waited_for(old, monkeypatch, arguments):
    monkeypatch.chdir(old)
    np.save(old / "y.npy", np.ones((12, 3, 57)))
    pipe = next(word for word in arguments if word.startswith("p."))
    os.mkfifo(pipe)
    assert_refused(old, CORRUPT, [f"{pipe}: is a pipe or a device"], arguments)


def test_a_recipe_that_is_huge_is_not_read(old):
    with open(old / "huge.toml", "wb") as file:
        file.truncate(2**40)
    words = ("benchmark", old / "huge.toml", "-o", old / "made")
    ended = command(*words)
    assert_one_line(
        ended,
        CORRUPT,
        ["huge.toml: is larger than 4194304 bytes; expected a recipe"],
    )
    (old / "huge.toml").rename(old / "huge.csv")
    ended = command("batch", old / "huge.csv", "-o", old / "made")
    assert_one_line(
        ended,
        CORRUPT,
        ["huge.csv: is larger than 268435456 bytes; expected a table"],
    )


def test_a_volume_of_another_format_is_refused(old):
    (old / "v.mnc").write_bytes(b"CDF")
    words = ["v.mnc", ".nii.gz", ".nrrd", ".mha"]
    assert_refused(old, UNSUPPORTED, words, ["simulate", old / "v.mnc", "-o", old / "o.h5"])


def test_a_folder_without_a_series_is_refused(old):
    words = [old.name, "no DICOM file"]
    assert_refused(old, CORRUPT, words, ["simulate", old, "-o", old / "o.h5"])


# Scans


def reconstruct(scan, folder, *options):
    return ["reconstruct", scan, "--method", "fbp", "-o", folder / "o.nii.gz", *options]


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
def test_a_truncated_scan_is_named(data, old, keep):
    raw = data.scan.read_bytes()
    keep = int(keep * len(raw)) if keep == 0.5 else keep
    (old / "cut.h5").write_bytes(raw[:keep])
    words = ["cut.h5", "cannot be read as a scan", "copy or make it again"]
    assert_refused(old, CORRUPT, words, reconstruct(old / "cut.h5", old))


def test_what_is_no_scan_says_how_to_make_one_of_it(data, old):
    with h5py.File(old / "projections.h5", "w") as file:
        file["exchange/data"] = np.ones((3, 4, 5))
    (old / "folder").mkdir()
    for path, code, words in (
        (data.volume, CORRUPT, "make a scan of it with `diffusionblend simulate`"),
        (old / "projections.h5", UNSUPPORTED, "from projections with `diffusionblend import`"),
        (old / "folder", CORRUPT, "is a folder; expected a scan; make one with `diffusionblend s"),
    ):
        assert_refused(old, code, [path.name, words], reconstruct(path, old))


def test_a_volume_is_no_projections_and_no_metrics_are_no_figures(data, old):
    words = ["chest.nii.gz", "the name of a volume, which `simulate` turns into a scan"]
    assert_refused(old, UNSUPPORTED, words, ["import", data.volume, "-o", old / "o.h5"])
    words = ["--metrics: needs a value; expected some of psnr, ssim"]
    assert_refused(old, USAGE, words, ["evaluate", data.volume, data.volume, "--metrics"])


def test_the_name_of_a_scan_may_be_in_capitals(data, place):
    (place / "SCAN.H5").write_bytes(data.scan.read_bytes())
    assert "8 views" in command("info", place / "SCAN.H5").out
    words = ("batch", place, "-o", place / "made", "--method", "fbp", "--dry-run")
    assert "scans         1: 0 exist" in command(*words).out


def test_a_scan_that_is_replaced_while_it_is_read_is_not_taken_for_another(data, old, monkeypatch):
    """Its record would name the other, and a batch take the volume for that one's."""
    for name in ("s.h5", "other.h5"):
        shutil.copy(data.scan, old / name)
    read = scans._read

    def reading(file, path):
        (old / "other.h5").replace(path)
        return read(file, path)

    monkeypatch.setattr(scans, "_read", reading)
    ended = command("reconstruct", old / "s.h5", "--method", "fbp", "-o", old / "o.nii.gz")
    assert_one_line(ended, CORRUPT, ["s.h5: changed while it was being read; read it again"])
    assert (old / "o.nii.gz").read_bytes() == b"of an earlier run"


def test_a_flipped_byte_in_the_line_integrals_is_found(data, old):
    raw = bytearray(data.scan.read_bytes())
    with h5py.File(data.scan) as file:
        chunk = file["line_integrals"].id.get_chunk_info(0)
    raw[chunk.byte_offset + chunk.size // 2] ^= 1
    (old / "flipped.h5").write_bytes(raw)
    words = ["flipped.h5", "cannot be read as a scan"]
    assert_refused(old, CORRUPT, words, reconstruct(old / "flipped.h5", old))


def integrals(edit):
    def apply(file):
        y = edit(file["line_integrals"][:])
        del file["line_integrals"]
        file["line_integrals"] = y

    return apply


def attribute(name, edit):
    def apply(file):
        file.attrs[name] = edit(file.attrs[name])

    return apply


def geometry(**changes):
    return attribute("geometry", lambda text: json.dumps(json.loads(text) | changes))


def grid(**changes):
    def edit(text):
        known = json.loads(text)
        return json.dumps(known | {"grid": known["grid"] | changes})

    return attribute("geometry", edit)


def without(name):
    return lambda file: file.attrs.__delitem__(name)


SCANS = {
    "NaN": (integrals(with_one(NAN)), CORRUPT, "NaN or infinity"),
    "infinity": (integrals(with_one(INF)), CORRUPT, "NaN or infinity"),
    "a bin too few": (integrals(lambda y: y[..., 1:]), UNSUPPORTED, "(12, 8, 90)"),
    "a view too few": (integrals(lambda y: y[:, 1:]), UNSUPPORTED, "(12, 7, 91)"),
    "a slice too few": (integrals(lambda y: y[1:]), UNSUPPORTED, "(11, 8, 91)"),
    "turned": (integrals(lambda y: y.transpose(2, 1, 0)), UNSUPPORTED, "needs (12, 8, 91)"),
    "flat": (integrals(np.ravel), UNSUPPORTED, "needs (12, 8, 91)"),
    "words": (integrals(lambda y: np.full(y.shape, b"a")), CORRUPT, "cannot be read"),
    "more bins said": (geometry(bins=92), UNSUPPORTED, "needs (12, 8, 92)"),
    "no bins": (geometry(bins=0), CORRUPT, "expected positive numbers"),
    "bins of no size": (geometry(bin_mm=0.0), CORRUPT, "expected positive numbers"),
    "no angles": (geometry(angles_deg=[]), CORRUPT, "expected one finite number or more"),
    "a word for an angle": (geometry(angles_deg=["a"]), CORRUPT, "angles_deg"),
    "another kind": (geometry(kind="spiral"), CORRUPT, "spiral"),
    "unknown field": (geometry(tilt=1), CORRUPT, "tilt"),
    "a grid of nothing": (grid(shape=[12, 0, 64]), CORRUPT, "expected positive numbers"),
    "a huge grid": (grid(shape=[12, 10**6, 10**6]), UNSUPPORTED, "at most"),
    "oblong pixels": (grid(affine=np.diag([1.0, 2, 1, 1]).tolist()), CORRUPT, "square"),
    "no JSON": (attribute("geometry", lambda text: text[:50]), CORRUPT, "geometry"),
    "no geometry": (without("geometry"), CORRUPT, "geometry"),
    "no noise": (without("noise"), CORRUPT, "noise"),
    "no schema": (without("schema"), UNSUPPORTED, "diffusionblend-scan/1"),
    "later schema": (attribute("schema", lambda s: s[:-1] + "9"), UNSUPPORTED, "scan/9"),
    "no data": (lambda file: file.pop("line_integrals"), CORRUPT, "line_integrals"),
    "no water": (attribute("mu_water_per_mm", lambda mu: 0.0), UNSUPPORTED, "mu_water is 0"),
    "NaN water": (attribute("mu_water_per_mm", lambda mu: NAN), UNSUPPORTED, "mu_water is nan"),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_that_cannot_be_is_refused(data, old, name):
    edit, code, word = SCANS[name]
    shutil.copy(data.scan, old / "bad.h5")
    with h5py.File(old / "bad.h5", "r+") as file:
        edit(file)
    assert_refused(old, code, ["bad.h5", word], reconstruct(old / "bad.h5", old))


def test_a_scan_that_claims_more_than_any_memory_is_refused(data, old):
    shutil.copy(data.scan, old / "bad.h5")
    with h5py.File(old / "bad.h5", "r+") as file:
        del file["line_integrals"]
        file.create_dataset("line_integrals", (10**4, 8, 10**6), "f4", chunks=(1, 8, 1000))
        geometry(bins=10**6)(file)
        grid(shape=[10**4, 64, 64])(file)
    assert_refused(old, UNSUPPORTED, ["bad.h5", "at most"], reconstruct(old / "bad.h5", old))


# Priors


def config_edited(**changes):
    def edit(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps({k: v for k, v in config.items() if k != "config_sha256"}))

    return edit


def weights_edited(edit, hash_too=True):
    """Edit the tensors or, by bytes, the file of the weights."""

    def apply(folder):
        path = folder / "model.safetensors"
        edit(path)
        if hash_too:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            config_edited(weights_sha256=found)(folder)

    return apply


def tensors(edit):
    def apply(path):
        known = load_file(path)
        edit(known)
        save_file({k: v.clone() for k, v in known.items()}, path)

    return weights_edited(apply)


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


WEIGHT = "unet.first.weight"
PRIORS = {
    "flipped byte": (weights_edited(flip, hash_too=False), ["SHA-256", "damaged"]),
    "truncated": (weights_edited(cut, hash_too=False), ["SHA-256", "damaged"]),
    "truncated, with its hash": (weights_edited(cut), ["not safetensors"]),
    "missing key": (tensors(lambda t: t.pop(WEIGHT)), [f"lacks {WEIGHT}"]),
    "extra key": (tensors(lambda t: t.update(more=t[WEIGHT])), ["unknown more"]),
    "other shape": (tensors(lambda t: t.update({WEIGHT: torch.zeros(3)})), [f"misshapes {WEIGHT}"]),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ["no such file"]),
    "no config": (lambda f: (f / "config.json").unlink(), ["no such prior", "chest"]),
    "config no JSON": (lambda f: (f / "config.json").write_text('{"a'), ["config.json"]),
    "config no UTF-8": (lambda f: (f / "config.json").write_bytes(b'{"a\xff'), ["config.json"]),
    "unknown field": (config_edited(colour="red"), ["config.json", "colour"]),
    "word for a number": (config_edited(blocks="one"), ["config.json", "blocks"]),
    "later schema": (config_edited(schema="diffusionblend-prior/9"), ["prior/9", "prior/2"]),
    "other network": (
        config_edited(widths=[16, 16]),
        ["unknown unet", "config.json belongs to another network"],
    ),
    "no widths": (config_edited(widths=[]), ["config.json", "the network cannot be made"]),
    "no numbers of blocks": (
        config_edited(blocks=[]),
        ["config.json", "the network cannot be made"],
    ),
}


def with_prior(data, folder, prior):
    out = folder / "o.nii.gz"
    return ["reconstruct", data.scan, "--prior", prior, "--steps", 1, "-o", out]


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_that_is_not_what_its_card_says_is_refused(data, old, name):
    edit, words = PRIORS[name]
    prior = shutil.copytree(data.prior, old / "prior")
    edit(prior)
    assert_refused(old, PRIOR, [str(prior), *words], with_prior(data, old, prior))


def test_a_missing_prior_is_named_with_those_there_are(data, old):
    words = ["nowhere", "chest", "config.json"]
    assert_refused(old, PRIOR, words, with_prior(data, old, "nowhere"))


def test_a_prior_is_whole_or_refused_wherever_a_byte_is_flipped(data, place):
    raw = (data.prior / "model.safetensors").read_bytes()
    for at in np.linspace(0, len(raw) - 1, 20).astype(int):
        prior = shutil.copytree(data.prior, place / f"prior{at}")
        (prior / "model.safetensors").write_bytes(raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1 :])
        with pytest.raises(PriorError):
            from_pretrained(str(prior))


def test_an_estimate_that_is_not_finite_stops_and_is_not_written(data, old):
    prior = save_tiny_prior(old / "nan", **{WEIGHT: NAN})
    words = ["NaN or infinity at step 1", "check the prior"]
    assert_refused(old, CORRUPT, words, with_prior(data, old, prior))


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "0"], ["--steps 0", "`int` >= 1"]),
        (["--steps", "-3"], ["--steps -3", "`int` >= 1"]),
        (["--steps", "1001"], ["--steps 1001", "`int` <= 1000"]),
        (["--method", "diffusionblend++", "--steps", "1001"], ["--steps 1001", "1 to 1000"]),
        (["--method", "fbp", "--steps", "5"], ["--steps", "fbp has no such option"]),
        (["--method", "fbpp"], ["--method fbpp", "fbp, ", "sbtv, sirt, tpdm, tv"]),
        (["--seed", "-1"], ["--seed -1", "expected 0"]),
        (["--seed", str(2**64)], [f"--seed {2**64}", f"{2**63 - 1}"]),
        (["--device", "cuda:99"], ["--device cuda:99", "expected cpu or auto"]),
        (["--device", "abacus"], ["--device abacus", "expected cpu or auto"]),
    ],
)
def test_options_of_reconstruct_that_cannot_be_are_named(data, old, options, words):
    arguments = ["reconstruct", data.scan, "-o", old / "o.nii.gz", "--prior", data.prior, *options]
    assert_refused(old, USAGE, words, arguments)


@pytest.mark.parametrize("name", ["reconstruct", "batch"])
def test_the_seed_of_the_last_sample_is_one_that_can_be(data, old, name):
    seed, output = 2**63 - 2, {"reconstruct": "o.nii.gz", "batch": "made"}[name]
    options = ["--seed", seed, "--samples", "3", "--dry-run"]
    arguments = [name, data.scan, "-o", old / output, "--prior", data.prior, *options]
    assert_refused(old, USAGE, [f"--seed {seed}", f"0 to {seed - 1}"], arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slices", "5:2"], ["chest.nii.gz", "5:2", "B <= 12"]),
        (["--slices", "0:9999"], ["chest.nii.gz", "0:9999", "B <= 12"]),
        (["--slices", "a:b"], ["--slices a:b", "expected A:B"]),
        (["--slices", "3"], ["--slices 3", "expected A:B"]),
        (["--slices=-3:5"], ["--slices -3:5", "expected A:B"]),
        (["--views", "0"], ["--views 0", "expected 1"]),
        (["--views", "-8"], ["--views -8", "expected 1"]),
        (["--limited-angle", "181"], ["--limited-angle 181", "1 to 180"]),
        (["--views", "8", "--limited-angle", "90"], ["--views", "--limited-angle", "combined"]),
        (["--arc", "0"], ["--arc 0", "expected 0.001 to 360"]),
        (
            ["--sod-mm", "400"],
            ["--sod-mm 400", "a parallel beam does not use it", "--beam fan or cone"],
        ),
        (["--detector", "curved"], ["--detector curved", "a parallel beam does not use it"]),
        (
            ["--beam", "cone", "--detector", "curved"],
            ["--detector curved", "a cone beam does not use it"],
        ),
        (["--photons", "nan"], ["--photons nan", "expected 1"]),
        (["--photons", "-1"], ["--photons -1", "expected 1"]),
        (["--photons", "inf"], ["--photons inf", "expected 1"]),
        (["--photons", "1e30"], ["--photons 1e+30", "expected 1 to 1e+15"]),
        (["--seed", "-1"], ["--seed -1", "expected 0"]),
        (["--size", "0"], ["--size 0", "expected 2"]),
        (["--size", "-64"], ["--size -64", "expected 2"]),
    ],
)
def test_options_of_simulate_that_cannot_be_are_named(data, old, options, words):
    assert_refused(old, USAGE, words, ["simulate", data.volume, "-o", old / "o.h5", *options])


@pytest.mark.parametrize("size", [60, 48, 63])
def test_a_size_that_makes_no_whole_blocks_is_refused(data, old, size):
    arguments = ["simulate", data.volume, "-o", old / "o.h5", "--size", size]
    words = ["chest.nii.gz", "64 x 64", f"to {size}", "--size 64"]
    assert_refused(old, UNSUPPORTED, words, arguments)


def test_the_steps_of_the_demonstration_are_checked_before_it_begins(place):
    arguments = ["demo", "--output", place / "demo", "--steps", "0"]
    assert_refused(place, USAGE, ["--steps 0", "1 to 1000"], arguments)


@pytest.mark.parametrize(
    "arguments", [[], ["resimulate"], ["simulate"], ["info", "--colour"], ["train", "a", "b"]]
)
def test_a_command_line_that_cannot_be_parsed_exits_with_2(arguments):
    ended = command(*arguments)
    assert (ended.code, ended.out) == (USAGE, "")
    assert "diffusionblend" in ended.err


# Output places


def outputs(data, scan, volume):
    """A simulation and a reconstruction that write to the places given."""
    return [
        ["simulate", data.volume, "-o", scan],
        ["reconstruct", data.scan, "--method", "fbp", "-o", volume],
    ]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("where", "word"),
    [("missing/o", "no such folder"), ("file/o", "no such folder"), ("folder", "a folder")],
)
def test_an_output_place_that_is_none_is_refused(data, old, which, where, word):
    (old / "file").write_bytes(b"")
    for suffix in (".h5", ".nii.gz"):
        (old / f"folder{suffix}").mkdir()
    arguments = outputs(data, old / f"{where}.h5", old / f"{where}.nii.gz")[which]
    assert_refused(old, OUTPUT, [f"{arguments[-1]}", word], arguments)


@needs_proc
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("place_of", ["/proc", "/proc/self"])
def test_a_place_where_nobody_can_write_is_refused(data, old, which, place_of):
    place_of = Path(place_of)
    arguments = outputs(data, place_of / "o.h5", place_of / "o.nii.gz")[which]
    assert_refused(old, OUTPUT, [str(arguments[-1]), "cannot be written"], arguments)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("number", "cure"),
    [(errno.EACCES, "no permission"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")],
)
def test_a_place_without_permission_is_refused_before_work_begins(
    data, old, monkeypatch, which, number, cure
):
    def refuse(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr("diffusionblend.io.formats.nifti._checked", None)
    monkeypatch.setattr("diffusionblend.cli.reconstructing.read_scan", None)
    arguments = outputs(data, old / "o.h5", old / "o.nii.gz")[which]
    words = [arguments[-1].name, os.strerror(number), cure, "another place"]
    assert_refused(old, OUTPUT, words, arguments)


@pytest.mark.parametrize("where", ["made", "made/below"])
@pytest.mark.parametrize(
    "words",
    [
        "batch SCAN -o WHERE",
        "batch SCAN -o WHERE --dry-run",
        "benchmark table1 -o WHERE --dry-run",
        "train r.toml --dry-run",
    ],
)
def test_a_folder_without_permission_is_refused_by_its_own_name(
    data, place, monkeypatch, words, where
):
    monkeypatch.chdir(place)
    (place / "made").mkdir()
    (place / "volumes").mkdir()
    recipe = f'output = "{where}"\ndata = [{{ path = "volumes" }}]\n[budget]\nsteps = 1\n'
    (place / "r.toml").write_text(recipe)
    shutil.copy(data.volume, "volumes")
    before = contents(place)

    def refuse(path, *_arguments, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    for made in ("touch", "mkdir"):
        monkeypatch.setattr(Path, made, refuse)
    ended = command(*words.replace("SCAN", str(data.scan)).replace("WHERE", where).split())
    folder = place / where if "batch" in words else where
    assert (ended.code, ended.err) == (
        OUTPUT,
        f"diffusionblend: {folder}: cannot be written (Permission denied); no permission to write "
        "there; choose another place\n",
    )
    assert contents(place) == before


@pytest.mark.parametrize("which", [0, 1])
def test_a_link_at_the_place_of_an_output_is_replaced_and_not_followed(data, place, which):
    """What it leads to stays: a link may have been laid by somebody else."""
    (place / "other").write_text("of somebody else")
    for name in ("o.h5", "o.nii.gz"):
        (place / name).symlink_to("other")
    arguments = outputs(data, place / "o.h5", place / "o.nii.gz")[which]
    assert command(*arguments).code == 0
    assert not arguments[-1].is_symlink()
    assert (place / "other").read_text() == "of somebody else"


@pytest.mark.parametrize("which", [0, 1])
def test_a_name_that_is_too_long_is_refused(data, old, which):
    arguments = outputs(data, old / f"{'o' * 300}.h5", old / f"{'o' * 300}.nii.gz")[which]
    assert_refused(old, OUTPUT, ["name is too long", "shorter"], arguments)


def test_a_record_that_cannot_be_written_is_noticed_before_work_begins(data, place):
    (place / "o.nii.gz.json").mkdir()
    arguments = outputs(data, None, place / "o.nii.gz")[1]
    assert_refused(place, OUTPUT, ["o.nii.gz.json", "is a folder"], arguments)


@pytest.mark.parametrize(
    ("which", "name"), [(0, "o"), (0, "o.nrrd"), *product((0, 1), ("o.txt", "o.gz", "o.mha"))]
)
def test_an_output_of_another_format_is_refused(data, old, which, name):
    arguments = outputs(data, old / name, old / name)[which]
    assert_refused(old, USAGE, [name, (".h5", ".nii.gz")[which]], arguments)


def test_a_volume_is_not_replaced_by_its_own_scan_or_truth(data, place):
    volume = place / "v.nii.gz"
    volume.write_bytes(data.volume.read_bytes())
    assert_refused(place, USAGE, ["v.nii.gz", ".h5"], ["simulate", volume, "-o", volume])
    arguments = ["simulate", volume, "-o", place / "o.h5", "--truth", place / "../place/v.nii.gz"]
    assert_refused(place, USAGE, ["--truth", "is the input"], arguments)


# A disk that is full, and a user who stops


def fail_at(monkeypatch, call, failure):
    """Let the `call`-th flush to the disk fail; what is written is then there, but for this."""
    calls = []

    def fsync(file):
        calls.append(file)
        if len(calls) == call:
            failure()

    monkeypatch.setattr(os, "fsync", fsync)
    return calls


def no_space():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("which", "name"), [(0, "o.h5"), (1, "o.nii.gz")])
def test_a_full_disk_leaves_the_old_file_and_no_other(data, old, monkeypatch, which, name):
    calls = fail_at(monkeypatch, 1, no_space)
    arguments = outputs(data, old / "o.h5", old / "o.nii.gz")[which]
    words = [name, "No space left on device", "disk is full", "free some space"]
    assert_refused(old, OUTPUT, words, arguments)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("which", "options", "name"),
    [(0, ["--truth", "t.nii.gz"], "t.nii.gz"), (1, [], "o.nii.gz.json")],
)
def test_a_disk_that_fills_up_at_the_second_file_leaves_no_half(
    data, place, monkeypatch, which, options, name
):
    monkeypatch.chdir(place)
    fail_at(monkeypatch, 2, no_space)
    ended = command(*outputs(data, "o.h5", "o.nii.gz")[which], *options)
    assert_one_line(ended, OUTPUT, [name, "disk is full"])
    # A scan is whole without its truth; a volume and its record come together.
    assert [p.name for p in place.iterdir()] == [["o.h5"], []][which]


@pytest.mark.parametrize("which", [0, 1])
def test_a_write_that_the_system_cuts_short_leaves_the_old_file(data, old, which):
    """A real failure of `write`, midway: the kernel allows this process files of 4 kB."""
    arguments = outputs(data, old / "o.h5", old / "o.nii.gz")[which]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = contents(old)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        ended = command(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(old) == before
    assert_one_line(ended, OUTPUT, [arguments[-1].name, "cannot be written", "another place"])


def test_what_does_not_read_back_as_it_was_written_is_not_kept(data, old, monkeypatch):
    write = ImageOpener.write

    def write_damaged(self, data):
        data = bytes(data)
        return write(self, data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 352 else data)

    monkeypatch.setattr(ImageOpener, "write", write_damaged)
    arguments = outputs(data, None, old / "o.nii.gz")[1]
    assert_refused(old, OUTPUT, ["o.nii.gz", "does not read back the same"], arguments)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, ["interrupted", "no half-written file"]),
        (signal.SIGTERM, 143, ["ended by SIGTERM", "no half-written file"]),
        (signal.SIGHUP, 129, ["its terminal was closed", "no half-written file"]),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_a_signal_leaves_no_partial_file(data, old, monkeypatch, which, number, code, words):
    fail_at(monkeypatch, 1, lambda: signal.raise_signal(number))
    before = contents(old)
    ended = command(*outputs(data, old / "o.h5", old / "o.nii.gz")[which])
    assert contents(old) == before
    assert (ended.code, ended.out) == (code, "")
    assert "Traceback" not in ended.err
    assert all(word in ended.err for word in words)


def test_an_interrupted_process_ends_with_130_and_one_line(data, old):
    interrupt = """
import os, signal
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGINT)
"""
    before = contents(old)
    arguments = ["reconstruct", data.scan, "--method", "fbp", "-o", old / "o.nii.gz"]
    ended = user_command(*arguments, before_main=interrupt)
    assert contents(old) == before
    assert_one_line(ended, 130, ["interrupted"])


# Recipes

RECIPE = """
output = "run"
data = [{ path = "volumes" }]
crops = [{ size = 32, batch = 2 }]
[budget]
steps = 1
[network]
widths = [8, 16]
blocks = [1, 1]
"""


@pytest.fixture
def workshop(data: Data, place):
    """A folder with a good recipe and a volume."""
    (place / "volumes").mkdir()
    shutil.copy(data.volume, place / "volumes")
    (place / "recipe.toml").write_text(RECIPE)
    return place


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ((RECIPE, "output = "), CORRUPT, ["recipe.toml", "not valid TOML"]),
        (('"run"', '"\\u00"'), CORRUPT, ["recipe.toml", "not valid TOML"]),
        (("output", "outptu"), USAGE, ["recipe.toml", "outptu"]),
        (("batch", "bach"), USAGE, ["recipe.toml", "bach"]),
        (("steps = 1", ""), USAGE, ["recipe.toml", "would never end", "steps, samples or hours"]),
        (("steps = 1", "steps = 0"), USAGE, ["recipe.toml", ">= 1", "budget.steps"]),
        (("steps = 1", "hours = nan"), USAGE, ["recipe.toml", "> 0", "budget.hours"]),
        (("steps = 1", "hours = inf"), USAGE, ["recipe.toml", "budget.hours"]),
        (("steps = 1", 'steps = "1"'), USAGE, ["recipe.toml", "Expected `int", "budget.steps"]),
        (("batch = 2", "batch = 0"), USAGE, ["recipe.toml", ">= 1", "batch"]),
        (("size = 32", "size = 33"), USAGE, ["recipe.toml", "33", "that 2 divides"]),
        (("size = 32", "size = -32"), USAGE, ["recipe.toml", ">= 1", "size"]),
        (("[8, 16]", "[]"), USAGE, ["recipe.toml", "widths"]),
        (("[8, 16]", "[8, 18]"), USAGE, ["recipe.toml", "multiple of 8", "widths"]),
        (("[8, 16]", "[8, 16, 24]"), USAGE, ["recipe.toml", "3 widths and 2 blocks"]),
        (('[{ path = "volumes" }]', "[]"), USAGE, ["recipe.toml", "`data`", "at least one entry"]),
        (("[budget]", "augment = 2.0\n[budget]"), USAGE, ["recipe.toml", "<= 1", "augment"]),
        (("[budget]", "seed = -1\n[budget]"), USAGE, ["recipe.toml", ">= 0", "seed"]),
        (("[budget]", "kinds = [{ gap = 16 }]\n[budget]"), USAGE, ["recipe.toml", "0 to 15"]),
        (
            ("[budget]", 'kinds = [{ gap = 1, plane = "oblique" }]\n[budget]'),
            USAGE,
            ["recipe.toml", "oblique", "sagittal"],
        ),
        (("[network]", "[noise]\nlow = 2.0\nhigh = 1.0\n[network]"), USAGE, ["low", "high"]),
        (
            ("batch = 2", "batch = 2, noise = { low = 2.0, high = 1.0 }"),
            USAGE,
            ["recipe.toml", "low=2.0", "expected `low` below `high`"],
        ),
        (
            ("[budget]", 'start = { prior = "nowhere", sha256 = "01234567" }\n[budget]'),
            PRIOR,
            ["nowhere", "no such prior"],
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(workshop, change, code, words):
    path = workshop / "recipe.toml"
    path.write_text(RECIPE.replace(*change))
    assert path.read_text(encoding="utf-8") != RECIPE
    before = contents(workshop)
    ended = command("train", path)
    assert without_derived(contents(workshop)) == before
    assert_one_line(ended, code, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('path = "empty"', ["empty", "nothing to train on", "there is no volume"]),
        ('path = "absent"', ["absent", "no such folder"]),
        ('path = "recipe.toml"', ["recipe.toml", "not a pack"]),
        ('path = "flat"', ["flat.nii.gz", "expected three dimensions", "name a folder of CT"]),
        ('path = "volumes", without = ["chest"]', ["volumes", "nothing to train on"]),
    ],
)
def test_a_folder_without_volumes_is_named(data, workshop, change, words):
    (workshop / "empty").mkdir()
    (workshop / "flat").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((64, 64)), np.eye(4)), workshop / "flat/flat.nii.gz")
    (workshop / "recipe.toml").write_text(RECIPE.replace('path = "volumes"', change))
    assert_refused(workshop, CORRUPT, words, ["train", workshop / "recipe.toml"])


@pytest.mark.parametrize("there", [True, False])
def test_a_validation_folder_without_volumes_is_named(workshop, there):
    if there:
        (workshop / "empty").mkdir()
    recipe = workshop / "recipe.toml"
    recipe.write_text(f'{RECIPE}[validation]\npath = "empty"\n')
    assert_refused(workshop, CORRUPT, ["empty", "no "], ["train", recipe])


def test_a_corrupt_volume_among_good_ones_is_named_and_left_out(data, workshop, caplog):
    raw = data.volume.read_bytes()
    (workshop / "volumes/broken.nii.gz").write_bytes(raw[: len(raw) // 2])
    nibabel.save(nibabel.Nifti1Image(np.zeros((64, 64)), np.eye(4)), workshop / "volumes/flat.nii")
    caplog.set_level("INFO")
    ended = command("train", workshop / "recipe.toml")
    assert ended.code == 0, ended.err
    told = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert [("broken" in line, "flat" in line) for line in told[:2]] == [(1, 0), (0, 1)]
    assert told[2] == "1 volumes (12 slices), 2 left out"


def test_crops_larger_than_every_volume_are_refused(workshop):
    recipe = workshop / "recipe.toml"
    recipe.write_text(RECIPE.replace("size = 32", "size = 128"))
    assert_refused(workshop, CORRUPT, ["128 pixels", "64 at most", "`crops`"], ["train", recipe])


@pytest.mark.parametrize(
    "output", ["recipe.toml", "recipe.toml/run", pytest.param("/proc/run", marks=needs_proc)]
)
def test_an_output_folder_that_cannot_be_is_refused(workshop, output):
    recipe = workshop / "recipe.toml"
    recipe.write_text(RECIPE.replace('"run"', f'"{output}"'))
    words = [output.removeprefix("/"), "cannot be written", "another place"]
    assert_refused(workshop, OUTPUT, words, ["train", recipe])


@pytest.mark.parametrize("edit", [cut, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_named(workshop, edit):
    recipe = workshop / "recipe.toml"
    assert command("train", recipe).code == 0
    edit(workshop / "run/state.safetensors")
    words = ["state.safetensors", "damaged", "remove it"]
    assert_refused(workshop, CORRUPT, words, ["train", recipe])


def test_a_checkpoint_of_another_network_is_refused(workshop):
    recipe = workshop / "recipe.toml"
    assert command("train", recipe).code == 0
    recipe.write_text(RECIPE.replace("[8, 16]", "[8, 24]"))
    words = ["state.safetensors", "not a checkpoint of this recipe", "output"]
    assert_refused(workshop, USAGE, words, ["train", recipe])


@pytest.mark.parametrize("call", range(1, 5))
def test_a_disk_that_fills_up_in_training_leaves_the_last_checkpoint_whole(
    workshop, monkeypatch, call
):
    recipe = workshop / "recipe.toml"
    text = RECIPE.replace("[budget]", "checkpoint_minutes = 0\n[budget]")
    recipe.write_text(text)
    assert command("train", recipe).code == 0
    whole = contents(workshop)
    recipe.write_text(text.replace("steps = 1", "steps = 2"))
    whole[Path("recipe.toml")] = recipe.read_bytes()
    fail_at(monkeypatch, call, no_space)
    ended = command("train", recipe)
    assert_one_line(ended, OUTPUT, ["run", "disk is full"])
    left = contents(workshop)
    assert set(without_derived(left)) == set(without_derived(whole))
    assert left[Path("run/state.safetensors")] == whole[Path("run/state.safetensors")]
    monkeypatch.undo()
    assert command("train", recipe).code == 0
    assert isinstance(from_pretrained(str(workshop / "run/prior")), UNetPrior)
    lines = (workshop / "run/stats.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(workshop, monkeypatch):
    recipe = workshop / "recipe.toml"
    assert command("train", recipe).code == 0
    recipe.write_text(RECIPE.replace("steps = 1", "steps = 3"))
    monkeypatch.setattr(
        "diffusionblend.training.loop.denoising_losses",
        lambda network, batch, *_: network(*batch[::2], batch.code).mean((1, 2, 3)) * NAN,
    )
    words = ["run", "loss is nan before step 3", "lower `rate`"]
    assert_refused(workshop, USAGE, words, ["train", recipe])


def test_an_option_behind_the_end_of_options_is_told_so(data, old):
    ended = command("reconstruct", "--", data.scan, "-o", old / "o.nii.gz")
    assert_one_line(ended, USAGE, ["-o: comes after `--`, where every word is a file"])
