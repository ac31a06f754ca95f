"""Many scans: what one command makes of them, what is kept, and what kills do to it."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import diffusionblend as db
from diffusionblend.batch import jobs
from diffusionblend.batch.claims import PLACE, Claims
from diffusionblend.batch.jobs import find_jobs
from diffusionblend.batch.journal import Entry, append, read_journals
from diffusionblend.batch.part import Part, parse_part
from diffusionblend.batch.plan import plan
from diffusionblend.batch.recorder import Recorder
from diffusionblend.batch.settings import Settings
from diffusionblend.errors import OutputError, UsageError
from diffusionblend.io import tree
from diffusionblend.io.files import owner
from diffusionblend.io.locks import sole
from diffusionblend.runs.checkpoint import Checkpoint
from support.batches import OPTIONS, batch, check_claims, reconstruct_each, write_scans
from support.commands import command, contents, user_command
from support.small_data import save_tiny_prior

SCANS = 8
NAMES = [f"s{index}" for index in range(SCANS)]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"), SCANS)


@pytest.fixture(scope="module")
def single(scans, tmp_path_factory):
    return reconstruct_each(scans, tmp_path_factory.mktemp("single"))


def volumes(folder):
    """Return the volumes in a folder that have their final names."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.nii.gz")}


def started(scans, folder, *options, **environment):
    """Start a batch in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "diffusionblend", "batch", *map(str, (scans, "-o", folder)),
         *map(str, (*OPTIONS, *options))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def test_a_batch_makes_what_single_commands_make_and_nothing_twice(scans, single, place):
    first = batch(scans, place / "made")
    assert first.code == 0, first.err
    assert f"{SCANS} scans made, 0 existed, 0 failed" in first.out
    assert volumes(place / "made") == volumes(single)
    before = contents(place)
    again = batch(scans, place / "made", "--workers", 1)
    assert f"0 scans made, {SCANS} existed, 0 failed" in again.out
    assert contents(place) == before
    told = json.loads(batch(scans, place / "made", "--json").out)
    assert (told["made"], told["kept"], told["failed"]) == (0, SCANS, {})


def test_the_record_is_that_of_a_single_command_but_for_time_and_command(scans, single, place):
    assert batch(scans / "s1.h5", place).code == 0
    ours, theirs = (
        json.loads((folder / "s1.nii.gz.json").read_text()) for folder in (place, single)
    )
    for record in (ours, theirs):
        del record["quality"]["seconds"]
    for name in ("sha256", "method", "prior", "seed", "samples", "device", "scan", "quality"):
        assert ours[name] == theirs[name]
    assert ours["again"] == theirs["again"]
    # So that what a single command made is kept.
    assert batch(scans / "s1.h5", single, "--dry-run").out.startswith(
        "scans         1: 1 exist and 0 would be made"
    )


def test_a_damaged_scan_and_a_missing_one_are_told_and_the_rest_is_done(scans, place):
    for name in ("s0", "s1", "s2"):
        data = bytearray((scans / f"{name}.h5").read_bytes())
        if name == "s1":
            data[len(data) // 2] ^= 1
        (place / f"{name}.h5").write_bytes(data)
    (place / "table.csv").write_text("scan\ns0.h5\ns1.h5\nnone.h5\ns2.h5\n")
    ended = batch(place / "table.csv", place / "made")
    assert ended.code == 9
    assert "2 scans made, 0 existed, 2 failed" in ended.out
    assert set(volumes(place / "made")) == {"s0.nii.gz", "s2.nii.gz"}
    found = read_journals(place / "made")
    assert found["s1.nii.gz"].kind == found["none.nii.gz"].kind == "CorruptInput"
    page = (place / "made/batch.md").read_text()
    assert "2 scans made, 2 failed" in page
    assert "s1.h5: cannot be read as a scan" in page
    with open(place / "made/batch.csv", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: row["result"] for name, row in rows.items()} == {
        "none.nii.gz": "failed", "s0.nii.gz": "made", "s1.nii.gz": "failed", "s2.nii.gz": "made",
    }  # fmt: skip
    (place / "s1.h5").write_bytes((scans / "s1.h5").read_bytes())
    assert "1 scans made, 2 existed, 1 failed" in batch(place / "table.csv", place / "made").out


def test_of_many_that_fail_some_are_told_and_the_report_lists_all(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "scans").mkdir()
    for index in range(23):
        (place / f"scans/s{index:02}.h5").write_bytes(b"")
    ended = batch("scans", "made")
    lines = ended.out.splitlines()
    assert ended.code == 9
    assert lines[0] == "made: 0 scans made, 0 existed, 23 failed"
    named = [line.split()[1] for line in lines[1:21]]
    assert named == [f"s{index:02}.nii.gz:" for index in range(20)]
    assert lines[21:] == [
        "failed: 3 more, which the report lists",
        "made/batch.md: times, shares, and what failed",
    ]
    assert (place / "made/batch.md").read_text().count("\n| s") == 23
    (place / "scans/s22.h5").unlink()
    assert len(json.loads(batch("scans", "made", "--json").out)["failed"]) == 22


@pytest.mark.parametrize("letters", [243, 250])  # too long with a record, or as it is
def test_a_name_that_is_too_long_ends_no_other_scan(scans, place, letters):
    given = place / "given"
    given.mkdir()
    long = "y" * letters
    for name in (f"a{long}", "b"):
        (given / f"{name}.h5").symlink_to(scans / "s0.h5")
    for made, kept in ((1, 0), (0, 1)):
        ended = batch(given, place / "made")
        assert f"{made} scans made, {kept} existed, 1 failed" in ended.out, ended.err
    failure = read_journals(place / "made")[f"a{long}.nii.gz"].failure
    assert failure.endswith("the name is too long; choose a shorter one")
    assert list(volumes(place / "made")) == ["b.nii.gz"]


def test_a_table_says_output_and_options_of_each(scans, place):
    (place / "table.csv").write_text(
        "scan,output,method,iterations,seed\n"
        f"{scans}/s0.h5,a/one.nii.gz,,7,\n{scans}/s1.h5,two.nrrd,fbp,,\n"
    )
    ended = batch(place / "table.csv", place / "made")
    assert ended.code == 0, ended.err
    one, two = (json.loads((place / "made" / name).read_text())["method"]
                for name in ("a/one.nii.gz.json", "two.nrrd.json"))  # fmt: skip
    assert (one["name"], one["iterations"]) == ("sbtv", 7)
    assert two["name"] == "fbp"
    assert read_journals(place / "made")["two.nrrd"].method == "fbp"


def test_a_scan_that_changed_is_made_again(scans, place):
    for name in ("s0", "s1"):
        (place / f"{name}.h5").write_bytes((scans / f"{name}.h5").read_bytes())
    assert batch(place, place / "made").code == 0
    (place / "s0.h5").write_bytes((scans / "s5.h5").read_bytes())
    assert "1 scans made, 1 existed" in batch(place, place / "made").out
    (place / "made/s1.nii.gz").write_bytes(b"cut")
    assert "1 scans made, 1 existed" in batch(place, place / "made").out


def test_volumes_made_otherwise_are_not_replaced_unless_that_is_asked_for(scans, place):
    assert batch(scans / "s0.h5", place).code == 0
    before = contents(place)
    other = ("--set", "iterations=6")
    refused = batch(scans / "s0.h5", place, *other)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "s0.nii.gz: exists already, but was made differently (method " in refused.err
    assert contents(place) == before
    assert batch(scans / "s0.h5", place, *other, "--replace").code == 0
    (place / "s0.nii.gz.json").unlink()
    assert "it has no record" in batch(scans / "s0.h5", place, *other).err


KILLED_WHEN_DONE = """
import os, signal
from pathlib import Path
unlink = Path.unlink

def killed(path, *arguments, **options):
    if path.name.startswith(".lock-"):
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, *arguments, **options)

Path.unlink = killed
"""


def test_a_lock_of_what_a_killed_process_had_made_is_removed(scans, single, place):
    command_line = ("batch", scans / "s0.h5", "-o", place, *OPTIONS)
    ended = user_command(*command_line, before_main=KILLED_WHEN_DONE)
    assert ended.code == -signal.SIGKILL
    assert len(list(place.glob(".lock-*"))) == 1
    with sole(place / "s1.nii.gz"):
        assert batch(scans / "s0.h5", place).code == 0
        (held,) = place.glob(".lock-*")
        assert held.name.endswith("s1.nii.gz")
    assert volumes(place) == {"s0.nii.gz": volumes(single)["s0.nii.gz"]}


def test_a_signal_leaves_no_lock_of_a_worker_that_it_killed(scans, place):
    """What another process makes stays locked."""
    place.mkdir(exist_ok=True)
    planned = plan([scans / "s0.h5", scans / "s1.h5"], place, Settings())
    killed, others = (job.output for job in planned.jobs)
    with sole(killed):
        (lock,) = place.glob(".lock-*")
    with sole(others):
        with contextlib.suppress(KeyboardInterrupt), Recorder(planned) as recorder:
            for job in planned.jobs:
                recorder.begin(job)
            lock.touch()
            raise KeyboardInterrupt
        (held,) = place.glob(".lock-*")
        assert held.name.endswith("s1.nii.gz")


def test_parts_are_disjoint_and_together_all(scans, single, place):
    for index in (1, 2, 3):
        ended = batch(scans, place, "--part", f"{index}/3")
        assert ended.code == 0, ended.err
    assert volumes(place) == volumes(single)
    assert {entry.part for entry in read_journals(place).values()} == {"1/3", "2/3", "3/3"}
    assert f"{SCANS} scans made" in (place / "batch.md").read_text()
    items = list(range(23))
    for of in (1, 2, 7, 23, 30):
        taken = [item for i in range(of) for item in Part(i + 1, of).take(items)]
        assert sorted(taken) == items


@pytest.mark.parametrize(
    ("text", "environment", "part"),
    [
        ("3/8", {}, Part(3, 8)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4",
                  "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_STEP": "2"}, Part(2, 4)),
        ("auto/100", {"JOB_COMPLETION_INDEX": "0"}, Part(1, 100)),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "not how many"),
        ("auto", {}, "neither SLURM_ARRAY_TASK_ID nor"),
        ("0/3", {}, "is not a part"), ("4/3", {}, "is not a part"), ("third", {}, "expected I/N"),
    ],
)  # fmt: skip
def test_a_part_is_a_share_or_that_of_an_array_of_jobs(text, environment, part):
    if isinstance(part, Part):
        assert parse_part(text, environment) == part
        return
    with pytest.raises(UsageError, match=part):
        parse_part(text, environment)


def test_names_of_outputs_follow_folders_and_patterns(scans, tmp_path):
    for name in ("a/s.h5", "b/s.h5", "b/.hidden/s.h5", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def names(*given):
        return [job.name for job in find_jobs(given, tmp_path / "made", Settings(), ".nii.gz")]

    assert names(tmp_path) == ["a/s.nii.gz", "b/s.nii.gz"]
    assert names(tmp_path / "*/s.h5") == ["a/s.nii.gz", "b/s.nii.gz"]
    assert names(tmp_path / "a/s.h5", tmp_path / "a/s.h5") == ["s.nii.gz"]
    with pytest.raises(UsageError) as refused:
        names(tmp_path / "a/s.h5", tmp_path / "b/s.h5")
    assert str(refused.value) == (
        f"{tmp_path}/a/s.h5 and {tmp_path}/b/s.h5 would both become {tmp_path}/made/s.nii.gz; give "
        "their folder, a pattern in quotes, or a table with outputs"
    )


def test_a_scan_that_is_spelled_in_two_ways_is_taken_once(tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/a.h5").write_bytes(b"")
    (tmp_path / "link").symlink_to("scans")
    monkeypatch.chdir(tmp_path)

    def found(*given):
        jobs = find_jobs(given, tmp_path / "made", Settings(), ".nii.gz")
        return [(str(job.scan), job.name) for job in jobs]

    once = [(f"{tmp_path}/scans/a.h5", "a.nii.gz")]
    assert found("scans/a.h5", "./scans/a.h5", "link/../scans/a.h5", "link/a.h5") == once
    assert found("scans", "scans/../scans", "link", tmp_path / "scans/*.h5") == once
    (tmp_path / "t.csv").write_text("scan,seed\nscans/a.h5,1\nscans/../scans/a.h5,2\n")
    with pytest.raises(UsageError) as refused:
        found("t.csv")
    assert str(refused.value) == (
        f"{tmp_path}/scans/../scans/a.h5: is given twice for {tmp_path}/made/a.nii.gz, with "
        "different options; leave one out, or give each its own output in a table"
    )


def test_names_that_are_no_utf_8_are_made_listed_and_kept(scans, place, monkeypatch, caplog):
    monkeypatch.chdir(place)
    (place / "scans").mkdir()
    names = [os.fsdecode(b"a" + end) for end in (b"\xfe", b"\xff")]
    for name in names:
        shutil.copy(scans / "s0.h5", place / "scans" / f"{name}.h5")
    (place / "scans/b.h5").write_bytes(b"")
    ended = batch("scans", "made", "--json")
    assert ended.code == 9, ended.err
    said = json.loads(ended.out)
    assert (said["made"], said["failed"].keys()) == (2, {"b.nii.gz"})
    assert set(volumes(place / "made")) == {f"{name}.nii.gz" for name in names}
    listed = read_journals(place / "made")
    assert sorted(listed) == ["a\\xfe.nii.gz", "a\\xff.nii.gz", "b.nii.gz"]
    assert listed["a\\xff.nii.gz"].scan == f"{place}/scans/a\\xff.h5"
    rows = (place / "made/batch.csv").read_text(encoding="utf-8").splitlines()
    assert rows[2].startswith("a\\xff.nii.gz,made,")
    planned = json.loads(batch("scans", "made", "--dry-run", "--json").out)
    assert planned["kept"] == 2
    assert [scan["kept"] for scan in planned["scans"]] == [True, True, False]
    (place / "scans" / f"{names[0]}.h5").write_bytes(b"")
    again = batch("scans", "made")
    assert "\nfailed: a\\xfe.nii.gz: " in again.out
    assert f"a\\xfe.nii.gz failed: {place}/scans/a?.h5: cannot be read as a scan" in caplog.text


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**/*.h5", ["a/b/t", "a/s", "s"]),
        ("**", ["a/b/t", "a/s", "s"]),
        ("**/b/*", ["a/b/t"]),
        ("a/**/b/**/[st].h5", ["b/t"]),
        ("*/**/*.h5", ["a/b/t", "a/s"]),
        ("**/**/s.*", ["a/s", "s"]),
    ],
)
def test_a_pattern_of_folders_takes_each_scan_once(tmp_path, pattern, found):
    for name in ("s.h5", "a/s.h5", "a/b/t.h5", "a/.hidden/s.h5", "a/.s.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in ("again", "a/above"):
        (tmp_path / name).symlink_to(tmp_path)
    given = find_jobs([tmp_path / pattern], tmp_path / "made", Settings(), ".nii")
    assert [job.name for job in given] == [f"{name}.nii" for name in found]


@pytest.mark.parametrize("given", [".", "**/*.h5"])
def test_the_root_of_a_disk_is_not_searched_for_scans(tmp_path, monkeypatch, given):
    for name in ("a/s.h5", "b/notes.txt", "b/c/t.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(jobs, "MOST_OTHERS", 4)
    monkeypatch.setattr(tree, "BESIDE", 1)
    found = find_jobs([tmp_path / given], tmp_path / "made", Settings(), ".nii.gz")
    assert [job.name for job in found] == ["a/s.nii.gz", "b/c/t.nii.gz"]
    monkeypatch.setattr(jobs, "MOST_OTHERS", 3)
    ended = command("batch", tmp_path / given, "-o", tmp_path / "made")
    assert (ended.code, ended.out, ended.err.count("\n")) == (4, "", 1)
    assert f"{tmp_path}: holds more than 3 other files and folders" in ended.err
    assert "a pattern without `**`, or a table of scans" in ended.err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("given", "options", "code", "said"),
    [
        (["none.h5"], (), 3, "none.h5: no such file; expected scans, folders or tables"),
        (["*.h6"], (), 3, "*.h6: matches no file"),
        (["."], (), 3, "contains no scan"),
        (["none.csv"], (), 3, "expected a table of scans"),
        (["bad.csv"], (), 2, "bad.csv, row 1: names no scan"),
        (["semicolons.csv"], (), 2, "and commas between cells; it has scan;seed"),
        (["none_in.csv"], (), 3, "none_in.csv: has no rows; expected a line of column names"),
        (["empty.csv"], (), 3, "empty.csv: has no rows; expected a line of column names"),
        (["out.csv"], (), 3, "'../x.nii.gz' is outside"),
        (["nul.csv"], (), 2, "nul.csv, row 1: 'a\\x00b.h5' contains a NUL"),
        (["odd.csv"], (), 2, ": sbtv has no such option"),
        (["set.csv"], (), 2, "`options`: sbtv has no such option"),
        (["seed.csv"], (), 2, "seed.csv, row 2: --seed many: expected `int`, got `str`"),
        (["method.csv"], (), 2, "method.csv, row 2: --method FBP: expected one of"),
        (
            ["twice.csv"],
            (),
            3,
            "twice.csv: is not valid CSV (2 columns are called seed); repair it",
        ),
        (["table.parquet"], (), 3, "table.parquet"),
        (["latin.csv"], (), 3, "latin.csv: is not UTF-8; save the table as CSV in UTF-8"),
        (["{scan}"], ("--method", "sbvt"), 2, "did you mean sbtv?"),
        (["{scan}"], ("--workers", 0), 2, "--workers 0: expected 1 to 1024"),
        (["{scan}"], ("--part", "5/4"), 2, "5/4 is not a part"),
        (["{scan}"], ("--suffix", ".h5"), 2, ".h5"),
        (["{scan}"], ("--address", "127.0.0.1:1"), 2, "no Ray cluster answers there"),
        (["{scan}"], ("--prior", "none", "--method", "dds"), 7, "none: no such prior"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_a_line(
    scans, place, monkeypatch, given, options, code, said
):
    monkeypatch.chdir(place)
    (place / "bad.csv").write_text("file\nx.h5\n")
    (place / "semicolons.csv").write_text("scan;seed\nx.h5;3\n")
    (place / "none_in.csv").write_text("scan,seed\n")
    (place / "empty.csv").write_text("")
    (place / "latin.csv").write_bytes(b"scan\nk\xe4se.h5\n")
    (place / "out.csv").write_text("scan,output\nx.h5,../x.nii.gz\n")
    (place / "nul.csv").write_text("scan,output\na\0b.h5,x.nii.gz\n")
    (place / "odd.csv").write_text("scan,colour\nx.h5,red\n")
    (place / "set.csv").write_text("scan,options\nx.h5,seed=3\n")
    (place / "seed.csv").write_text("scan,seed\nx.h5,1\ny.h5,many\n")
    (place / "method.csv").write_text("scan,method\nx.h5,fbp\ny.h5,FBP\n")
    (place / "twice.csv").write_text("scan,seed,seed\nx.h5,1,2\n")
    given = [text.format(scan=scans / "s0.h5") for text in given]
    before = contents(place)
    ours = () if "--method" in options else OPTIONS[:2]
    ended = command("batch", *given, "-o", "made", *ours, *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert said in ended.err
    assert contents(place) == before


def test_another_batch_at_work_in_the_folder_is_noticed(tmp_path):
    check_claims(tmp_path)
    assert contents(tmp_path / PLACE) == {}


@pytest.fixture
def elsewhere(monkeypatch):
    """Let `reconstruct` end its output, with some options, while a batch waits for it."""

    def begin(scans, output, *options):
        held = contextlib.ExitStack()
        held.enter_context(sole(output))

        def end(seconds):
            held.close()
            assert command("reconstruct", scans / "s0.h5", "-o", output, *options).code == 0

        monkeypatch.setattr("diffusionblend.batch.run.time.sleep", end)

    return begin


def test_what_reconstruct_is_at_is_waited_for(scans, single, place, elsewhere):
    elsewhere(scans, place / "s0.nii.gz", *OPTIONS)
    ended = batch(scans, place)
    assert ended.code == 0, ended.err
    assert f"{SCANS - 1} scans made, 1 existed, 0 failed" in ended.out
    assert volumes(place) == volumes(single)


def test_what_reconstruct_has_made_otherwise_meanwhile_is_not_replaced(scans, place, elsewhere):
    elsewhere(scans, place / "s0.nii.gz", "--method", "fbp")
    ended = batch(scans, place)
    assert ended.code == 9, ended.err
    failure = read_journals(place)["s0.nii.gz"].failure
    assert "s0.nii.gz: exists already, but was made differently (method" in failure
    assert json.loads((place / "s0.nii.gz.json").read_text())["method"]["name"] == "fbp"


def test_what_a_batch_is_at_reconstruct_leaves_alone(scans, place, monkeypatch):
    told = []

    def make(*_):
        told.append(command("reconstruct", scans / "s0.h5", "-o", place / "s0.nii.gz", *OPTIONS))
        raise OutputError("enough")

    monkeypatch.setattr("diffusionblend.batch.work._reconstruct", make)
    assert batch(scans / "s0.h5", place).code == 9
    assert told[0].code == OutputError.code
    assert "s0.nii.gz: another process is working there" in told[0].err
    assert [path.name for path in place.glob(".lock*")] == []


def test_claims_of_the_dead_are_taken_over(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with Claims(tmp_path, "one") as mine:
        owners, claims = tmp_path / PLACE / "owners", tmp_path / PLACE / "claims"
        here, there = f"{owner()}-{dead.pid}-aa", "f00df00d-1-bb"
        for name in (here, there):
            (owners / name).write_text("one")
            mine.take(name)
            (claim,) = (p for p in claims.iterdir() if p.read_text() == mine._me)
            claim.write_text(name)
        assert mine.take(here)  # its process is gone
        assert not mine.take(there)  # nobody knows
        os.utime(owners / there, (time.time() - 1000,) * 2)
        assert mine.take(there)  # no sign of life for long


@pytest.mark.parametrize("hours", [-1, 1])
def test_clocks_of_machines_are_not_compared(tmp_path, monkeypatch, hours):
    """What is an hour off is the clock of this machine; the times of files are the disk's."""
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3600 * hours)
    with Claims(tmp_path, "one") as mine:
        (tmp_path / PLACE / "owners/f00df00d-1-bb").write_text("one")
        mine.take("a.nii.gz")
        (claim,) = (tmp_path / PLACE / "claims").iterdir()
        claim.write_text("f00df00d-1-bb")
        assert not mine.take("a.nii.gz")


def test_two_that_race_for_the_same_scans_make_each_once(scans, single, tmp_path):
    made = tmp_path / "made"
    both = [started(scans, made) for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert volumes(made) == volumes(single)
    lines = [json.loads(line) for line in (made / "batch.jsonl").read_text().splitlines()]
    assert sorted(line["name"] for line in lines) == [f"{name}.nii.gz" for name in NAMES]
    assert not [path for path in contents(made) if path.name.startswith(".")]


def test_a_torn_line_of_the_journal_is_left_out(tmp_path):
    path = tmp_path / "batch.jsonl"
    entry = Entry(name="a", scan="a.h5", result="made", finished="2026-01-01T00:00:00Z")
    append(path, entry)
    with open(path, "ab") as file:
        file.write(b'{"name": "b", "sca')
    append(path, Entry(name="c", scan="c.h5", result="made", finished="2026-01-01T00:00:00Z"))
    assert set(read_journals(tmp_path)) == {"a", "c"}


def test_killed_and_started_again_it_makes_each_once(scans, single, tmp_path):
    made = tmp_path / "made"
    running = started(scans, made)
    deadline = time.monotonic() + 60
    while len(volumes(made)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    running.kill()
    running.communicate()
    first = volumes(made)
    assert 2 <= len(first) < SCANS
    ended = batch(scans, made)
    assert ended.code == 0, ended.err
    assert f"{SCANS - len(first)} scans made, {len(first)} existed" in ended.out
    assert volumes(made) == volumes(single)
    assert not [path for path in contents(made) if path.name.startswith(".")]
    assert {entry.result for entry in read_journals(made).values()} == {"made"}
    assert len(read_journals(made)) == SCANS


def test_with_ray_workers_that_are_killed_the_bytes_are_the_same(scans, single, tmp_path):
    """Two workers, of which one is killed again and again, and a scan that is damaged."""
    folder, made = tmp_path / "scans", tmp_path / "made"
    folder.mkdir()
    for name in NAMES[:4]:
        (folder / f"{name}.h5").write_bytes((scans / f"{name}.h5").read_bytes())
    (folder / "damaged.h5").write_bytes((scans / "s0.h5").read_bytes()[:-500])
    running = started(folder, made, "--workers", 2, "--retries", 20, "--json")
    killed = 0
    while running.poll() is None and killed < 2:
        time.sleep(0.2)
        for worker in workers_of(running.pid):
            if volumes(made):
                os.kill(worker, signal.SIGKILL)
                killed += 1
                break
    out, err = running.communicate(timeout=120)
    assert running.returncode == 9, err
    told = json.loads(out)  # and nothing else
    assert (told["made"], told["kept"], list(told["failed"])) == (4, 0, ["damaged.nii.gz"])
    assert volumes(made) == {f"{n}.nii.gz": volumes(single)[f"{n}.nii.gz"] for n in NAMES[:4]}


def workers_of(pid):
    """Return the processes of Ray that are at a task, of a batch's process."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] == ["ray::_call"]:
                    found.append(process.pid)
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_batch_and_nothing_half_written_is_left(scans, tmp_path, number):
    made = tmp_path / "made"
    running = started(scans, made, "--set", "iterations=2000")  # not done before it is told
    deadline = time.monotonic() + 60
    while not volumes(made) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(number)
    running.communicate(timeout=20)
    assert running.returncode in (128 + number, -number)
    assert contents(made / PLACE) == {}
    assert not list(made.glob(".*-*"))


@pytest.mark.parametrize("verb", ["batch", "reconstruct"])
def test_with_a_prior_a_batch_goes_on_from_the_state_of_a_scan(data, place, monkeypatch, verb):
    """Whichever command has left it."""
    made = place / "made"
    made.mkdir()
    output = {"batch": made, "reconstruct": made / "chest.nii.gz"}
    options = ("--prior", save_tiny_prior(place / "prior"), "--steps", 4, "--no-classical",
               "--save-state", 0, "--threads", 1)  # fmt: skip
    save, steps = Checkpoint.__call__, []

    def save_and_stop(self, told):
        save(self, told)
        steps.append(told.index)
        if len(steps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "__call__", save_and_stop)
    assert command(verb, data.scan, "-o", output[verb], *options).code == 130
    assert (made / "chest.nii.gz.state").exists()
    assert command("batch", data.scan, "-o", made, *options).code == 0
    assert steps[3] == 4  # not from the beginning
    single = place / "single.nii.gz"
    assert command("reconstruct", data.scan, "-o", single, *options).code == 0
    assert single.read_bytes() == (made / "chest.nii.gz").read_bytes()


def test_from_python_the_same_is_made(scans, single, tmp_path):
    summary = db.reconstruct_many(
        [scans / "s0.h5", scans / "s1.h5"], tmp_path, method="sbtv", iterations=5,
        classical=False, threads=1,
    )  # fmt: skip
    assert summary.made == ("s0.nii.gz", "s1.nii.gz")
    assert summary.failed == {}
    made = volumes(tmp_path)
    assert made == {name: volumes(single)[name] for name in made}


@pytest.mark.parametrize(
    "given",
    [
        {"method": "sbtv", "iterations": np.int64(5), "classical": np.bool_(False)},
        {"method": db.make_method("sbtv", iterations=5), "mu_water": np.float64(0.02)},
        {"method": "sbtv", "iterations": torch.tensor(5), "device": torch.device("cpu")},
        {"method": "sbtv", "iterations": 5, "prior": Path("beside/chest"), "seed": np.uint8(0)},
    ],
)
def test_what_reconstruct_takes_a_batch_takes(scans, tmp_path, given):
    """Numbers of NumPy and torch ended in a traceback, paths and methods were refused."""
    usual = {"threads": 1, "classical": False}
    summary = db.reconstruct_many(scans / "s0.h5", tmp_path / "many", **usual | given)
    assert summary.made == ("s0.nii.gz",)
    one = {**usual, **given, "samples": 1}
    del one["threads"]
    made = db.reconstruct(scans / "s0.h5", **one)
    found = db.read_volume(tmp_path / "many" / "s0.nii.gz")
    np.testing.assert_array_equal(found.hu, made.hu)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": db.make_method("tv"), "weight": 3}, "already has its options"),
        ({"prior": db.make_method("tv")}, r"^`prior` is a TV: expected"),
        ({"seed": "many"}, r"^`seed='many'`: expected `int`, got `str`$"),
    ],
)
def test_what_a_batch_cannot_take_is_refused_by_its_name(scans, tmp_path, given, said):
    with pytest.raises(UsageError, match=said):
        db.reconstruct_many(scans / "s0.h5", tmp_path / "many", **given)


def test_a_name_that_controls_a_terminal_is_shown_in_one_line(scans, place):
    odd = place / "scans" / "a\x1b[31m\nb.h5"
    odd.parent.mkdir()
    shutil.copy(scans / "s0.h5", odd)
    ended = user_command("batch", odd.parent, "-o", place / "made", *OPTIONS)
    assert (ended.code, ended.err.count("\n")) == (0, 1)
    assert "scan 1 of 1: a [31m b.nii.gz" in ended.err


def test_a_machine_on_which_ray_does_not_start_is_told_in_a_line(scans, place, monkeypatch):
    """Under load Ray gives up by a plain Exception, which ended in a traceback."""
    ray = pytest.importorskip("ray")

    def slow(**known):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", slow)
    ended = command("batch", scans, "-o", place / "made", *OPTIONS, "--workers", 2)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "--workers 2: Ray did not start on this machine (The current node timed" in ended.err
    assert "end other programs, or leave --workers out" in ended.err


def test_ray_is_not_blamed_for_a_word_that_is_no_utf_8(scans, place, monkeypatch):
    """It keeps the line of the command, as UTF-8."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **known: "\udcff".encode())
    ended = command("batch", scans, "-o", place / "made", *OPTIONS, "--workers", 2)
    assert (ended.code, ended.out, ended.err) == (
        2,
        "",
        "diffusionblend: a word of the command is not UTF-8, which Ray needs all of them to be; "
        "give a folder or a pattern that is, or leave --workers and --address out\n",
    )


def test_help_needs_no_ray():
    code = "import sys; assert 'ray' not in sys.modules"
    assert user_command("batch", "--help", before_main=code).code == 0
