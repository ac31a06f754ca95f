"""Experiments: recipes, runs that are kept, tables, and the paper's directions."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch

import diffusionblend
from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.experiments import benchmark, execute, key, volumes
from diffusionblend.experiments import directions as paper
from diffusionblend.experiments.benchmark import Settings, prepare
from diffusionblend.experiments.cost import Times
from diffusionblend.experiments.directions import Direction
from diffusionblend.experiments.figures import COLOURS, draw_curves
from diffusionblend.experiments.frame import make_frame, to_csv
from diffusionblend.experiments.measure import CountingPrior
from diffusionblend.experiments.page import Page, scale_mark, select, verdict, write_pages
from diffusionblend.experiments.recipe import RECIPES, find_recipe, names, read_recipe
from diffusionblend.experiments.runs import method_options
from diffusionblend.experiments.store import Result, load_hu, load_result
from diffusionblend.experiments.tables import TABLES
from diffusionblend.experiments.volumes import load_volume
from diffusionblend.experiments.writers import latex, markdown
from diffusionblend.metrics import total_variation_z
from diffusionblend.prior import from_pretrained
from diffusionblend.show.report.numbers import MISSING
from diffusionblend.show.report.tables import Cell, Column, Table, mark_best
from support.commands import command, contents
from support.experiments import change, write_recipe

RUNS = 6


def results(folder):
    return json.loads((folder / "results.json").read_bytes())


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An experiment that was run without a break: its recipe, and the folder of its results."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = write_recipe(data, folder)
    ended = command("benchmark", recipe, "-o", folder / "out")
    assert ended.code == 0, ended.err
    return recipe, folder / "out", ended


def test_an_experiment_writes_results_tables_pictures_and_a_page(whole):
    _, out, ended = whole
    files = {str(path) for path in contents(out) if path.parts[0] != "runs"}
    assert files == {
        "results.json", "tiny.md", "tiny.tex", "tiny.csv",
        "pictures/tiny-2.png", "pictures/tiny-3.png",
    } | {"results.md", "report.html", "pages.json"}  # fmt: skip
    assert len(list((out / "runs").glob("*.json"))) == RUNS
    page = (out / "tiny.md").read_text(encoding="utf-8")
    for said in (
        "diffusionblend benchmark tiny", "quick: slices 0:9 of chest (9)", "2 of 200 steps",
        "Seeds: 0, 1", "100000 photons", "SHA-256", "cores",
    ):  # fmt: skip
        assert said in page
    assert page.strip() in ended.out.strip()


def test_the_report_holds_what_the_experiment_shows(whole):
    _, out, _ = whole
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<table") == 1
    assert page.count("data:image/png;base64,") == 2
    assert page.count("<script>") == 1
    for said in ("diffusionblend benchmark tiny -o FOLDER", "Seeds: 0, 1", "100000 photons"):
        assert said in page
    # The numbers are those of the Markdown, the best in bold.
    rows = [
        line
        for line in (out / "tiny.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    for entry in rows[2].split("|")[2:-1]:
        text, _, spread = entry.strip().partition(" ± ")
        best = text.startswith("**")
        assert (f"<strong>{text.strip('*')}</strong>" if best else text) in page
        assert spread.strip("*") in page


def test_the_verdict_counts_who_is_best():
    def page(*columns, corner="Method", names=("A", "B")):
        return Page("T", "line", (Table(corner, names, columns),), (), ())

    def column(heading, *best):
        return Column(heading, tuple(Cell("1", best=b, value=1.0) for b in best))

    one = page(column("x", True, False), column("y", True, False), column("z", False, True))
    assert verdict({"one": one}, ()) == (
        "1 experiment. Of 3 columns in which methods are compared, the best is A in 2, B in 1."
    )
    words = Column("Method", (Cell("A"), Cell("B")), number=False)
    scans = page(words, column("x", True, True), corner="Scan", names=("one", "other"))
    held = Direction("claim", "measured", 1.0, "dB", True)
    said = verdict(
        {"one": scans, "two": page(corner="views")}, (held, dataclasses.replace(held, holds=False))
    )
    assert "2 experiments. Of 2 columns" in said
    assert said.endswith("the best is A in 1, B in 1. 1 of 2 directions of the paper hold.")


def test_a_page_that_was_tampered_with_reads_nothing_from_outside(whole, tmp_path):
    _, out, _ = whole
    for name in ("../secret.png", "/etc/passwd", "tiny.md"):
        text = (out / "pages.json").read_text(encoding="utf-8").replace("pictures/tiny-2.png", name)
        (tmp_path / "pages.json").write_text(text)
        (tmp_path / "tiny.md").write_text("no picture")
        with pytest.raises(CorruptInput, match=r"outside|not a valid PNG|cannot"):
            write_pages(tmp_path)
        assert not (tmp_path / "report.html").exists()
    (tmp_path / "pages.json").write_text("{")
    with pytest.raises(CorruptInput, match="damaged"):
        write_pages(tmp_path)


def test_results_hold_one_row_a_run_and_no_time(whole):
    runs = results(whole[1])["tiny"]["runs"]
    assert [(r["row"], r["seed"]) for r in runs] == [
        (row, seed) for row in ("FBP", "SBTV", "++") for seed in (0, 1)
    ]
    # ++ pads 9 slices to none more: 3 groups of cross; adjacent has 3, or 4 with the ends.
    assert [r["evaluations"] for r in runs[:4]] == [0, 0, 0, 0]
    assert all(6 <= r["evaluations"] <= 7 and r["calls"] == 2 for r in runs[4:])
    truth = "z total variation of the truth"
    assert all(r[truth] == runs[0][truth] for r in runs)
    assert [step for step, _ in runs[2]["trace"]] == [1, 2, 3]
    assert not {"minutes", "finished", "hardware"} & set(runs[0])


def test_the_volume_of_a_run_has_the_figures_of_the_run(whole, data):
    run = results(whole[1])["tiny"]["runs"][2]
    hu = load_hu(whole[1], run["key"])
    truth = load_volume(str(data.volume)).slices(0, 9).hu
    error = np.square(hu.clip(-1000, 1000) - truth.clip(-1000, 1000)).mean(axis=(1, 2))
    psnr = (10 * np.log10(2000**2 / error)).mean()
    assert psnr == pytest.approx(run["axial psnr"], abs=0.01)
    assert run["trace"][-1][1] == run["axial psnr"]


def test_the_table_of_runs_is_what_the_tables_are_made_of(whole):
    runs = pd.read_csv(whole[1] / "tiny.csv")
    assert len(runs) == RUNS
    assert (runs["minutes"] > 0).all()
    for run, kept in zip(runs.to_dict("records"), results(whole[1])["tiny"]["runs"], strict=True):
        assert run["axial psnr"] == pytest.approx(kept["axial psnr"], abs=1e-5)
        assert (run["key"], run["volume"], run["photons"]) == (kept["key"], "chest", 1e5)
    means = runs.groupby("row", sort=False)["axial psnr"].mean()
    lines = (whole[1] / "tiny.md").read_text(encoding="utf-8").splitlines()
    shown = [line.split("|")[2].strip(" *").split(" ")[0] for line in lines if line[:2] == "| "]
    assert shown[2:] == [f"{mean:.2f}" for mean in means]


def test_what_is_kept_is_not_run_again_and_what_is_lost_is(whole, tmp_path, monkeypatch):
    recipe, out, _ = whole
    before, ran = contents(out), []
    monkeypatch.setattr(execute, "do_run", lambda run, folder: ran.append(run))
    assert command("benchmark", recipe, "-o", out).code == 0
    assert not ran
    after = contents(out)
    assert after == before
    monkeypatch.undo()
    for lost in sorted((out / "runs").glob("*.json"))[::2]:
        lost.unlink()
    # A volume without figures is what a kill between the two leaves.
    assert command("benchmark", recipe, "-o", out).code == 0
    assert (out / "results.json").read_bytes() == before[(out / "results.json").relative_to(out)]


def started(recipe, place, *options):
    """Start an experiment in a process of its own, with as many threads as this one has."""
    return subprocess.Popen(
        [sys.executable, "-m", "diffusionblend", "benchmark", recipe, "-o", place, *options],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_goes_on_and_ends_the_same(whole, tmp_path):
    recipe, out, _ = whole
    place = tmp_path / "killed"
    running = started(recipe, place)
    deadline = time.monotonic() + 60
    while not list(place.glob("runs/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert 1 <= len(list(place.glob("runs/*.json"))) < RUNS
    assert not (place / "results.json").exists()
    assert command("benchmark", recipe, "-o", place).code == 0
    assert (place / "results.json").read_bytes() == (out / "results.json").read_bytes()


def test_several_workers_find_the_same(whole, tmp_path):  # 15 s: Ray starts slowly
    recipe, out, _ = whole
    running = started(recipe, tmp_path, "--workers", "2")
    _, told = running.communicate(timeout=120)
    assert running.returncode == 0, told
    assert f"run {RUNS} of {RUNS}" in told
    assert (tmp_path / "results.json").read_bytes() == (out / "results.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        (('title = "Tiny"', 'title = "Tiny"\ncolour = "red"'), "unknown field `colour`", 2),
        (('label = "FBP"', 'label = "FBP"\nfilter = "ramp"'), "`filter` - at `$.rows[0]`", 2),
        (('method = "fbp"', 'method = "fpb"'), "`method='fpb'`: expected one of ", 2),
        (("{steps = 2}", "{stops = 2}"), "`stops`: diffusionblend++ has no such option", 2),
        (("{steps = 2}", '{steps = "many"}'), "expected `int`, got `str`", 2),
        (("{steps = 2}", "{steps = 0}"), "++: `steps=0`: expected 1 or more", 2),
        (('kind = "trace"', 'kind = "sweep"'), "show.x: ''; expected one of views, photons", 2),
        (("[0, 9]", "[0, 90]"), "slices 0:90 are not in the volume", 2),
        (("[0, 9]", "[3, 4]"), "a volume needs two or more", 2),
        (('kind = "quality"', 'kind = "quality"\nplanes = ["oblique"]'), "'oblique'", 2),
        (('kind = "quality"', 'kind = "quality"\nrows = ["SBVT"]'), "show.rows: 'SBVT'", 2),
        (("views = 8", ""), "'8 views' needs `views` or `limited_angle`", 2),
        (('label = "SBTV"', 'label = "FBP"'), "'FBP' is there twice", 2),
        (("seeds = [0, 1]", 'like = "table11"'), "like 'table11'; expected one of table1", 2),
        (("seeds = [0, 1]", "seeds = [-1]"), "`$.seeds[0]`", 2),
        (("seeds = [0, 1]", "seeds = [0"), "not valid TOML", 3),
        (("chest.nii.gz", "chist.nii.gz"), "no such volume", 3),
        (('prior"', 'priar"'), "priar: no such prior", 7),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused_in_one_line(
    data, tmp_path, place, change, said, code
):
    recipe = write_recipe(data, tmp_path, change)
    ended = command("benchmark", recipe, "-o", place / "out")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert str(recipe) in ended.err
    assert contents(place) == {}


def test_a_run_that_fails_is_named_and_no_results_are_written(data, tmp_path, place):
    """The tiny prior knows no coronal slices."""
    change = ('"diffusionblend++"', '"tpdm"')
    ended = command("benchmark", write_recipe(data, tmp_path, change), "-o", place)
    assert ended.code == 7
    assert "++, 8 views, seed 0: the prior was trained on slices" in ended.err.splitlines()[-1]
    kept = {path.suffix for path in contents(place)}
    assert kept == {".json", ".npz"}  # whole runs of the rows before
    assert not (place / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table11"], "table11: no such experiment; expected one of table1, table2,"),
        (["table1", "--slices", "1:5"], "--slices: needs --volume"),
        (["table1", "--workers", "0"], "--workers 0: expected 1 to 1024"),
        (["table1", "--device", "tpu"], "--device tpu"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(place, arguments, said):
    ended = command("benchmark", *arguments, "-o", place / "out")
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert contents(place) == {}


@pytest.mark.parametrize("module", ["ray", "matplotlib", "pandas"])
def test_a_missing_extra_is_named(data, tmp_path, place, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    recipe = write_recipe(data, tmp_path)
    ended = command("benchmark", recipe, "-o", place / "out", "--workers", 2)
    assert ended.code == 2
    assert "; run `pip install 'matplotlib>=" in ended.err
    assert contents(place) == {}


def test_a_volume_of_ones_own_takes_the_place_of_the_recipes(data, tmp_path):
    recipe = write_recipe(data, tmp_path, ('path = "', 'path = "elsewhere/'))
    settings = Settings(tmp_path, volume=data.volume, slices=(2, 6))
    experiment = prepare(str(recipe), settings)
    assert {run.inputs.slices for run in experiment.runs} == {(2, 6)}
    assert "--volume chest.nii.gz --slices 2:6" in experiment.command


def test_other_voxels_beside_the_same_header_are_another_volume(tmp_path):
    """Results of the old ones would be shown as theirs."""
    head = "NDims = 3\nDimSize = 2 2 2\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "v.mhd").write_text(f"{head}ElementDataFile = v.raw\n")
        (tmp_path / name / "v.raw").write_bytes(name.encode() * 16)
    first, second = (volumes.digest(str(tmp_path / name / "v.mhd")) for name in ("a", "b"))
    assert first != second


def test_a_folder_of_an_earlier_version_is_refused_with_what_to_do(data, tmp_path):
    (tmp_path / "out/cells").mkdir(parents=True)
    ended = command("benchmark", write_recipe(data, tmp_path), "-o", tmp_path / "out")
    assert (ended.code, ended.err.count("\n")) == (4, 1)
    assert "out/cells: runs of an earlier version" in ended.err
    assert "name another folder for the results, or remove this one" in ended.err
    assert contents(tmp_path / "out") == {}


def test_there_is_a_recipe_for_every_experiment_of_the_paper():
    tables = [f"table{n}" for n in range(1, 11)]
    figures = [f"figure{n}" for n in range(3, 13)]
    ours = ["ablation-position", "directions", "fast", "fast-parts", "honest"]
    assert names() == [*tables, *figures, *ours]
    told = " ".join(command("benchmark", "--help").out.replace("│", " ").split())
    for name in [*names(), "all"]:
        assert name in told


@pytest.mark.parametrize("name", [p.stem for p in sorted(RECIPES.glob("*.toml"))])
@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_recipe_names_only_methods_and_options_that_there_are(name, scale):
    recipe = read_recipe(find_recipe(name))
    for row in recipe.rows:
        for value in row.sweep.values if row.sweep else (None,):
            options, default = method_options(row, value, recipe, scale)
            if scale == "quick" and default and not (row.sweep and row.sweep.option == "steps"):
                assert options["steps"] <= 100 or "steps" in row.options
    ours = {"honest": {"independent"}, "fast-parts": {"independent", "paper"}}
    assert {a.protocol for a in recipe.acquisitions} == ours.get(name, {"paper"})


def test_tables_share_their_runs(monkeypatch):
    """Table 2 is another view of table 1, and figure 9 a part of it."""
    one, two, nine = (read_recipe(find_recipe(n)) for n in ("table1", "table2", "figure9"))
    assert one.rows == two.rows == nine.rows
    assert one.acquisitions == two.acquisitions
    assert nine.acquisitions[0] in one.acquisitions


def test_total_variation_along_z_of_a_ramp():
    hu = np.arange(5)[:, None, None] * 100.0 + np.zeros((5, 3, 4))
    assert total_variation_z(hu) == pytest.approx(0.1 * 4 / 5)
    assert total_variation_z(hu + 3000) == 0  # outside of what is compared
    assert total_variation_z(np.ones((5, 3, 4))) == 0


def test_a_counting_prior_counts_and_lets_everything_through(data):
    inner = from_pretrained(str(data.prior))
    prior = CountingPrior(inner)
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prior.denoise(x, 0.5, 1), inner.denoise(x, 0.5, 1))
    prior.denoise(x[:2], 0.5, 0, "axial")
    assert (prior.groups, prior.calls) == (6, 2)
    assert prior.config is inner.config
    x.requires_grad_(True)
    (slope,) = torch.autograd.grad(prior.denoise(x, 0.5, 1).sum(), x)
    assert slope.abs().sum() > 0


def test_the_digest_of_code_is_of_what_it_does():
    text = 'def f(x):\n    """Say."""\n    return x + 1\n'
    digest = key.source_digest
    assert digest(text) == digest("def f(x): return x+1  # sum\n")
    assert digest(text) != digest(text.replace("1", "2"))
    assert digest('"""A."""\nx = "a"') != digest('"""A."""\nx = "b"')


def test_the_digest_of_code_is_not_of_what_it_says():
    text = "def f(x):\n    log.info('a', x)\n    if x > 1:\n        raise A(f'{x} is large')\n"
    digest = key.source_digest
    assert digest(text) == digest(text.replace("is large", "must be 1 at most"))
    assert digest(text) == digest(text.replace("log.info('a', x)", "log.warning('b')"))
    assert digest(text) != digest(text.replace("A(", "B("))
    assert digest(text) != digest(text.replace("> 1", "> 2"))
    assert digest(text) != digest(text.replace("log.info", "send"))


def test_micro_ct_is_read_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CorruptInput, match="pip install --no-deps qim3d"):
        volumes.find_volume("microct-bone", tmp_path)


def test_micro_ct_lies_on_the_scale_of_a_chest(tmp_path, monkeypatch):
    from PIL import Image

    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (8, 6), dtype=np.uint8)) for _ in range(5)]
    path = tmp_path / "bone.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedInput):  # whose values mean what, nobody said
        load_volume(str(path))
    monkeypatch.setattr(volumes, "_examples", lambda: [tmp_path])
    volume = load_volume(str(path))
    assert volume.hu.shape == (5, 8, 6)
    assert (volume.hu.min(), volume.hu.max()) == (-1000, 400)


TABLE = Table(
    corner="Method",
    names=("FBP_1", "A|B"),
    columns=(
        Column("8 views: PSNR / dB", (Cell("20.00", "0.50", value=20.004),
                                      Cell("21.00", "1.25", best=True, value=21.0))),
        Column("minutes", (Cell(MISSING), Cell("+3.00", value=3.0))),
    ),
    caption="A & B",
    notes=("100 % ours.",),
)  # fmt: skip


def test_a_table_in_markdown():
    assert markdown(TABLE) == (
        "**A & B**\n\n"
        "| Method | 8 views: PSNR / dB | minutes |\n"
        "| --- | ---: | ---: |\n"
        f"| FBP_1 | 20.00 ± 0.50 | {MISSING} |\n"
        "| A\\|B | **21.00 ± 1.25** | +3.00 |\n\n"
        "- 100 % ours.\n"
    )


def test_a_table_in_latex():
    lines = latex(TABLE, ["#1"]).splitlines()
    assert r"\caption{A \& B. 100 \% ours. \#1.}" in lines
    assert r"\begin{tabular}{lrr}" in lines
    assert r"FBP\_1 & 20.00 $\pm$ 0.50 & -- \\" in lines
    assert r"A|B & \textbf{21.00 $\pm$ 1.25} & +3.00 \\" in lines
    assert [line for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]


def test_what_reads_the_same_is_equally_good():
    column = [Cell(f"{v:.2f}", value=v) for v in (20.001, 20.004, 19.0)] + [Cell(MISSING)]
    assert [e.best for e in mark_best(column)] == [True, True, False, False]
    assert not mark_best([Cell("1.00", value=1.0)])[0].best


def made_up(experiment, figures):
    """Runs with figures that nobody measured: `figures(row label)` gives (psnr, tv, groups)."""
    pairs = []
    for run in experiment.runs:
        psnr, tv, groups = figures(run)
        planes = {
            plane: {"psnr": psnr, "psnr_std": 1.0, "ssim": 0.5, "ssim_std": 0.1}
            for plane in ("axial", "coronal", "sagittal")
        }
        result = Result(
            inputs=run.inputs, figures=planes, total_variation=tv, total_variation_truth=0.05,
            groups=groups, calls=1, trace=((1, psnr),),
            times=Times(60.0, 100.0, None, "2026-01-01", "a machine"),
        )  # fmt: skip
        pairs.append((run, result))
    return make_frame(experiment.recipe, pairs, RECIPES)


AS_THE_PAPER = {
    "DDS 2D": (20.0, 0.03, 2400), "DDS": (21.0, 0.01, 2400), "DiffusionBlend": (24.0, 0.03, 2400),
    "DiffusionBlend++": (25.0, 0.04, 930), "fixed partition": (22.0, 0.03, 900),
    "adjacent": (23.0, 0.03, 970),
}  # fmt: skip


@pytest.fixture(scope="module")
def plan(data):
    """The runs of `directions`, of 24 slices; none of them is made."""
    return prepare("directions", Settings(data.folder))


def measured(plan, **changes):
    figures = AS_THE_PAPER | changes
    return paper.directions(made_up(plan, lambda r: figures.get(r.row.label, (22.0, 0.03, 900))))


def test_the_papers_directions_hold_where_they_do(plan):
    found = measured(plan)
    assert len(found) == 10
    assert all(d.holds for d in found)
    paper.check(found)
    assert "**" not in markdown(paper.directions_table(found)).replace(
        "**The paper's directions**", ""
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"DDS": (26.0, 0.01, 2400)}, "PSNR: DiffusionBlend++ > DDS: 25.00 and 26.00 dB (-1.00)"),
        ({"adjacent": (21.5, 0.03, 970)}, "adjacent > fixed partition (+1.17 dB)"),
        ({"DDS": (21.0, 0.045, 2400)}, "z total variation: DDS < DiffusionBlend++"),
        ({"DiffusionBlend++": (25.0, 0.06, 930)}, "0.0600 and 0.0500, by 0.01 x"),
        ({"jump every 8": (25.5, 0.04, 930)}, "2nd step is best (A.3): 2: 25.00 dB"),
        ({"DiffusionBlend++": (25.0, 0.04, 2400)}, "a third of DiffusionBlend"),
    ],
)
def test_a_direction_that_fails_is_told_with_how_much(plan, changes, said):
    found = measured(plan, **changes)
    with pytest.raises(paper.DirectionsFailed) as caught:
        paper.check(found)
    assert caught.value.code == 8
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "**not reproduced**" in markdown(paper.directions_table(found))


def test_directions_exit_with_8_and_leave_their_table(data, place, plan, monkeypatch):
    figures = AS_THE_PAPER | {"DDS": (26.0, 0.01, 2400)}
    frame = made_up(plan, lambda r: figures.get(r.row.label, (22.0, 0.03, 900)))
    monkeypatch.setattr(benchmark, "do_runs", lambda *arguments: frame)
    ended = command("benchmark", "directions", "-o", place)
    assert ended.code == 8
    assert ended.err.splitlines()[-1].startswith("diffusionblend: 2 of 10 directions do not hold")
    assert "not reproduced" in (place / "results.md").read_text(encoding="utf-8")
    verdicts = json.loads((place / "directions.json").read_bytes())
    assert sum(not v["holds"] for v in verdicts) == 2


def table_of(experiment, figures, index=0):
    show = experiment.recipe.show[index]
    frame = select(made_up(experiment, figures), show)
    return TABLES[show.kind](frame, show, experiment.recipe.title)


def shown(name, figures, index=0):
    return table_of(prepare(name, Settings(RECIPES)), figures, index)


def rows(table):
    return [[name, *(cell.text for cell in cells)] for name, cells in table.rows]


def test_the_words_say_where_total_variation_wins(data, tmp_path):
    own = prepare(str(write_recipe(data, tmp_path)), Settings(tmp_path))
    for tv, words in ((30.0, "wins over every other row in PSNR: 8 views, axial: by 10.00 dB"),
                      (19.0, "wins nowhere")):  # fmt: skip
        figures = {"SBTV": (tv, 0.0, 0)}
        table = table_of(own, lambda r, f=figures: f.get(r.row.label, (20.0, 0.0, 0)))
        assert words in table.notes[0]


def test_scans_of_one_plane_stand_side_by_side_in_the_order_of_the_recipe():
    table = shown("table1", lambda r: (20.0 + len(r.row.label) / 100, 0.0, 0))
    heads = [column.heading for column in table.columns]
    assert heads == [f"{n} views: {m}" for n in (8, 6, 4) for m in ("PSNR / dB", "SSIM")]
    labels = [row.label for row in read_recipe(find_recipe("table1")).rows]
    assert [name.partition(" (")[0] for name in table.names] == labels
    assert {"TV", "DiffusionBlend fast"} <= set(labels)
    tpdm = rows(table)[labels.index("TPDM")]
    assert tpdm[1:] == ["20.04", "0.500", *[MISSING] * 4]  # at the quick scale of 8 views alone
    best = [name for name, cells in table.rows if cells[0].best]
    assert best == ["DiffusionBlend fast (not in the paper)"]


def test_planes_stand_side_by_side_and_scans_below_each_other():
    table = shown("honest", lambda r: (20.0 + r.inputs.seed, 0.0, 0))
    assert (table.corner, table.columns[0].heading) == ("Scan", "Method")
    assert table.names[:3] == ("chest, 8 views, 1e5 photons",) * 3
    assert [cell.text for cell in table.columns[0].cells[:3]] == [
        "TV", "DiffusionBlend++", "DiffusionBlend fast",
    ]  # fmt: skip
    assert table.columns[1].cells[0] == Cell("21.00", "1.00", best=True, value=21.0)
    assert "standard deviation of 1.00 dB at most" in table.notes[1]


def test_table_5_shows_the_truth_and_table_10_what_runs_cost():
    table = shown("table5", lambda r: (20.0, 0.025, 0))
    assert rows(table)[0] == ["truth", "0.0500", "1.00"]
    assert rows(table)[1] == ["FBP", "0.0250", "0.50"]
    table = shown("table10", lambda r: (20.0, 0.0, 5))
    assert rows(table)[0] == ["FBP", "1.00", "", "5", "100", "20.00", ""]
    assert rows(table)[-2] == ["DiffusionBlend++", "1.00", "50", "5", "100", "20.00", "1-2 h"]
    ours = ["DiffusionBlend fast (not in the paper)", "1.00", "35", "5", "100", "20.00", ""]
    assert rows(table)[-1] == ours


def test_table_6_shows_gains_beside_those_the_paper_states():
    values = {"fixed partition": 20.0, "adjacent": 21.5, "adjacent and cross": 22.0}
    table = shown("table6", lambda r: (values[r.row.label], 0.0, 0))
    assert [row[2] for row in rows(table)] == [MISSING, "+1.50", "+0.50"]
    assert [row[3] for row in rows(table)] == ["", "+1.17", "+1.63"]


def test_table_8_shows_its_spread_and_table_9_says_never():
    table = shown("table8", lambda r: (20 + r.value / 100, 0.0, 10 * r.value))
    assert [table.corner, *(c.heading for c in table.columns)][:3] == ["steps", "10", "20"]
    assert rows(table)[0][-3:] == ["23.00", "2.9", "2.4"]
    assert [cell.best for cell in next(iter(table.rows))[1]] == [*[False] * 5, True, False, False]
    over = shown("table8", lambda r: (20 + r.value / 100, 0.0, 10 * r.value), 1)
    assert rows(over)[0] == ["DDS", "10", "100", "20.10"]
    assert shown("table9", lambda r: (20.0, 0.0, 1)).columns[-1].heading == "never"


@pytest.mark.parametrize(
    ("name", "index", "colours"),
    [
        ("table8", 0, {"dds", "diffusionblend++"}),
        ("table8", 1, {"dds", "diffusionblend++"}),
        ("table9", 0, {"diffusionblend++"}),
        ("table10", 1, {"fbp", "tv", "tpdm", "diffusionblend++"}),
    ],
)
def test_curves_have_the_colours_of_their_methods(name, index, colours):
    experiment = prepare(name, Settings(RECIPES))
    number = itertools.count(1)  # a place of its own for each point
    frame = made_up(experiment, lambda r: (20.0 + next(number), 0.0, next(number)))
    show = experiment.recipe.show[index]
    pixels = np.asarray(draw_curves(select(frame, show), show, "Curves")).reshape(-1, 3)
    for method in colours:
        colour = [int(COLOURS[method][i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == colour).all(axis=1).sum() > 10, method


def test_text_that_a_spreadsheet_would_compute_is_told_apart(data, tmp_path):
    change = ('label = "FBP"', 'label = "=cmd|A1"')
    own = prepare(str(write_recipe(data, tmp_path, change)), Settings(tmp_path))
    lines = to_csv(made_up(own, lambda r: (-20.0, 0.0, 0))).splitlines()
    assert ",'=cmd|A1," in lines[1]
    assert ",=" not in "".join(lines)
    assert ",-20," in lines[1]  # a number is no text


def test_the_quick_scale_is_marked(plan):
    mark = scale_mark(plan)
    assert mark.startswith("quick: slices 54:78 of chest (24); 50 of 200 steps (DDS 2D, DDS,")
    full = dataclasses.replace(plan, scale="full")
    assert scale_mark(full).startswith("full: ")


def test_a_runs_key_depends_on_all_that_decides(plan):
    inputs = plan.runs[0].inputs
    changes = {
        "seed": 1, "code": "0", "views": 6, "photons": 1e5, "weights": "0", "config": "0",
        "device": "cuda", "options": inputs.options | {"steps": 3},
        "libraries": inputs.libraries | {"torch": "0"},
    }  # fmt: skip
    keys = {msgspec.structs.replace(inputs, **{name: v}).key for name, v in changes.items()}
    assert len(keys | {inputs.key}) == len(changes) + 1


def test_the_key_knows_the_versions_of_the_libraries_that_compute(data, tmp_path, monkeypatch):
    recipe = str(write_recipe(data, tmp_path))
    before = prepare(recipe, Settings(tmp_path)).runs[0]
    assert before.inputs.libraries.keys() == {"numpy", "scipy", "torch"}
    known = key.importlib.metadata.version
    monkeypatch.setattr(
        key.importlib.metadata, "version", lambda name: "9.9" if name == "torch" else known(name)
    )
    assert prepare(recipe, Settings(tmp_path)).runs[0].key != before.key


def test_the_key_knows_the_weights_and_the_configuration_of_the_prior(data, tmp_path):
    (tmp_path / "prior").mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(data.prior / file, tmp_path / "prior" / file)
    recipe = write_recipe(data, tmp_path, (str(data.prior), "prior"))
    before = [run.key for run in prepare(str(recipe), Settings(tmp_path)).runs]
    assert before == [
        run.key for run in prepare(str(write_recipe(data, tmp_path)), Settings(tmp_path)).runs
    ]
    path = tmp_path / "prior/config.json"
    write_recipe(data, tmp_path, (str(data.prior), "prior"))
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["config_sha256"]
    path.write_text(json.dumps(config | {"data_mean": config["data_mean"] + 0.01}))
    after = [run.key for run in prepare(str(recipe), Settings(tmp_path)).runs]
    assert after[:4] == before[:4]  # FBP and SBTV have no prior
    assert not set(after[4:]) & set(before[4:])


PACKAGE = Path(diffusionblend.__file__).parent


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources, which the key's digest is taken of."""
    copy = tmp_path / "diffusionblend"
    shutil.copytree(PACKAGE, copy, ignore=lambda folder, files: [
        f for f in files if "." in f and not f.endswith(".py")
    ])  # fmt: skip
    monkeypatch.setattr(diffusionblend, "__path__", [str(copy)])
    return copy


def digests(*methods):
    key.code_digest.cache_clear()
    found = {method: key.code_digest(method) for method in methods}
    key.code_digest.cache_clear()
    return found


def test_the_key_knows_what_computes_and_nothing_else(package):
    methods = ("fbp", "tpdm", "diffusionblend++")
    before = digests(*methods)
    assert len(set(before.values())) == len(methods)
    for silent in ("show/viewer/server.py", "pictures/sheet.py", "experiments/tables.py",
                   "experiments/page.py", "cli/main.py", "quality/words.py"):  # fmt: skip
        change(package / silent)
    assert digests(*methods) == before
    change(package / "methods/tpdm.py")
    assert changed(before, digests(*methods)) == {"tpdm"}
    before = digests(*methods)
    for computes in (
        "prior/network.py",
        "simulation/simulate.py",
        "metrics.py",
        "projectors/matrix.py",
    ):
        change(package / computes)
        assert changed(before, before := digests(*methods)) == set(methods), computes


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


def test_the_sources_of_another_package_are_followed(tmp_path, monkeypatch):
    for file, text in {
        "foreign/__init__.py": "",
        "foreign/method.py": "import numpy\nfrom . import parts\nfrom .deep.far import g\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from foreign import types\n",
        "foreign/parts.py": "from diffusionblend.units import x_from_hu\n",
        "foreign/deep/__init__.py": "", "foreign/deep/far.py": "g = 1\n",
        "foreign/types.py": "", "foreign/other.py": "",
    }.items():  # fmt: skip
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import foreign

    found = {name for name in key.sources("foreign.method") if name.startswith("foreign")}
    assert found == {"foreign.method", "foreign.parts", "foreign.deep.far"}
    monkeypatch.delitem(sys.modules, foreign.__name__)


def test_a_damaged_run_is_made_again(whole):
    file = next((whole[1] / "runs").glob("*.json"))
    before = file.read_bytes()
    file.write_bytes(before[:-30])
    assert load_result(whole[1], file.stem) is None
    file.write_bytes(before)
    assert load_result(whole[1], file.stem) is not None
