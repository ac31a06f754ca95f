"""What `save` writes: the files of the command, from a program's own call."""

import json

import msgspec
import numpy as np
import pytest

import diffusionblend as db
from diffusionblend.errors import OutputError, UsageError
from diffusionblend.runs.record import find_record, read_record
from support.commands import command, contents

MUST_DIFFER = ("finished", "seconds", "again")
"""Keys of a record: when, how long it took, and the line that was typed, which a call has not."""

OPTIONS = {
    "two samples": {
        "steps": 1, "samples": 2, "seed": 3, "scale": 0.5, "mu_water": 0.02,
    },
    "with tv": {"method": "diffusionblend++", "steps": 2},
    "without": {"steps": 1, "classical": False},
    "fbp": {"method": "fbp"},
    "tv": {"method": "tv"},
}  # fmt: skip


def words(options):
    """Return the words of the command line for options of a call."""
    for name, value in options.items():
        if value is False:
            yield f"--no-{name}"
        else:
            yield from (f"--{name.replace('_', '-')}", value)


def without(record):
    """Return a record without what differs from run to run."""
    quality = {k: v for k, v in record["quality"].items() if k != "seconds"}
    return {k: v for k, v in record.items() if k not in MUST_DIFFER} | {"quality": quality}


def read(folder):
    """Return the record in a folder, and the bytes of the other files."""
    files = {path.name: held for path, held in contents(folder).items()}
    return json.loads(files.pop("o.nii.gz.json")), files


@pytest.fixture(params=OPTIONS)
def asked(request, data):
    return OPTIONS[request.param] | {"prior": str(data.prior)}


def test_a_call_and_the_command_write_the_same_bytes(data, place, asked):
    one, other, third = (place / name for name in ("command", "file", "scan"))
    for folder in (one, other, third):
        folder.mkdir()
    ended = command("reconstruct", data.scan, "-o", one / "o.nii.gz", *words(asked))
    assert ended.code == 0, ended.err
    for folder, scan in ((other, data.scan), (third, db.read_scan(data.scan))):
        db.save(db.reconstruct(scan, **asked), folder / "o.nii.gz")
        (record, files), (expected, meant) = read(folder), read(one)
        assert files == meant
        assert without(record) == without(expected)
        assert list(record) == list(expected)
        assert [bool(told["again"]) for told in (expected, record)] == [True, False]


def test_what_is_read_is_what_was_written(data, place):
    db.save(db.reconstruct(data.scan, "tv", seed=3), place / "o.nii.gz")
    record = read_record(place / "o.nii.gz.json")
    assert json.loads(msgspec.json.encode(record)) == read(place)[0]
    assert (record.output, record.seed, record.convergence.reached) == ("o.nii.gz", 3, True)


def test_what_no_file_holds_is_saved_with_a_digest_that_a_report_knows(data, place):
    scan = db.read_scan(data.scan)
    scan = db.Scan(scan.y * 1.01, scan.geometry, scan.noise, scan.mu_water)
    db.save(db.reconstruct(scan, "fbp"), place / "o.nii.gz")
    record = find_record(place / "o.nii.gz").record
    assert record.scan == {"sha256": scan.digest}
    assert (record.command, record.again) == ("reconstruct", "")
    db.write_scan(scan, place / "s.h5")
    for name, strange in ((place / "s.h5", False), (data.scan, True)):
        arguments = (place / "o.nii.gz", "--scan", name, "-o", place / "r.html", "--json")
        (told,) = json.loads(command("report", *arguments).out)["volumes"].values()
        assert any("another scan" in gap for gap in told["missing"]) == strange


def test_a_method_and_a_prior_that_are_objects_have_their_names_in_the_record(data, place):
    prior = db.from_pretrained(data.prior)
    made = db.reconstruct(data.scan, db.make_method("dds", steps=1), prior=prior, classical=False)
    db.save(made, place / "o.nii.gz")
    record = find_record(place / "o.nii.gz").record
    assert (record.method["name"], record.method["steps"]) == ("dds", 1)
    assert record.prior == {"name": "prior", "weights_sha256": prior.config.weights_sha256}


def test_what_cannot_be_written_leaves_nothing(data, place):
    made = db.reconstruct(data.scan, "fbp")
    with pytest.raises(UsageError, match="expected a name"):
        db.save(made, place / "o.txt")
    with pytest.raises(UsageError, match="no place for the patient"):
        db.save(made, place / "o.nii.gz", source=data.folder)
    with pytest.raises(OutputError, match="nowhere"):
        db.save(made, place / "nowhere" / "o.nii.gz")
    assert not list(place.iterdir())
    db.save(made, place / "o.nii.gz")
    assert np.array_equal(db.read_volume(place / "o.nii.gz").hu, made.hu)
