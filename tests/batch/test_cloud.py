"""Batches from and into a store: what is there afterwards, and in which order it came."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time

import fsspec
import pytest
import s3fs
from moto.server import ThreadedMotoServer

import diffusionblend as db
from diffusionblend.batch.claims import PLACE
from diffusionblend.batch.journal import read_journals
from diffusionblend.errors import OutputError
from diffusionblend.io.remote import Remote
from support.batches import OPTIONS, batch, check_claims, reconstruct_each, write_scans
from support.commands import command

SCANS = 3
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"), SCANS)


@pytest.fixture(scope="module")
def single(scans, tmp_path_factory):
    return reconstruct_each(scans, tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of S3 on this machine, which the environment names."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    nowhere = tmp_path_factory.mktemp("aws") / "none"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **KEYS,
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(nowhere),
            "AWS_SHARED_CREDENTIALS_FILE": str(nowhere),
        }.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        yield
    server.stop()


@pytest.fixture
def bucket(server, scans, tmp_path, monkeypatch):
    """A bucket with the scans, one of them in a folder of its own; what is temporary goes apart."""
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = s3fs.S3FileSystem(use_listings_cache=False)
    name = f"bucket-{time.time_ns()}"
    store.mkdir(name)
    for scan in scans.glob("*.h5"):
        folder = "deep/" * (scan.stem == "s2")
        store.put_file(str(scan), f"{name}/scans/{folder}{scan.name}")
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


def objects(url):
    """Return every object below an address, and what is in it."""
    store, path = fsspec.url_to_fs(url, use_listings_cache=False)
    return {each.removeprefix(path).lstrip("/"): store.cat_file(each) for each in store.find(path)}


def volumes(url):
    return {n.rpartition("/")[2]: b for n, b in objects(url).items() if n.endswith(".nii.gz")}


def temporary(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_bucket_gets_what_a_folder_gets_and_nothing_twice(bucket, single, tmp_path):
    made = f"{bucket}/made"
    first = batch(f"{bucket}/scans", made)
    assert first.code == 0, first.err
    assert f"{made}: {SCANS} scans made, 0 existed, 0 failed" in first.out
    before = objects(made)
    records = [f"{d}s{i}.nii.gz.json" for i, d in enumerate(("", "", "deep/"))]
    (journal,) = (name for name in before if name.endswith(".jsonl"))
    assert set(before) == {
        "batch.md", "batch.csv", journal, *records, *(name[:-5] for name in records)
    }  # fmt: skip
    assert volumes(made) == {path.name: path.read_bytes() for path in single.glob("*.nii.gz")}
    for name in records:
        ours = json.loads(before[name])
        theirs = json.loads((single / name.rpartition("/")[2]).read_text())
        for field in ("sha256", "method", "seed", "device", "scan", "files", "again"):
            assert ours[field] == theirs[field]
    again = batch(f"{bucket}/scans", made)
    assert f"0 scans made, {SCANS} existed, 0 failed" in again.out
    assert objects(made) == before
    assert temporary(tmp_path) == []


def test_what_the_journal_knows_is_not_read_again(bucket, monkeypatch):
    made = f"{bucket}/made"
    assert batch(f"{bucket}/scans/s0.h5", made).code == 0
    read = []
    monkeypatch.setattr(Remote, "sha256", lambda self: read.append(self.name))
    assert "1 existed" in batch(f"{bucket}/scans/s0.h5", made).out
    assert read == []


def test_a_scan_that_changed_and_a_volume_that_did_are_made_again(bucket):
    scans, made = f"{bucket}/scans", f"{bucket}/made"
    assert batch(f"{scans}/s*.h5", made).code == 0
    store, path = fsspec.url_to_fs(bucket, use_listings_cache=False)
    good = store.cat_file(f"{path}/made/s1.nii.gz")
    store.pipe_file(f"{path}/scans/s0.h5", store.cat_file(f"{path}/scans/deep/s2.h5"))
    store.pipe_file(f"{path}/made/s1.nii.gz", b"cut")
    assert "2 scans made, 0 existed" in batch(f"{scans}/s*.h5", made).out
    assert store.cat_file(f"{path}/made/s1.nii.gz") == good


def test_the_record_is_put_last_and_one_that_did_not_come_is_made_up_for(bucket, monkeypatch):
    """A process that is killed between volume and record, and one that meets what it has left."""
    scan, made = f"{bucket}/scans/s0.h5", f"{bucket}/made"
    put, names = Remote.put, []

    def put_until_the_record(self, path):
        names.append(self.name)
        if self.name.endswith(".json"):
            raise KeyboardInterrupt
        put(self, path)

    monkeypatch.setattr(Remote, "put", put_until_the_record)
    assert batch(scan, made).code == 130
    assert names == ["s0.nii.gz", "s0.nii.gz.json"]
    assert "s0.nii.gz" in objects(made)
    assert "s0.nii.gz.json" not in objects(made)
    monkeypatch.setattr(Remote, "put", put)
    ended = batch(scan, made)
    assert ended.code == 0, ended.err
    assert "1 scans made" in ended.out
    assert not [name for name in objects(made) if name.startswith(PLACE)]


def test_a_volume_of_somebody_else_is_not_replaced(bucket):
    made = f"{bucket}/made"
    store, path = fsspec.url_to_fs(made, use_listings_cache=False)
    store.pipe_file(f"{path}/s0.nii.gz", b"of somebody else")
    refused = batch(f"{bucket}/scans/s0.h5", made)
    assert refused.code == 2
    assert (
        f"{made}/s0.nii.gz: exists already, but was made differently (it has no record)"
        in refused.err
    )
    assert objects(made) == {"s0.nii.gz": b"of somebody else"}
    assert batch(f"{bucket}/scans/s0.h5", made, "--replace").code == 0


def test_a_table_names_scans_here_and_there(bucket, scans, tmp_path):
    store, path = fsspec.url_to_fs(bucket, use_listings_cache=False)
    table = f"scan,output\ns0.h5,a/one.nii.gz\n{scans}/s1.h5,two.nii.gz\n{bucket}/scans/no.h5,\n"
    store.pipe_file(f"{path}/scans/table.csv", table.encode())
    ended = batch(f"{bucket}/scans/table.csv", tmp_path / "made")
    assert ended.code == 9, ended.err
    assert "2 scans made, 0 existed, 1 failed" in ended.out
    assert f"{bucket}/scans/no.h5: there is no such object or bucket" in ended.out
    assert {p.name for p in (tmp_path / "made").rglob("*.nii.gz")} == {"one.nii.gz", "two.nii.gz"}
    assert f"{bucket}/scans/s0.h5" in (tmp_path / "made/batch.csv").read_text()


def test_what_does_not_arrive_whole_is_a_failure_of_its_scan(bucket, monkeypatch):
    get = s3fs.S3FileSystem._get_file

    async def cut(self, remote, path, **options):
        await get(self, remote, path, **options)
        if remote.endswith("s1.h5"):
            os.truncate(path, 100)

    monkeypatch.setattr(s3fs.S3FileSystem, "_get_file", cut)
    s3fs.S3FileSystem.clear_instance_cache()
    ended = batch(f"{bucket}/scans", f"{bucket}/made")
    assert ended.code == 9
    assert f"{SCANS - 1} scans made, 0 existed, 1 failed" in ended.out
    assert "s1.h5: has " in ended.out
    assert " bytes in the store and 100 here; try again" in ended.out


def test_a_batch_that_is_killed_goes_on_and_the_claim_of_the_dead_is_taken(bucket, single):
    made = f"{bucket}/made"
    line = [
        sys.executable,
        "-m",
        "diffusionblend",
        "batch",
        f"{bucket}/scans",
        "-o",
        made,
        *OPTIONS,
    ]
    running = subprocess.Popen(
        list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    store, path = fsspec.url_to_fs(made, use_listings_cache=False)
    deadline = time.monotonic() + 60
    while not store.exists(f"{path}/s0.nii.gz") and time.monotonic() < deadline:
        time.sleep(0.05)
    running.kill()
    running.communicate()
    assert any(name.startswith(PLACE) for name in objects(made))
    ended = batch(f"{bucket}/scans", made)
    assert ended.code == 0, ended.err
    assert volumes(made) == {path.name: path.read_bytes() for path in single.glob("*.nii.gz")}
    assert not [name for name in objects(made) if name.startswith(PLACE)]
    found = read_journals(Remote(made, OutputError))
    assert [entry.result for entry in found.values()] == ["made"] * SCANS


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_claims_in_a_store_are_those_of_a_folder(bucket, kind):
    folder = Remote(f"{bucket}/made" if kind == "s3" else f"memory://{time.time_ns()}", OutputError)
    check_claims(folder)
    assert objects(folder.url) == {}


def test_from_python_into_memory(scans, single):
    folder = f"memory://made-{time.time_ns()}"
    summary = db.reconstruct_many(
        scans, folder, method="sbtv", iterations=5, classical=False, threads=1
    )
    assert len(summary.made) == SCANS
    assert str(summary.report) == f"{folder}/batch.md"
    assert volumes(folder) == {path.name: path.read_bytes() for path in single.glob("*.nii.gz")}


@pytest.mark.parametrize(
    ("given", "output", "options", "code", "said"),
    [
        ("s3://no-such-bucket/x.h5", "made", (), 3, "s3://no-such-bucket/x.h5: no such file"),
        ("s3://no-such-bucket/*.h5", "made", (), 3, "matches no file"),
        ("{bucket}/none/", "made", (), 3, "{bucket}/none: no such file"),
        ("{scans}", "s3://no-such-bucket/made", (), 5, "there is no such bucket"),
        ("nope://x/y.h5", "made", (), 2, "nope:// is not a known store"),
        ("{scans}", "nope://x", (), 2, "expected s3://, gs:// or a path"),
        ("{bucket}/scans", "{bucket}/made", ("--suffix", ".ome.zarr"), 2, "is one object"),
        ("{bucket}/scans", "{bucket}/made", ("--suffix", ""), 2, "is one object"),
    ],
)
def test_what_cannot_be_done_with_an_address_is_refused_in_a_line(
    bucket, scans, tmp_path, monkeypatch, given, output, options, code, said
):
    monkeypatch.chdir(tmp_path)
    known = {"bucket": bucket, "scans": scans}
    refused(given.format(**known), output.format(**known), options, code, said.format(**known))
    assert objects(bucket).keys() == {"scans/s0.h5", "scans/s1.h5", "scans/deep/s2.h5"}
    assert temporary(tmp_path) == []


@pytest.mark.parametrize("output", [False, True])
def test_without_credentials_it_says_how_to_give_them(bucket, scans, tmp_path, monkeypatch, output):
    for name in KEYS:
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    given, folder = (scans, f"{bucket}/made") if output else (f"{bucket}/scans", tmp_path / "made")
    code = 5 if output else 3
    refused(given, folder, (), code, "Unable to locate credentials); set AWS_ACCESS_KEY_ID and")


@pytest.mark.parametrize(
    ("package", "address", "said"),
    [
        ("s3fs", "s3://bucket/x.h5", "s3fs is not installed; run `pip install cloud`"),
        ("fsspec", "s3://bucket/x.h5", "fsspec is not installed; run `pip install cloud`"),
        ("gcsfs", "gs://bucket/x.h5", "gcsfs is not installed; run `pip install gcsfs`"),
    ],
)
def test_without_its_package_it_says_what_to_install(tmp_path, monkeypatch, package, address, said):
    known = sys.modules["fsspec.registry"]._registry  # of those that were imported
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("diffusionblend.io.remote.install", "pip install {}".format)
    for scheme in ("s3", "gs"):
        monkeypatch.delitem(known, scheme, raising=False)
    refused(address, tmp_path / "made", (), 2, said)


def refused(given, output, options, code, said):
    ended = command("batch", given, "-o", output, *OPTIONS[:2], *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1), ended
    assert said in ended.err
