"""`--help` of everything, word for word: what changes there is seen in a review.

`UPDATE_GOLDEN=1 pytest tests/test_help.py` writes the files anew.
"""

import os
from pathlib import Path

import pytest

from conftest import command, user_command
from diffusionblend.cli.main import COMMANDS

GOLDEN = Path(__file__).parent / "golden" / "help"
PLAIN = {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
WIDTH = 80


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)


def help_of(*verb):
    ended = command(*verb, "--help")
    assert ended.code == 0, ended.err
    return without_ends(ended.out)


def without_ends(text):
    """Return a text without blanks at the ends of its lines."""
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n"


@pytest.mark.parametrize("verb", ["diffusionblend", *COMMANDS])
def test_help_is_as_it_is_kept(verb):
    found, kept = help_of(*[verb][verb == "diffusionblend" :]), GOLDEN / f"{verb}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        kept.write_text(found, encoding="utf-8")
    assert found == kept.read_text(encoding="utf-8"), "UPDATE_GOLDEN=1 keeps what is there now"


def test_no_help_is_kept_of_what_is_gone():
    assert {path.stem for path in GOLDEN.iterdir()} == {"diffusionblend", *COMMANDS}


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_argument_is_explained_in_lines_that_fit(verb):
    text = help_of(verb)
    arguments = text[text.index("arguments" if " arguments\n" in text else " options\n") :]
    assert all(len(line) <= WIDTH for line in arguments.splitlines())
    assert "{None}" not in text
    assert "default: None" not in text
    assert "--config PATH" in text
    assert "\x1b" not in text


def test_the_whole_has_a_line_for_each_command_in_the_order_of_use():
    text = help_of()
    places = [text.index(f"\n  {verb} ") for verb in COMMANDS]
    assert places == sorted(places)
    assert all(len(line) <= WIDTH for line in text.splitlines())


@pytest.mark.parametrize("verb", [[], ["reconstruct"]])
def test_help_is_the_same_for_a_user(verb):
    shown = without_ends(user_command(*verb, "--help").out)
    assert shown == (GOLDEN / f"{(verb or ['diffusionblend'])[0]}.txt").read_text(encoding="utf-8")
