"""The scripts for shells: read by the shells themselves, where they are installed."""

import re
import shlex
import shutil
import subprocess

import pytest

from diffusionblend.cli.console.arguments import flags
from diffusionblend.cli.console.completion import script
from diffusionblend.cli.main import COMMANDS
from diffusionblend.methods import method_names
from support.commands import command

SHELLS = ("bash", "zsh", "fish")
IS_VALID = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


@pytest.fixture(scope="module", params=SHELLS)
def shell(request):
    return request.param


def test_the_command_prints_the_script_and_nothing_else():
    ended = command("completion", "bash")
    assert ended.out == script("bash", COMMANDS) + "\n"
    assert ended.err == ""


def test_a_shell_takes_the_script(shell, tmp_path):
    if shutil.which(shell) is None:
        assert shell != "bash"
        return
    (tmp_path / "script").write_text(script(shell, COMMANDS))
    ended = subprocess.run(
        [*IS_VALID[shell], tmp_path / "script"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_every_command_option_and_choice_is_in_it(shell):
    text = script(shell, COMMANDS)
    known = {word for c in COMMANDS.values() for word in flags(c)}
    for word in [*COMMANDS, "chest", "table1", "limited", "--config", *method_names()]:
        assert word.lstrip("-") in text
    for flag in known:
        assert re.search(rf"(?<![\w-]){re.escape(flag)}\b|-[ls] {flag.lstrip('-')}\b", text), flag


def test_what_is_a_name_or_a_file_is_completed_as_both():
    names = " ".join(method_names())
    zsh, fish = (script(shell, COMMANDS) for shell in ("zsh", "fish"))
    assert zsh.count("{compadd chest general; _files}") == 3
    assert zsh.count(f"{{compadd {names}; _files}}") == 1
    assert f":method:({names})" in zsh
    assert fish.count("-l prior -r -a 'chest general'") == 3
    assert f" -a '{names}'" in fish
    assert f"-f -a '{names}'" not in fish


def completed(*words):
    """Return what bash offers for the last of the words."""
    line = " ".join(shlex.quote(w) for w in ("diffusionblend", *words))
    program = f"""
{script("bash", COMMANDS)}
COMP_WORDS=({line}); COMP_CWORD={len(words)}
cd /var/empty 2>/dev/null || cd "$(mktemp -d)"
_diffusionblend
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    ended = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    return ended.stdout.split()


OFFERED = {
    ("rec",): ["reconstruct"],
    ("--v",): ["--version"],
    ("",): [*COMMANDS],
    ("reconstruct", "s.h5", "--method", "fb"): ["fbp", "fbp-unet"],
    ("reconstruct", "s.h5", "--method", "=", "fb"): ["fbp", "fbp-unet"],
    ("reconstruct", "s.h5", "--method", "="): method_names(),
    ("reconstruct", "s.h5", "--prior", "c"): ["chest"],
    ("reconstruct", "s.h5", "--cl"): ["--classical"],
    ("reconstruct", "s.h5", "--no-cl"): ["--no-classical"],
    ("simulate", "a.nii.gz", "--beam", ""): ["parallel", "fan", "cone"],
    ("simulate", "a.nii.gz", "--vi"): ["--views"],
    ("benchmark", "table1"): ["table1", "table10"],
    ("info", "sb"): ["sbtv"],
    ("completion", "z"): ["zsh"],
    ("reconstruct", ""): [],
    ("reconstruct", "s.h5", "-o", ""): [],
    ("push", "folder", ""): [],
}


@pytest.mark.parametrize("words", OFFERED)
def test_bash_offers(words):
    assert completed(*words) == OFFERED[words]


def test_bash_offers_files_itself_where_nothing_else_is_known():
    """An interactive bash, which has been asked for the next word of a command."""
    assert "complete -o default -F _diffusionblend diffusionblend" in script("bash", COMMANDS)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("diffusionblend reconstr", {"reconstruct"}),
        ("diffusionblend reconstruct --method fb", {"fbp", "fbp-unet"}),
        ("diffusionblend simulate --beam k", set()),
        ("diffusionblend completion z", {"zsh"}),
    ],
)
def test_fish_offers(line, expected, tmp_path):
    program = f"{script('fish', COMMANDS)}\ncomplete -C {shlex.quote(line)}"
    ended = subprocess.run(
        ["fish", "--no-config", "-c", program],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert {offer.split("\t")[0] for offer in ended.stdout.splitlines()} == expected
