"""The examples, as a user runs them: each as it is, in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Run each example once, when it is first asked for; return its folder and what it printed."""
    runs = {}

    def run(name):
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            ended = subprocess.run(
                [sys.executable, EXAMPLES / f"{name}.py"],
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
                cwd=folder,
                env=os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "2"},
            )
            assert ended.returncode == 0, ended.stderr
            runs[name] = folder, ended.stdout
        return runs[name]

    return run


def decibels(text, method):
    return float(re.search(rf"'?{re.escape(method)}'?:? .*?(\d+\.\d+)", text)[1])


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_with_a_picture(told, name):
    folder, _ = told(name)
    picture = Image.open(folder / f"out/examples/{name}.png").convert("L")
    assert min(picture.size) > 200
    assert len(set(picture.get_flattened_data())) > 100  # not empty


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_notebook_that_says_how_to_open_it(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    cells = text.split("# %%")[1:]
    assert text.startswith("# %% [markdown]\n# # ")
    assert f"a notebook, `{name}.ipynb`" in re.sub(r"\n# ", " ", cells[0])
    prose = [cell for cell in cells if cell.startswith(" [markdown]\n")]
    assert len(prose) >= len(cells) / 3
    assert all(line.startswith("#") for cell in prose for line in cell.splitlines()[1:] if line)


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_that_of_the_script(name):
    script, notebook = (jupytext.read(EXAMPLES / f"{name}.{end}") for end in ("py", "ipynb"))
    cells = [[(c.cell_type, c.source) for c in book.cells] for book in (script, notebook)]
    assert cells[0] == cells[1], "run `make notebooks`"
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_a_reconstruction_is_watched_and_comes_to_fit_the_data(told):
    _, out = told("reconstruct")
    residuals = [float(r) for r in re.findall(r"residual (\d\.\d+)", out)]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.02
    assert decibels(out, "diffusionblend-fast") > decibels(out, "fbp") + 6
    assert "few-views: Only 20 views" in out


def test_a_small_prior_has_learned_what_it_was_shown(told):
    folder, out = told("train_a_small_prior")
    assert decibels(out, "our prior") > decibels(out, "fbp") + 4
    assert (folder / "out/examples/train/prior-run/prior/model.safetensors").is_file()


def test_methods_stand_in_the_order_of_what_they_know(told):
    _, out = told("compare_methods")
    fbp, sirt, sbtv, ours = (
        decibels(out, name) for name in ("\nfbp", "sirt  ", "\nsbtv", "\ndiffusionblend-fast")
    )
    assert fbp < sirt < sbtv < ours
