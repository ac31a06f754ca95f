"""`--help` of everything, word for word: what changes there is seen in a review.

`UPDATE_GOLDEN=1 pytest tests/cli/test_help.py` writes the files anew.
"""

import dataclasses
import os
import re
import shlex
from pathlib import Path

import pytest

from diffusionblend.cli.console.parsing import parse
from diffusionblend.cli.main import COMMANDS
from support.commands import command, user_command

GOLDEN = Path(__file__).parents[1] / "golden" / "help"
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
    assert all(len(line) <= WIDTH for line in text.splitlines())
    headings = re.findall(r"^(.*):$", text, re.M)
    assert {*getattr(COMMANDS[verb], "groups", ()), "advanced", "output"} <= set(headings)
    assert "{None}" not in text
    assert "default: None" not in text
    assert "--config PATH" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_example_of_the_help_is_understood(verb):
    examples = re.findall(r"^  diffusionblend (.*)$", help_of(verb), re.M)
    assert examples
    for example in examples:
        first, *words = shlex.split(example.split(" | ")[0])
        assert type(parse(first, COMMANDS[verb], words)) is COMMANDS[verb]
        assert first == verb


@pytest.mark.parametrize("verb", COMMANDS)
def test_headings_name_options_there_are(verb):
    names = {field.name for field in dataclasses.fields(COMMANDS[verb])}
    headed = [name for some in getattr(COMMANDS[verb], "groups", {}).values() for name in some]
    assert set(headed) <= names
    assert len(headed) == len(set(headed))


def test_help_fits_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    text = help_of("reconstruct")
    prose = [line for line in text.splitlines() if not line.startswith("  diffusionblend ")]
    assert all(len(line) <= 44 for line in prose)


@pytest.mark.parametrize(
    "words", [("help", "info"), ("info", "--help"), ("info", "-h"), ("info", "a", "b", "--help")]
)
def test_help_of_a_command_is_had_in_several_ways(words):
    assert without_ends(command(*words).out) == help_of("info")


def test_help_of_the_whole_is_a_command_too():
    assert without_ends(command("help").out) == help_of()
    assert command("version").out == command("--version").out


def test_the_whole_has_a_line_for_each_command_in_the_order_of_use():
    text = help_of()
    places = [text.index(f"\n  {verb} ") for verb in COMMANDS]
    assert places == sorted(places)
    assert all(len(line) <= WIDTH for line in text.splitlines())


@pytest.mark.parametrize("verb", [[], ["reconstruct"]])
def test_help_is_the_same_for_a_user(verb):
    shown = without_ends(user_command(*verb, "--help").out)
    assert shown == (GOLDEN / f"{(verb or ['diffusionblend'])[0]}.txt").read_text(encoding="utf-8")
