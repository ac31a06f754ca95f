"""Every command and program of README.md and docs/ runs as it stands there, page by page.

Each page has a folder with small real files that bear the names that pages use (`fill`). CHANGES
and RECIPES say what is made smaller for the tests, and why: what stands in no row runs as it is.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from diffusionblend.errors import DiffusionBlendError
from diffusionblend.experiments import demo
from diffusionblend.experiments import recipe as experiments
from diffusionblend.geometry import Grid
from diffusionblend.geometry.acquisitions import fan_beam, parallel_beam, sparse_view
from diffusionblend.io.volumes import read_volume, write_volume
from support.commands import command
from support.documents import PAGES, ROOT, blocks, commands, shlex_words, text_of
from support.measured import GRID, lines, write_exchange
from support.phantoms import changed, placed
from support.rtk import BINS, ROWS, xml

# A command's pattern; what takes the place of it; why. All that fit are applied, in this order.
CHANGES = [
    (r"git clone .* && cd diffusionblend", "true", "the clone is what is tested"),
    (r"^make demo$", f"make -n -C {ROOT} demo", "two minutes; a small one's files lie here"),
    (r"^make (\w+).*", rf"make -n -C {ROOT} \1", "minutes to hours; that the target is there"),
    (r".*studies/cuda\.sh .*|.*-m pytest -m cuda .*", f"bash -n {ROOT}/studies/cuda.sh",
     "a GPU or minutes; test_cuda_script runs every stage in small"),
    (r"\. \.venv/bin/activate", f". {sys.prefix}/bin/activate", "the environment of the tests"),
    (r"^(?:uv )?pip install .*\[(.*)\].*", r"extras \1", "no network; that the extras are there"),
    (r"^(?:uv )?pip (?:install (?:torch |dist/|--no-deps )|wheel ).*", "true", "no network"),
    (r"^docker .*", "true", "test_docker builds the image where Docker is at hand"),
    (r"^pip install -e ([\w-]+)$", rf"{sys.executable} {ROOT}/tests/support/packages.py \1",
     "no network"),
    (r"import geometry.json", "import walnut.json --bin 4 --size 64",
     "here the name would be found by all imports; time"),
    (r"python studies/(?:htc_discs|materials)\.py .*", "true",
     "minutes; test_htc_recipe and test_general_recipe draw a few"),
    (r"diffusionblend (?:train|benchmark) .*\bhtc\b.*", "true",
     "a quarter of an hour; test_htc and test_htc_recipe run them in small"),
    (r"steps=100", "steps=5", "time"),
    (r"(diffusionblend doctor)$", r"\1 --help", "it measures 256 x 256; test_doctor runs it"),
    (r"diffusionblend reconstruct (?!.*--(method|steps))", "diffusionblend reconstruct --steps 2 ",
     "30 sweeps"),
    (r"diffusionblend batch (?!.*--(method|steps))", "diffusionblend batch --steps 2 ",
     "30 sweeps"),
    (r"s3://bucket/(\w+)", r"\1", "folders; test_cloud has a store"),
    (r"--views 60", "--views 12", "time"),
    (r"(diffusionblend benchmark .*)--slices 40:88", r"\1--slices 2:5", "time"),
    (r"--slices (40:88|18:30)", "--slices 2:11", "the volume has 12 slices of 64 x 64"),
    (r"--size 384", "--size 40", "the detector has 40 bins"),
    (r"--mu-water MU", "--mu-water 3", "a number that the reader fills in"),
    (r"(diffusionblend benchmark all) .*", r"\1 --help", "hours; test_benchmark runs each kind"),
    (r"(diffusionblend benchmark \w+ (?:-o|--output) out/results)",
     r"\1 --volume CHEST.nii.gz --slices 2:5", "the recipe's volume has 256 x 256 pixels"),
]  # fmt: skip

# The same for recipes, those of the repository and those that pages show.
RECIPES = [
    (r'task = "fbp-unet"', 'task = "fbp-unet"\nsize = 64', "as the volumes"),
    (r"hours = [\d.]+", "samples = 8", "hours"),
    (r"samples = (1600|\d\d_\d+)", "samples = 8", "minutes to hours"),
    (r"size = 64, scale = 4", "size = 16, scale = 4", "as the volumes"),
    (r"batch = (16|64)\b", "batch = 4", "time"),
    (
        r"(?s)\A(?=.*\[\[data)(?!.*\[\[(?:crops|acquisitions|phases))(.*)",
        r"\1\n[[crops]]\nsize = 32\nbatch = 2\n\n[network]\nwidths = [8, 16]\nblocks = [1, 1]\n",
        "the network and crops of a recipe that says nothing of them",
    ),
    (r"size = 128", "size = 32", "as the volumes"),
    (r"size = 256", "size = 64", "as the volumes"),
    (r"widths = .*", "widths = [8, 16]", "time"),
    (r"blocks = .*", "blocks = [1, 1]", "time"),
    (r"steps = \d+", "steps = 2", "time"),
    (r"slices = \[40, 88\]", "slices = [2, 11]", "the volume has 12 slices"),
    (r"(?s)\A(?=.*\[\[(?:rows|show)\]\])", "quick_steps = 2\n", "time"),
]

CODES = {"diffusionblend benchmark directions": {0, 8}}  # 0 everywhere else
NOT_RUN = {"text", "toml", "json", "py"}  # `py`: of an extra that is not installed, deepinv
GEOMETRY = placed(parallel_beam, GRID, sparse_view(40))


@pytest.fixture(scope="module")
def filled(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    fill(folder, data)
    return folder


def fill(folder, data):
    """Make the files that pages speak of."""
    shutil.copy(data.volume, folder / "CHEST.nii.gz")
    shutil.copy(data.scan, folder / "scan.h5")
    chest = read_volume(data.volume)
    write_volume(chest, folder / "SERIES")
    write_volume(chest, folder / "truth.nii.gz")
    for place in ("volumes/train", "volumes/unseen", "data/train", "data/train_cropped",
                  "data/train_coarse", "data/materials/train"):  # fmt: skip
        _copied(data.volume, folder / place / "one.nii.gz")
    for place in ("data/validation", "data/materials/validation"):
        _copied(data.volume, folder / place / "other.nii.gz")
    for name in ("one", "two"):
        _copied(data.scan, folder / f"scans/{name}.h5")
    _measured(folder)
    with pytest.MonkeyPatch.context() as patch:
        small_demonstration(patch, data)
        ended = command("demo", "--output", folder / "out/demo", "--steps", 1)
    assert ended.code == 0, ended.err
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    for path in (folder / "recipes").glob("*.toml"):
        path.write_text(smaller(path.read_text(encoding="utf-8")))
    for block in (b for page in PAGES for b in blocks(page) if b.title):
        path = folder / block.title.replace("geometry.json", "walnut.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(smaller(block.text))


def _measured(folder):
    parallel = changed(GEOMETRY, offset_mm=1.2)
    for name in ("SCAN.h5", "tooth.h5"):
        write_exchange(folder / name, lines(parallel), theta=np.array(parallel.beam.angles_deg))
    np.save(folder / "PROJECTIONS.npy", lines(parallel))
    np.save(folder / "SINOGRAM.npy", lines(parallel)[:, 0].T)
    # The walnut's file: bins by views, 16 bits.
    fan = placed(fan_beam, Grid.from_spacing((1, 40, 40), (1.0, 1.0, 1.0)), sparse_view(120, 360),
                   sod_mm=110.0, sdd_mm=300.0)  # fmt: skip
    sinogram = lines(changed(fan, bins=328, bin_mm=0.35))[:, 0].T
    Image.fromarray((sinogram / sinogram.max() * 65535).astype(np.uint16)).save(
        folder / "walnut_sinogram.png"
    )
    angles = sparse_view(12, 360)
    (folder / "RTK.xml").write_text(xml(angles=angles))
    np.save(folder / "CONE.npy", np.ones((len(angles), ROWS, BINS), np.float32))


def small_demonstration(patch, data):
    """Let `demo` take the small volume."""
    patch.setattr(demo, "demonstration_volume", lambda: data.volume)
    patch.setattr(demo, "SLICES", (0, 12))
    patch.setattr(demo, "SIZE", 64)


def _copied(source, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, path)


def smaller(text, changes=RECIPES):
    for pattern, replacement, _ in changes:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.fixture
def place(filled, data, tmp_path, monkeypatch):
    """Return a page's folder, the current one; recipes and the demonstration are small."""
    folder = tmp_path / "place"
    shutil.copytree(filled, folder)
    for path in shutil.copytree(experiments.RECIPES, tmp_path / "experiments").glob("*.toml"):
        path.write_text(smaller(path.read_text(encoding="utf-8")))
    monkeypatch.setattr(experiments, "RECIPES", tmp_path / "experiments")
    small_demonstration(monkeypatch, data)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)  # where `packages` installs
    return folder


RUNNABLE = [page for page in PAGES if any(b.language in {"sh", "python"} for b in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE)
def test_what_a_page_shows_runs(page, place):
    names = {"__name__": page}
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        elif block.language == "sh":
            for text in commands(block.text):
                run(text)


def test_the_python_of_the_readme_reconstructs(capsys):
    (code,) = (block.text for block in blocks("README.md") if block.language == "python")
    exec(compile(code, "README.md", "exec"), {})
    psnr, shape = capsys.readouterr().out.split(" ", 1)
    assert float(psnr) > 20
    assert shape == "(9, 64, 64)\n"


def test_every_change_is_of_something_that_is_there():
    shell = [b.text for page in PAGES for b in blocks(page) if b.language == "sh"]
    shown = [text for block in shell for text in commands(block)]
    files = [*(ROOT / "recipes").glob("*.toml"), *experiments.RECIPES.glob("*.toml")]
    recipes = [path.read_text(encoding="utf-8") for path in files]
    recipes += [b.text for page in PAGES for b in blocks(page) if b.title]
    for changes, texts in ((CHANGES, shown), (RECIPES, recipes)):
        for pattern, _, reason in changes:
            assert reason
            assert any(re.search(pattern, text) for text in texts), pattern


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_known_kind(page):
    """So that no command hides in a block that is not run."""
    for block in blocks(page):
        assert block.language in {"sh", "python"} | NOT_RUN, block
        assert block.language != "text" or not block.text.startswith("diffusionblend "), block
    indented = re.findall(r"^(?:    |\t)diffusionblend .*", text_of(page), re.MULTILINE)
    assert not indented, "a command belongs into a block of sh, where it is run"


def test_the_tests_that_a_page_names_are_there():
    named = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", text_of("docs/robustness.md"))
    assert len(named) > 40
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (file, name)


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_and_recipes_that_a_page_names_are_there(page):
    for name in re.findall(r"(?<![\w/])(?:studies|recipes)/[\w./]*\w", text_of(page)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_the_modules_that_a_page_names_are_there(page):
    named = set(re.findall(r"`((?:[\w-]+/)+\w+\.py)`", text_of(page)))
    places = (ROOT, ROOT / "src/diffusionblend")
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text_of(page)):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_every_exit_code_is_in_the_table():
    told = re.findall(r"^\| (\d+)[ ,]", text_of("docs/command-line.md"), re.MULTILINE)
    assert {str(kind.code) for kind in DiffusionBlendError.__subclasses__()} < set(told)


def test_the_table_of_a_record_has_its_keys(place):
    ended = command("reconstruct", "scan.h5", "-o", "a.nii.gz", "--steps", 1, "--save-steps", 1)
    assert ended.code == 0, ended.err
    rows = re.findall(r"^\| (`.*?) \|", text_of("docs/reference/records.md"), re.MULTILINE)
    told = set(re.findall(r"`(.*?)`", " ".join(rows)))
    assert told == set(json.loads((place / "a.nii.gz.json").read_text(encoding="utf-8")))


def run(shown):
    """Run a command of a page; it ends as it should."""
    text = smaller(shown, CHANGES)
    words = shlex_words(text)
    if words[0] == "extras":
        assert set(words[1].split(",")) <= extras(), shown
    elif words[:2] == ["diffusionblend", "view"]:
        assert_it_serves(words)
    elif words[0] == "diffusionblend" and not needs_a_shell(text):
        ended = command(*words[1:])
        allowed = next((c for start, c in CODES.items() if text.startswith(start)), {0})
        assert ended.code in allowed, f"{shown}\nrun as: {text}\n{ended.err}"
    else:
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        ended = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", text],
            capture_output=True, text=True, timeout=300, check=False,
            env=os.environ | {"PATH": paths, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        # A line of shell may go on after a command that has failed.
        failed = ended.returncode != 0 or "diffusionblend: " in ended.stderr
        assert not failed, f"{shown}\nrun as: {text}\n{ended.stderr}"


def needs_a_shell(text):
    return bool(set("|&;<>*$`") & set(text))


def extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def assert_it_serves(words):
    """Start the viewer, ask for its page, stop it as a user does."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words, "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = urlsplit(process.stdout.readline().strip())
        assert url.hostname == "127.0.0.1", process.communicate()
        with closing(http.client.HTTPConnection(url.netloc, timeout=60)) as connection:
            connection.request("GET", url.path)
            assert connection.getresponse().status == 200
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
