"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

from diffusionblend.cli import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs_and_reconstructs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    psnr, shape = capsys.readouterr().out.split(" ", 1)
    assert float(psnr) > 20
    assert shape == "(9, 64, 64)\n"


def test_the_commands_of_the_readme_exist():
    shown = re.findall(r"^diffusionblend (\w+)", README, re.MULTILINE)
    assert len(shown) > 4
    assert set(shown) <= set(COMMANDS)


PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / page).parent.joinpath(link).exists(), link
