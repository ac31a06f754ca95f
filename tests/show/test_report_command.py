"""The command `report`: what is beside a volume is shown, what is missing is said."""

import html
import html.parser
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import diffusionblend as db
from diffusionblend.data.volume import Volume
from diffusionblend.errors import UsageError
from diffusionblend.io.files import sha256
from diffusionblend.io.scans import read_scan
from diffusionblend.io.volumes import read_volume, write_volume
from diffusionblend.metrics import evaluate
from diffusionblend.show.report.compose import make_report
from diffusionblend.show.report.entries import Compared, make_entries
from diffusionblend.show.report.model import Entry
from diffusionblend.show.report.runs import find_runs, read_runs, volumes_of
from diffusionblend.show.report.words import verdict
from support.commands import command

PARTS = ("o.nii.gz", "o.nii.gz.json", "o.classical.nii.gz", "o.std.nii.gz")


def run(*arguments):
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A run with all that `reconstruct` can leave, and another method's beside it."""
    folder = tmp_path_factory.mktemp("made")
    options = ("--prior", data.prior, "--steps", 3, "--samples", 2, "--save-steps", 2)
    scan = folder / "chest.h5"
    run("simulate", data.volume, "-o", scan, "--photons", 1e5)
    run("reconstruct", scan, *options, "-o", folder / "o.nii.gz")
    run("reconstruct", scan, "--method", "fbp", "-o", folder / "fbp.nii.gz")
    return folder


@pytest.fixture
def user(made, data, place, monkeypatch):
    """A copy of it, in which a test may change what it likes."""
    shutil.copytree(made, place, dirs_exist_ok=True)
    shutil.copy(data.volume, place / "truth.nii.gz")
    monkeypatch.chdir(place)
    return place


def page(path="report.html"):
    with open(path, encoding="utf-8") as file:
        return html.unescape(file.read())


def change_record(name, **changes):
    with open(f"{name}.json", encoding="utf-8") as file:
        record = json.load(file)
    with open(f"{name}.json", "w", encoding="utf-8") as file:
        json.dump(record | changes, file)


def test_a_program_makes_the_page_of_the_command(user):
    run("report", "o.nii.gz", "--scan", "chest.h5", "-o", "a.html")
    typed = "diffusionblend report o.nii.gz --output a.html --scan chest.h5"
    made = db.report("o.nii.gz", "b.html", scan="chest.h5", command=typed)
    assert (user / "a.html").read_bytes() == (user / "b.html").read_bytes()
    assert made.verdict in page("b.html")
    with pytest.raises(UsageError, match=r"page\.txt: expected a name ending in \.html"):
        db.report("o.nii.gz", "page.txt")


def test_all_that_is_beside_a_volume_is_shown(user):
    ended = run("report", "o.nii.gz", "--truth", "truth.nii.gz", "--scan", "chest.h5")
    text = page()
    for said in (
        "nearest to the truth", "diffusionblend-fast", "tv (classical)", "chi-square",
        "PSNR over the steps", "Residual over the steps", "Residual of each view",
        "Profile along z", "Error along the slices", "deviation of its samples",
        "It has not been calibrated", "Only 8 views", "Versions", "Prior: weights SHA-256",
        sha256(user / "o.nii.gz"), sha256(user / "truth.nii.gz"),
        "diffusionblend report o.nii.gz --truth truth.nii.gz --scan chest.h5",
        "The scanner seen along the axis",
    ):  # fmt: skip
        assert said in text, said
    with open("o.nii.gz.json", encoding="utf-8") as file:
        assert json.load(file)["again"] in text
    assert "What is missing" not in text
    assert ended.out.splitlines()[-1].startswith("report.html, ")
    assert str(user) not in text


def test_a_folder_is_all_volumes_in_it_but_the_truth_and_what_is_beside(user):
    ended = run("report", user, "--truth", "truth.nii.gz", "-o", "r.html", "--json")
    told = json.loads(ended.out)
    plain = "tv (classical, of diffusionblend-fast)"
    assert list(told["volumes"]) == ["fbp", "diffusionblend-fast", plain]
    truth = read_volume(user / "truth.nii.gz")
    for name, file in (("fbp", "fbp.nii.gz"), ("diffusionblend-fast", "o.nii.gz")):
        assert told["volumes"][name]["figures"] == evaluate(read_volume(user / file), truth)
    assert "few-views" in [w["code"] for w in told["volumes"]["fbp"]["warnings"]]
    assert told["verdict"] in page("r.html")
    assert [p.name for p in find_runs([user])] == ["fbp.nii.gz", "o.nii.gz"]


def test_a_series_of_dicom_that_was_made_is_a_volume_of_its_folder(data, tmp_path):
    """What lies beside it is none, though it is NIfTI; nor is a series without a record."""
    made = ("reconstruct", data.scan, "--prior", data.prior, "--steps", 3, "--samples", 2)
    assert command(*made, "-o", tmp_path / "series").code == 0
    assert (tmp_path / "series.classical.nii.gz").is_file()
    shutil.copytree(tmp_path / "series", tmp_path / "source")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.json").write_text("{}")
    assert [path.name for path in find_runs([tmp_path])] == ["series"]
    assert [path.name for path in volumes_of(tmp_path)] == ["series"]
    assert volumes_of(tmp_path / "series") == [tmp_path / "series"]
    told = json.loads(run("report", tmp_path, "-o", tmp_path / "r.html", "--json").out)
    assert list(told["volumes"]) == ["diffusionblend-fast", "tv (classical)"]


def test_without_a_truth_the_verdict_is_the_quality_record(user):
    told = json.loads(run("report", "o.nii.gz", "--json").out)
    with open("o.nii.gz.json", encoding="utf-8") as file:
        quality = json.load(file)["quality"]
    assert f"{100 * quality['undetermined']['share']:.0f} %" in told["verdict"]
    assert f"{len(quality['warnings'])} warnings" in told["verdict"]
    assert "nobody can say" in told["verdict"]
    assert "No truth was given" in " ".join(told["missing"])
    text = page()
    assert "PSNR over the steps" not in text
    assert "Residual over the steps" in text
    assert "PSNR (dB)" not in text


def test_a_volume_alone_makes_a_page_that_says_what_it_lacks(user):
    for part in PARTS[1:]:
        os.remove(part)
    shutil.rmtree("o.steps")
    told = json.loads(run("report", "o.nii.gz", "--json").out)
    assert list(told["volumes"]) == ["o"]
    assert "no record is beside it (o.nii.gz.json)" in told["volumes"]["o"]["missing"]
    assert "nothing here says how good it is" in told["verdict"]
    for word in ("chi-square", "Warnings", "Residual", "calibrated", "Configuration"):
        assert word not in page()
    # With the scan its quality is assessed, and is that of the record that was removed.
    told = json.loads(run("report", "o.nii.gz", "--scan", "chest.h5", "--json").out)
    assert "assessed now" in " ".join(told["volumes"]["o"]["missing"])
    assert "few-views" in [w["code"] for w in told["volumes"]["o"]["warnings"]]


def test_what_was_assessed_now_is_what_the_record_held(user):
    (kept,) = make_entries(read_runs([user / "fbp.nii.gz"]), Compared())
    os.remove("fbp.nii.gz.json")
    scan = read_scan(user / "chest.h5")
    (anew,) = make_entries(read_runs([user / "fbp.nii.gz"]), Compared(scan=scan))
    assert anew.quality.residual.relative == pytest.approx(kept.quality.residual.relative, rel=1e-4)
    assert anew.quality.warnings == kept.quality.warnings


def test_curves_are_those_of_the_volumes_on_the_way(user):
    truth = read_volume(user / "truth.nii.gz")
    entry, _ = make_entries(read_runs([user / "o.nii.gz"]), Compared(truth=truth))
    with open("o.nii.gz.json", encoding="utf-8") as file:
        steps = json.load(file)["steps"]
    assert len(steps) > 1
    assert len(entry.residual) == len(entry.psnr) == 2  # samples of three steps, counted on
    assert [residual for sample in entry.residual for _, residual in sample] == [
        kept["residual"] for kept in steps
    ]
    points = [(3 * i + step, psnr) for i, sample in enumerate(entry.psnr) for step, psnr in sample]
    for (step, psnr), kept in zip(points, steps, strict=True):
        volume = read_volume(user / "o.steps" / kept["volume"])
        assert step == kept["step"]
        assert psnr == pytest.approx(evaluate(volume, truth)["axial"]["psnr"])
    os.remove(user / "o.steps" / steps[0]["volume"])
    told = json.loads(run("report", "o.nii.gz", "--truth", "truth.nii.gz", "--json").out)
    assert f"volumes of steps {steps[0]['step']} are not there" in " ".join(
        told["volumes"]["diffusionblend-fast"]["missing"]
    )


def test_parts_of_another_run_are_not_shown(user):
    """A record, a classical picture and a deviation belong to a volume by their SHA-256."""
    changed = read_volume(user / "o.classical.nii.gz")
    write_volume(Volume(changed.hu + 1, changed.grid), user / "o.classical.nii.gz")
    told = json.loads(run("report", "o.nii.gz", "--json").out)
    assert list(told["volumes"]) == ["diffusionblend-fast"]
    volume = read_volume(user / "o.nii.gz")
    write_volume(Volume(volume.hu + 1, volume.grid), user / "o.nii.gz")
    told = json.loads(run("report", "o.nii.gz", "--json").out)
    assert "to another volume" in told["volumes"]["o"]["missing"][0]
    assert not told["volumes"]["o"]["warnings"]


def test_a_scan_that_is_not_that_of_the_volume_is_told_of(user, data, caplog):
    run("simulate", data.volume, "-o", "other.h5", "--views", 9)
    told = json.loads(run("report", "fbp.nii.gz", "--scan", "other.h5", "--json").out)
    assert "another scan" in " ".join(told["volumes"]["fbp"]["missing"])
    assert "fbp: it belongs to another scan than the one given" in caplog.text


def test_a_truth_that_reaches_further_is_cut(user, data):
    volume = read_volume(user / "fbp.nii.gz")
    write_volume(volume.slices(2, 9), user / "part.nii.gz")
    told = json.loads(run("report", "part.nii.gz", "--truth", "truth.nii.gz", "--json").out)
    truth = read_volume(user / "truth.nii.gz")
    expected = evaluate(volume.slices(2, 9), truth.slices(2, 9))
    assert told["volumes"]["part"]["figures"] == expected
    # One with finer pixels is averaged, as `evaluate` does.
    told = json.loads(run("report", "fbp.nii.gz", "--truth", data.fine, "--json").out)
    assert told["volumes"]["fbp"]["figures"] == evaluate(volume, read_volume(data.fine))


def turned_in_file(path, axes):
    """Store the voxels of a volume from the other end of some axes, each where it was."""
    volume = read_volume(path)
    write_volume(Volume(np.flip(volume.hu, axes), volume.grid.reversed(axes)), path)


@pytest.mark.parametrize("axes", [(1,), (0, 2)])
def test_a_volume_stored_from_the_other_end_is_turned(user, axes):
    told = json.loads(
        run("report", "o.nii.gz", "fbp.nii.gz", "--truth", "truth.nii.gz", "--json").out
    )
    turned_in_file(user / "fbp.nii.gz", axes)
    again = json.loads(
        run("report", "o.nii.gz", "fbp.nii.gz", "--truth", "truth.nii.gz", "--json").out
    )
    assert [v["figures"] for v in again["volumes"].values()] == [
        v["figures"] for v in told["volumes"].values()
    ]


def test_a_dicom_of_a_scan_whose_axes_run_otherwise_has_a_page(user):
    """A series is written from the patient's right and front on, and its steps as the scan is."""
    turned_in_file(user / "truth.nii.gz", (1, 2))
    run("simulate", "truth.nii.gz", "-o", "turned.h5")
    options = ("--method", "sirt", "--set", "iterations=2", "--save-steps", 1)
    run("reconstruct", "turned.h5", *options, "-o", "series")
    told = json.loads(run("report", "series", "--truth", "truth.nii.gz", "--json").out)
    expected = evaluate(read_volume(user / "series"), read_volume(user / "truth.nii.gz"))
    assert told["volumes"]["sirt"]["figures"] == expected
    (user / "series.json").unlink()
    told = json.loads(run("report", "series", "--scan", "turned.h5", "--json").out)
    assert "its quality was assessed now" in str(told["volumes"]["series"]["missing"])


def make_another_grid(user):
    write_volume(read_volume(user / "fbp.nii.gz").slices(0, 8), user / "fbp.nii.gz")
    return ("report", "o.nii.gz", "fbp.nii.gz"), "fbp.nii.gz: is on another grid"


def make_half_a_truth(user):
    write_volume(read_volume(user / "truth.nii.gz").slices(0, 8), user / "truth.nii.gz")
    return ("report", "o.nii.gz", "--truth", "truth.nii.gz"), "truth.nii.gz: covers"


@pytest.mark.parametrize("make", [make_another_grid, make_half_a_truth])
def test_another_grid_is_refused_in_one_line(user, make):
    arguments, word = make(user)
    ended = command(*arguments)
    assert ended.code == 4
    assert len(ended.err.strip().splitlines()) == 1
    assert word in ended.err
    assert not os.path.exists("report.html")


def test_a_volume_on_the_way_that_is_not_the_records_is_left_out_and_said(user):
    name = next((user / "o.steps").glob("step-*.nii.gz"))
    write_volume(read_volume(user / "o.nii.gz").slices(0, 8), name)
    assert command("report", "o.nii.gz", "--truth", "truth.nii.gz").code == 0
    assert "are not there" in Path("report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 2, "report: needs RUNS"),
        (("o.nii.gz", "--truth", "o.nii.gz"), 2, "o.nii.gz: no volume besides the truth; give"),
        (("nowhere.nii.gz",), 3, "nowhere.nii.gz: no such file"),
        (("o.nii.gz", "-o", "o.nii.gz"), 2, "ending in .html"),
        (("o.nii.gz", "-o", "nowhere/r.html"), 5, "nowhere"),
        (("o.nii.gz", "--truth", "nowhere.nii.gz"), 3, "nowhere.nii.gz"),
        (("o.nii.gz", "--scan", "o.nii.gz"), 3, "o.nii.gz"),
        (("empty",), 3, "empty"),
    ],
)
def test_what_cannot_be_used_is_named(user, arguments, code, word):
    (user / "empty").mkdir()
    ended = command("report", *arguments)
    assert ended.code == code, ended.err
    assert word in ended.err.splitlines()[-1]
    assert not os.path.exists("report.html")


HOSTILE = "<script>alert(1)</script>\" onerror='alert(2)' {{ 7 * 7 }}"


def test_the_record_of_a_folder_that_is_no_volume_is_not_looked_for(user, monkeypatch):
    """It would be by the SHA-256 of all that lies below, which may be a whole disk."""
    (user / "none/below").mkdir(parents=True)
    (user / "none/below/large.bin").write_bytes(b"")
    monkeypatch.setattr("diffusionblend.runs.record.sha256", None)
    ended = command("report", "none")
    assert (ended.code, ended.err.count("\n")) == (3, 1)
    assert "none: no DICOM file in this folder" in ended.err


def test_too_many_volumes_are_refused_with_one_to_begin_with(user):
    (user / "many").mkdir()
    for index in range(30):
        (user / f"many/v{index:02}.nii.gz").write_bytes(b"")
    with pytest.raises(UsageError) as refused:
        find_runs([Path("many")])
    assert str(refused.value) == (
        "30 volumes; expected 1 to 24 on a page; name fewer, such as many/v00.nii.gz"
    )


@pytest.mark.parametrize("verb", ["report", "view"])
def test_a_folder_whose_volumes_lie_in_folders_of_it_is_refused_with_one_of_those(user, verb):
    for name in ("made/.batch/v.nii.gz", "made/b/v.nii.gz", "made/a/notes.txt"):
        (user / name).parent.mkdir(parents=True, exist_ok=True)
        (user / name).write_bytes(b"")
    ended = command(verb, "made")
    assert (ended.code, ended.err) == (
        3,
        "diffusionblend: made: has no volume of its own, but one of a folder in it has, "
        "made/b/v.nii.gz; give such a folder, or the names of volumes\n",
    )


def test_a_series_with_volumes_in_a_folder_of_it_is_the_series(user, data):
    write_volume(read_volume(data.volume), user / "series")
    (user / "series/more").mkdir()
    (user / "series/more/v.nii.gz").write_bytes(b"")
    assert volumes_of(Path("series")) == [Path("series")]


def attributes(text):
    """Return the names of all attributes of a page."""
    found = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, pairs: found.extend(name for name, _ in pairs)
    parser.feed(text)
    return found


@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
def test_the_planes_run_through_the_voxel_that_is_asked_for(user, axes):
    """As the files count it, in whatever direction they do."""
    volume = read_volume("o.nii.gz")
    turned = Volume(np.flip(volume.hu, axes), volume.grid.reversed(axes))
    write_volume(turned, "turned.nii.gz")
    at = (2, 5, 40)
    report = make_report([Path("turned.nii.gz")], at=at)
    assert report.voxel == at
    assert report.entries[0].hu[report.point] == turned.hu[at]
    run("report", "turned.nii.gz", "--at", "2,5,40")
    text = page()
    for words in ("slice 2 of 0 to", "row 5 of 0 to", "column 40 of 0 to", "(row 5, column 40)"):
        assert words in text
    assert "--at 2,5,40" in text


@pytest.mark.parametrize("at", ["2,5", "2,5,a", "2 5 40", "", "-1,0,0", "0,0,64"])
def test_a_voxel_that_is_none_is_refused(user, at):
    ended = command("report", "o.nii.gz", f"--at={at}")
    assert (ended.code, ended.out) == (2, "")
    assert f"--at {at}: " in ended.err or f"voxel {at} (--at): " in ended.err
    assert not (user / "report.html").exists()


def test_a_name_that_leaves_no_room_for_those_beside_it_has_a_page(user):
    name = "v" * 244 + ".nii.gz"
    shutil.copy("fbp.nii.gz", name)
    run("report", name, "-o", "r.html")


def test_a_hostile_record_is_shown_and_inert(user):
    change_record(
        "o.nii.gz",
        again=HOSTILE,
        versions={HOSTILE: HOSTILE},
        method={"name": HOSTILE, HOSTILE: [HOSTILE]},
        prior={HOSTILE: {HOSTILE: 1}},
        scan={HOSTILE: HOSTILE},
        device=HOSTILE,
    )
    run("report", "o.nii.gz", "--truth", "truth.nii.gz")
    text = (user / "report.html").read_text(encoding="utf-8")
    assert text.count("<script>") == text.count("</script>") == 1
    assert not [a for a in attributes(text) if a.startswith("on")]
    assert "{{ 7 * 7 }}" in text
    assert html.escape(HOSTILE).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in text


def test_a_hostile_file_name_is_shown_and_inert(user):
    name = "<img src=x onerror=alert(1)>.nii.gz"
    shutil.copy("fbp.nii.gz", name)
    run("report", name, "-o", "r.html")
    text = (user / "r.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert not [a for a in attributes(text) if a.startswith("on")]


@pytest.mark.parametrize(
    "broken",
    [
        "", "{", "[]", "null", "7", '{"schema": "diffusionblend-run/1"}', "[" * 100_000,
        '{"schema": "other", "sha256": ""}', '{"schema": "diffusionblend-run/1", "sha256": 7}',
        '{"schema": "diffusionblend-run/1", "sha256": "", "quality": {}}',
        '{"schema": "diffusionblend-run/1", "sha256": "", "again": "' + "x" * 30_000 + '"}',
        '{"schema": "diffusionblend-run/1", "sha256": "", "seconds": NaN}', "\udcff",
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused_in_one_line(user, broken):
    (user / "o.nii.gz.json").write_bytes(broken.encode("utf-8", "surrogateescape"))
    ended = command("report", "o.nii.gz")
    assert ended.code == 3
    assert "o.nii.gz.json" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_a_record_of_enormous_size_is_not_read(user):
    with open("o.nii.gz.json", "wb") as file:
        file.truncate(2**40)
    ended = command("report", "o.nii.gz")
    assert ended.code == 3
    assert "larger than" in ended.err


@pytest.mark.parametrize("name", ["../../secret.nii.gz", "/secret.nii.gz", "link.nii.gz", ".."])
def test_no_name_in_a_record_leads_out_of_its_folder(user, data, name):
    os.symlink(data.volume, user / "o.steps" / "link.nii.gz")
    change_record("o.nii.gz", steps=[{"step": 1, "volume": name, "residual": 0.1}])
    ended = command("report", "o.nii.gz", "--truth", "truth.nii.gz")
    assert ended.code == 3
    assert "outside the folder" in ended.err


@pytest.mark.parametrize("part", [*PARTS[1:], "o.steps"])
def test_no_link_beside_a_volume_leads_out_of_its_folder(user, tmp_path, part):
    shutil.move(part, tmp_path / part)
    os.symlink(tmp_path / part, part)
    ended = command("report", "o.nii.gz", "--truth", "truth.nii.gz")
    assert ended.code == 3
    assert "outside the folder" in ended.err


def test_numbers_that_no_run_has_do_no_harm(user):
    steps = [{"step": s, "volume": "x", "residual": 1e308} for s in (-1, 0, 3, 10**18)]
    with open("o.nii.gz.json", encoding="utf-8") as file:
        quality = json.load(file)["quality"]
    quality["residual"]["views"] = [1e308, -1e308, 0]
    change_record("o.nii.gz", steps=steps, seconds=1e308, quality=quality)
    run("report", "o.nii.gz")
    assert not re.search(r"\bnan\b", re.sub('"data:[^"]*"', "", page()))


def test_the_command_in_the_page_makes_the_same_page(user):
    run("report", "o.nii.gz", "fbp.nii.gz", "--truth", "truth.nii.gz", "-o", "one.html")
    first = (user / "one.html").read_bytes()
    (line,) = re.findall(r"<pre[^>]*>(diffusionblend report [^<]*)</pre>", page("one.html"))
    os.remove("one.html")
    run(*shlex.split(line)[1:])
    assert (user / "one.html").read_bytes() == first


def entry(name, *psnr):
    figures = {p: {"psnr": v} for p, v in zip(("axial", "coronal", "sagittal"), psnr, strict=True)}
    return Entry(name, np.zeros((1, 1, 1), np.float32), figures=figures)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry("a", 20, 21, 22)], "a has a PSNR of 20.00 dB in the axial, 21.00 dB in the"),
        ([entry("a", 20, 2, 2), entry("b", 18, 1, 1), entry("c", 19, 1, 1)],
         "a is nearest to the truth in the axial plane, with a PSNR of 20.00 dB, 1.00 dB above c; "
         "in the coronal and the sagittal plane, too."),
        ([entry("a", 20, 1, 2), entry("b", 18, 2, 1)],
         "2.00 dB above b; in the coronal plane b is; in the sagittal plane a is."),
        ([entry("a", 20.001, 1, 1), entry("b", 19.999, 1, 1)], "a and b are nearest"),
        ([entry("a", np.inf, 1, 1), entry("b", 19, 1, 1)], "a PSNR of ∞ dB, ∞ dB above b"),
    ],
)  # fmt: skip
def test_the_verdict_says_what_the_figures_say(entries, said):
    assert said in verdict(entries, truth=True)
