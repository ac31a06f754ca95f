"""The adapters to deepinv: without it, and, in an environment of their own, with it.

deepinv needs torchvision, which beside a torch for the CPU breaks other packages that find it:
neither is in the environment of the other tests, but in a folder that `make test` fills.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOLDER = TESTS.parent / ".venv/deepinv"
USE = """
from diffusionblend.adapters.deepinv import to_denoiser
from diffusionblend.errors import UsageError
from support.oracle import GaussianPrior
try:
    to_denoiser(GaussianPrior())
except UsageError as error:
    print(error)
"""


def run(*arguments, first=()):
    path = os.pathsep.join([*map(str, first), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=TESTS.parent,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(not FOLDER.is_dir(), reason="deepinv is not there: `make .venv/deepinv`")
def test_with_deepinv():
    options = ("-p", "no:cacheprovider", "-p", "support.torchvision_stub")
    ended = run("-m", "pytest", *options, TESTS / "support/deepinv_suite.py", first=[FOLDER, TESTS])
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise ImportError('No module named deepinv')", "ImportError: No module named deepinv"),
        (
            "raise RuntimeError('operator torchvision::nms\\ndoes not exist')",
            "RuntimeError: operator torchvision::nms does not exist",
        ),
    ],
)
def test_an_import_that_fails_is_one_line_with_the_cure(tmp_path, module, reason):
    (tmp_path / "deepinv.py").write_text(module)
    ended = run("-c", USE, first=[tmp_path, TESTS])
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    assert reason in line
    assert "pip install 'deepinv>=" in line


def test_the_module_is_imported_without_deepinv():
    code = "import sys, diffusionblend.adapters.deepinv; print('deepinv' in sys.modules)"
    ended = run("-c", code)
    assert ended.stdout == "False\n", ended.stderr
