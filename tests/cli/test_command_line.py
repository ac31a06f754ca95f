"""What a user types: slips, files of options, JSON, progress."""

import dataclasses
import json
import math
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusionblend.cli.commands import Reconstruct
from diffusionblend.cli.commands.arguments import command_line
from diffusionblend.cli.console.arguments import flags
from diffusionblend.cli.console.config import with_config
from diffusionblend.cli.console.parsing import parse
from diffusionblend.cli.main import COMMANDS
from diffusionblend.cli.terminal import finite, in_minutes
from diffusionblend.errors import did_you_mean
from diffusionblend.machine.memory import in_units
from diffusionblend.methods import methods
from diffusionblend.progress import Progress, counted, shown
from support.commands import command, contents, user_command

SLIPS = {
    "": "expected a command: demo, info",
    "reconstrukt": "reconstrukt: no such command; did you mean reconstruct?",
    "--hlep": "--hlep: no such command; did you mean --help?",
    "qqq": "qqq: no such command; see `diffusionblend --help`",
    "simulate a -o b --veiws 3": "--veiws: simulate has no such option; did you mean --views?",
    "simulate --veiws 3": "--veiws: simulate has no such option; did you mean --views?",
    "simulate a -o b --veiws=3": "--veiws: simulate has no such option; did you mean --views?",
    "simulate a -o b --qqq": "--qqq: simulate has no such option",
    "simulate a -o b -x 3": "-x: simulate has no such option",
    "reconstruct a -o b --no-clasical": "did you mean --no-classical?",
    "simulate a -o b --views three": "--views three: expected a whole number",
    "simulate a -o b --views=3.5": "--views 3.5: expected a whole number",
    "simulate a -o b --sod-mm far": "--sod-mm far: expected a number",
    "simulate a -o b --sod_mm far": "--sod-mm far: expected a number",
    "simulate a -o b --views": "--views: needs a value; expected a whole number",
    "simulate a -o": "--output: needs a value; expected a path",
    "simulate a -o b --beam kone": "expected parallel, fan or cone; did you mean cone?",
    "simulate": "simulate: needs VOLUME and --output; see `diffusionblend simulate --help`",
    "simulate a": "simulate: needs --output; see",
    "evaluate a": "evaluate: needs TRUTH; see",
    "simulate a b -o c": "b: `simulate` does not take so many words; see",
    "demo --steps 1 2": "2: `demo` does not take so many words; see",
    "completion tcsh": "SHELL tcsh: expected bash, zsh or fish",
    "completion powershell": "SHELL powershell: expected bash, zsh or fish",
    "report": "report: needs RUNS; see",
    "help reconstrukt": "reconstrukt: no such command; did you mean reconstruct?",
    "reconstruct {scan} -o {folder}/b.nii --method fpb": "did you mean fbp?",
    "reconstruct {scan} -o {folder}/b.nii --set etta=1 --method dds": "did you mean eta?",
    "reconstruct {scan} -o {folder}/b.nii --set eta": "eta: expected OPTION=VALUE",
    "reconstruct {scan} -o {folder}/b.nii --method dds --steps 4 --set steps=5": (
        "--steps 4, --set steps=5: disagree; keep one"
    ),
    "batch {scan} -o {folder}/b --method dds --steps 4 --set steps=5": "--steps 4, --set steps=5: ",
    "batch {scan} -o {folder}/b --set seed=3": "--set seed=3: is not an option of the method; give",
    "reconstruct a -o b.nii --set": "--set: needs a value; expected OPTION=VALUE",
    "reconstruct a -o b.nii --steps none": "--steps none: expected a whole number",
    "reconstruct a -o b.nii --prior --steps 3": "--prior: needs a value; expected a text",
    "benchmark tabel1": "did you mean table1?",
    "info diffusionblend-fats": "did you mean diffusionblend-fast?",
    "info fastt": "did you mean diffusionblend-fast?",
    "info FDK": "did you mean fbp?",
    "reconstruct {scan} -o {folder}/b.nii --method fdk": "did you mean fbp?",
    "demo --config": "--config: needs a value; expected a path",
    "demo --config a --config b": "--config b: is given twice; give one file",
}


@pytest.mark.parametrize("words", SLIPS)
def test_a_slip_is_one_line_that_says_what_was_meant(words, data, place):
    ended = command(*words.format(scan=data.scan, folder=place).split())
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("diffusionblend: ")
    assert SLIPS[words] in ended.err


def test_a_file_that_is_named_as_an_option_is_says_how_to_give_it(data, place, monkeypatch):
    monkeypatch.chdir(place)
    Path("-v.nii.gz").write_bytes(data.volume.read_bytes())
    ended = command("info", "-v.nii.gz")
    assert "-v.nii.gz: info has no such option; if the file is meant, give ./-v.nii.gz" in ended.err
    assert command("info", "./-v.nii.gz").code == 0


def test_a_scan_given_for_a_volume_says_what_makes_one(data):
    ended = command("evaluate", data.scan, data.volume)
    assert ended.code == 4
    assert "make a volume from it with `diffusionblend reconstruct`" in ended.err


def test_the_nearest_word_is_named_and_a_far_one_is_not():
    assert did_you_mean("fpb", ["fbp", "sirt"]) == "; did you mean fbp?"
    assert did_you_mean("--veiws", ["--views", "-o"]) == "; did you mean --views?"
    assert did_you_mean("--x", ["--views", "--output"]) == ""
    assert did_you_mean("a", []) == ""
    assert did_you_mean("fastt", ["fbp", "diffusionblend-fast"]).endswith("blend-fast?")


def test_a_prior_of_almost_that_name_is_named(data, place):
    ended = command("reconstruct", data.scan, "-o", place / "o.nii.gz", "--prior", "chst")
    assert ended.code == 7
    assert "did you mean chest?" in ended.err


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_can_print_json_and_reads_a_file_of_options(verb):
    assert {"--json", "--no-json", "--config"} <= set(flags(COMMANDS[verb]))
    assert "config" not in {field.name for field in dataclasses.fields(COMMANDS[verb])}


def config(place, text):
    path = place / "options.toml"
    path.write_text(text, encoding="utf-8")
    return path


def parsed(verb, *words):
    return parse(verb, COMMANDS[verb], with_config(verb, COMMANDS[verb], [*map(str, words)]))


def test_a_file_gives_options_and_the_line_wins(place):
    path = config(
        place,
        'output = "o.nii.gz"\nmethod = "dds"\nsteps = 5\nmu-water = 2e-2\nclassical = false\n'
        "json = true\n[set]\neta = 0.25\nbatch_size = 4\n",
    )
    made = parsed("reconstruct", "s.h5", "--config", path)
    expected = ("o.nii.gz", "dds", 5, 0.02, False, True)
    assert (str(made.output), made.method, made.steps, made.mu_water, made.classical, made.json) \
        == expected  # fmt: skip
    assert made.set == ("eta=0.25", "batch_size=4")
    own = ("--steps=7", "--classical", "--set", "eta=1", "--no-json", "-o", "p.nii")
    won = parsed("reconstruct", "s.h5", f"--config={path}", *own)
    assert (won.steps, won.classical, won.json, str(won.output)) == (7, True, False, "p.nii")
    assert won.set == ("eta=0.25", "batch_size=4", "eta=1")
    assert won.method == "dds"


SPELLINGS = {
    "-o o s.h5": {},
    "s.h5 -oo": {},
    "s.h5 --output=o --steps=100": {"steps": 100},
    "s.h5 -o o --steps 3 --steps 4": {"steps": 4},
    "s.h5 -o o --mu_water -1.5 --save_steps 3": {"mu_water": -1.5, "save_steps": 3},
    "s.h5 -o o --no-classical --resume": {"classical": False, "resume": True},
    "s.h5 -o o --no-classical --classical --classical=false": {"classical": False},
    "s.h5 -o o --set a=b c=d": {"set": ("a=b", "c=d")},
    "s.h5 -o o --set a=b --set=c=d": {"set": ("a=b", "c=d")},
    "--set a=b c=d s.h5 -o o": {"set": ("a=b", "c=d")},
    "--set=a=b s.h5 -o o --prior=--odd": {"set": ("a=b",), "prior": "--odd"},
    "-o o --prior none -- s.h5": {"prior": "none"},
}


@pytest.mark.parametrize("words", SPELLINGS)
def test_spellings_of_options(words):
    expected = Reconstruct(scan=Path("s.h5"), output=Path("o"), **SPELLINGS[words])
    assert parsed("reconstruct", *words.split()) == expected


def test_none_is_a_word_and_not_the_absence_of_one():
    made = parsed("import", "s", "-o", "o", "--centre", "none", "--tilt=none", "--air-bins", "none")
    assert (made.centre, made.tilt, made.air_bins) == ("none", "none", "none")


@pytest.mark.parametrize("words", [("--set=eta=1", "s.h5"), ("s.h5", "--set", "eta=1")])
def test_set_on_the_line_is_added_to_that_of_a_file(place, words):
    made = parsed("reconstruct", *words, "-o", "o", "--config", config(place, "[set]\neta = 0.5\n"))
    assert made.set == ("eta=0.5", "eta=1")
    assert str(made.scan) == "s.h5"


@pytest.mark.parametrize(
    ("text", "words", "steps", "pairs"),
    [
        ("[set]\nsteps = 5\neta = 1\n", ("--steps", "4"), 4, ("eta=1",)),
        ("steps = 5\nseed = 2\n", ("--set", "steps=4"), None, ("steps=4",)),
        ("steps = 5\n", ("--set=a=1", "b=2", "steps=4"), None, ("a=1", "b=2", "steps=4")),
        ("steps = 5\n", ("--like", "steps=4"), 5, ()),
    ],
)
def test_the_line_wins_over_a_file_in_either_spelling(place, text, words, steps, pairs):
    made = parsed("reconstruct", "s.h5", "-o", "o", *words, "--config", config(place, text))
    assert (made.steps, made.set) == (steps, pairs)


def test_tables_in_set_are_joined_by_dots(place):
    text = 'set = { budget = { steps = 3 }, "crops" = [{ size = 32 }], compile = true }\n'
    made = parsed("train", "r.toml", "--config", config(place, text))
    assert made.set == ("budget.steps=3", 'crops=[{"size":32}]', "compile=true")


def test_negative_numbers_and_odd_names_come_through(place):
    path = config(place, 'mu_water = -1.5\nprior = "--odd"\nlike = "a b/c=d"\n')
    made = parsed("reconstruct", "s.h5", "-o", "o", "--config", path)
    assert (made.mu_water, made.prior, str(made.like)) == (-1.5, "--odd", "a b/c=d")


WRONG = {
    "viwes = 3": (2, "viwes: simulate has no such option; did you mean views?"),
    "[veiws]\na = 3": (2, "veiws: simulate has no such option; did you mean views?"),
    'views = "8"': (2, 'views = "8": expected a whole number'),
    "views = true": (2, "views = true: expected a whole number"),
    "views = [8]": (2, "views = [8]: expected a whole number"),
    "output = 3": (2, "output = 3: expected a path"),
    'output = "a\\u0000b.h5"': (2, "options.toml: 'a\\x00b.h5' contains a NUL"),
    'like = "a\\u0000b"': (2, "options.toml: 'a\\x00b' contains a NUL"),
    '[set]\na = ["x", {"b\\u0000" = 1}]': (2, "options.toml: 'b\\x00' contains a NUL"),
    "json = 1": (2, "json = 1: expected true or false"),
    'beam = "kone"': (2, "expected parallel, fan or cone; did you mean cone?"),
    'volume = "a"': (2, "volume: give it on the line, not in an options file"),
    "[set]\neta = 1": (2, "[set]: simulate has no --set"),
    "views = 1979-05-27": (2, 'views = "1979-05-27": expected a whole number'),
    "views =": (3, "not valid TOML"),
    "config = 'a.toml'": (2, "config: simulate has no such option"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_a_file_is_one_line_with_file_and_key(place, text):
    path = config(place, text)
    ended = command("simulate", "a.nii.gz", "-o", "s.h5", "--config", path)
    code, words = WRONG[text]
    assert ended.code == code
    assert ended.err.count("\n") == 1
    assert words in ended.err
    assert str(path) in ended.err


def test_set_that_is_no_table_is_refused(place):
    ended = command("train", "r.toml", "--config", config(place, 'set = "eta=1"'))
    assert ended.code == 2
    assert "set: expected a table" in ended.err


@pytest.mark.parametrize("make", [lambda p: p / "none.toml", lambda p: p])
def test_a_file_of_options_that_cannot_be_read_is_named(place, make):
    ended = command("demo", "--config", make(place))
    assert ended.code == 3
    assert str(make(place)) in ended.err


def test_a_file_that_is_no_text_is_named(place):
    (place / "o.toml").write_bytes(b"\xff\xfe\x00")
    assert command("demo", "--config", place / "o.toml").code == 3


def test_a_run_by_a_file_says_in_its_record_how_to_repeat_it_without(data, place):
    path = config(place, 'method = "cgls"\nclassical = false\n[set]\niterations = 3\n')
    out = place / "o.nii.gz"
    ended = command("reconstruct", data.scan, "-o", out, "--config", path, "--set", "rho=0.5")
    assert ended.code == 0, ended.err
    record = json.loads((place / "o.nii.gz.json").read_text(encoding="utf-8"))
    assert record["again"] == (
        f"diffusionblend reconstruct {data.scan.name} --output o.nii.gz --method cgls "
        f"--set iterations=3 rho=0.5 --no-classical --threads {torch.get_num_threads()}"
    )
    assert (record["method"]["iterations"], record["method"]["rho"]) == (3, 0.5)


def test_the_line_of_a_record_is_the_command_again():
    made = parsed("reconstruct", "s.h5", "-o", "o.nii", "--set", "a=1", "b=2", "--mu-water", "0.02")
    words = command_line("reconstruct", made).split()
    assert words[:2] == ["diffusionblend", "reconstruct"]
    assert parsed("reconstruct", *words[2:]) == made
    assert type(made) is Reconstruct


FAILURES = {
    ("reconstrukt", "--json"): (2, "UsageError"),
    ("simulate", "--json"): (2, "UsageError"),
    ("reconstruct", "none.h5", "-o", "o.nii", "--json"): (3, "CorruptInput"),
    ("reconstruct", "none.h5", "-o", "none/o.nii", "--json"): (5, "OutputError"),
    ("demo", "--json", "--config", "none.toml"): (3, "CorruptInput"),
    ("train", "none.toml", "--json"): (3, "CorruptInput"),
    ("info", "nothing", "--json"): (2, "UsageError"),
}


@pytest.mark.parametrize("words", FAILURES)
def test_a_failure_is_one_object_of_json_beside_the_line(words, place, monkeypatch):
    monkeypatch.chdir(place)
    ended = command(*words)
    code, kind = FAILURES[words]
    (error,) = strict(ended.out).values()
    assert ended.code == error["code"] == code
    assert error["kind"] == kind
    assert ended.err == f"diffusionblend: {error['message']}\n"
    assert contents(place) == {}


@pytest.mark.parametrize("raised", [MemoryError, KeyboardInterrupt])
def test_running_out_of_memory_and_interruption_are_json_too(raised, monkeypatch):
    def fail(self):
        raise raised

    monkeypatch.setattr(COMMANDS["info"], "run", fail)
    ended = command("info", "--json")
    error = strict(ended.out)["error"]
    assert ended.code == error["code"] == {MemoryError: 6, KeyboardInterrupt: 130}[raised]
    assert ended.err.count("\n") == 1


def test_no_json_is_printed_of_a_failure_that_nobody_asked_it_of():
    assert command("simulate", "--json", "--no-json").out == ""


def test_json_that_a_file_asks_for_is_that_of_failures_too(place):
    path = config(place, "json = true")
    ended = command("reconstruct", "none.h5", "-o", place / "o.nii", "--config", path)
    assert strict(ended.out)["error"]["code"] == 3


@pytest.mark.parametrize(
    "words", [("--version", "--json"), ("version", "--json"), ("--help", "--json"),
              ("help", "--json"), ("demo", "--help", "--json")]
)  # fmt: skip
def test_version_and_help_are_json_too(words):
    assert strict(command(*words).out)


def strict(text):
    """Read JSON as a reader does that takes nothing else."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_equal_volumes_give_json_that_any_reader_takes(data):
    ended = command("evaluate", data.volume, data.volume, "--json")
    figures = strict(ended.out)["axial"]
    assert figures["psnr"] is None
    assert figures["ssim"] == pytest.approx(1)


def test_what_no_json_can_say_is_null_at_every_depth():
    facts = {"a": [math.nan, {"b": math.inf}], "c": (-math.inf, 1.5, "x", None, True)}
    assert finite(facts) == {"a": [None, {"b": None}], "c": [None, 1.5, "x", None, True]}


def test_times_and_sizes_are_words():
    assert [in_minutes(s) for s in (None, 0.05, 12.4, 61, 3599.7, 7384)] == [
        "not estimated", "0.1 s", "12 s", "1 min 1 s", "1 h 0 min", "2 h 3 min"
    ]  # fmt: skip
    assert [in_units(n) for n in (0, 1, 10_000, 2**20, 1023 * 2**20, 1.5 * 2**30)] == [
        "0 KiB", "1 KiB", "10 KiB", "1 MiB", "1023 MiB", "1.5 GiB"
    ]  # fmt: skip


def test_progress_is_shown_by_commands_alone(capsys, monkeypatch, caplog):
    monkeypatch.setattr("diffusionblend.progress.LINE_SECONDS", 0.0)
    caplog.set_level("INFO")
    assert list(counted("parts", [1, 2, 3])) == [1, 2, 3]
    assert caplog.messages == []
    with shown(), Progress("parts") as bar:
        bar.show(1, 3, "so far")
        bar.show(2, 3)
    assert list(counted("parts", [1, 2])) == [1, 2]
    assert caplog.messages[0] == "parts: 1 of 3 so far"  # nothing is known of how long it takes
    assert re.fullmatch(r"parts: 2 of 3, \d+ s left ", caplog.messages[1])
    assert len(caplog.messages) == 2
    assert capsys.readouterr().err == ""


def test_the_time_left_of_a_second_phase_is_its_own(monkeypatch, caplog):
    clock = iter([0.0, 0.0, 1.0, 100.0, 102.0, 104.0])
    monkeypatch.setattr("diffusionblend.progress.LINE_SECONDS", 0.0)
    monkeypatch.setattr("diffusionblend.progress.time.monotonic", lambda: next(clock))
    caplog.set_level("INFO")
    with shown(), Progress("train") as bar:
        for index, total in ((8, 9), (9, 9), (1, 4), (2, 4), (3, 4)):
            bar.show(index, total)
    assert [m.partition("train: ")[2].strip() for m in caplog.messages] == [
        "8 of 9", "9 of 9, 0 s left", "1 of 4", "2 of 4, 4 s left", "3 of 4, 2 s left"
    ]  # fmt: skip


LONG = {
    "simulate": "project: ",
    "evaluate": "compare: ",
    "tv": "tv: ",
    "fast": "diffusionblend-fast: ",
}


def test_every_long_part_of_a_command_tells_how_far_it_is(data, place):
    at_once = "import diffusionblend.progress as p; p.LINE_SECONDS = 0.0"
    told = "".join(
        user_command(*words, before_main=at_once).err
        for words in (
            ("simulate", data.volume, "-o", place / "s.h5"),
            (
                "reconstruct",
                data.scan,
                "-o",
                place / "o.nii.gz",
                "--prior",
                data.prior,
                "--steps=2",
            ),
            ("evaluate", place / "o.nii.gz", data.volume),
        )
    )
    assert all(part in told for part in LONG.values()), told
    assert "\r" not in told
    assert "\x1b" not in told


def on_a_terminal(*words, **environment):
    """Run a command whose streams are a terminal; return what it shows there."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"} | environment
    process = subprocess.Popen(
        [sys.executable, "-m", "diffusionblend", *map(str, words)],
        stdout=follower, stderr=follower, stdin=follower, env=env,
    )  # fmt: skip
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(leader)
    assert process.wait(timeout=60) == 0, seen
    return seen.decode()


def test_a_terminal_gets_colours_unless_it_asks_for_none():
    assert "\x1b[" in on_a_terminal("evaluate", "--help")
    assert "\x1b[" not in on_a_terminal("evaluate", "--help", NO_COLOR="1")
    assert "\x1b[" not in on_a_terminal("evaluate", "--help", TERM="dumb")


def test_a_terminal_gets_a_bar_with_the_time_that_is_left(data, place):
    shown_there = on_a_terminal(
        "reconstruct", data.scan, "-o", place / "o.nii.gz", "--method", "sbtv"
    )
    assert "\rsbtv: " in shown_there
    assert "it/s" in shown_there or "s/it" in shown_there


MISSING = [
    "reconstruct none.h5 -o o.nii",
    "simulate none.nii -o s.h5",
    "evaluate none.nii none.nii",
    "import none.h5 -o s.h5",
    "report none.nii",
    "view none.nii",
    "info none.h5",
    "train none.toml",
    "pack none.toml -o p.h5",
]


def test_a_missing_input_is_told_before_anything_slow_is_imported(place):
    program = f"""
from diffusionblend.cli.main import main
for words in {MISSING}:
    assert main(words.split()) == 3, words
slow = {{"torch", "scipy", "h5py"}} & set(sys.modules)
sys.exit(f"imported: {{slow}}" if slow else 0)
"""
    ended = user_command(before_main=f"import os; os.chdir({str(place)!r}){program}")
    assert ended.code == 0, ended.err
    assert ended.err.count("none.") == ended.err.count("\n") == len(MISSING)
    assert contents(place) == {}


def test_info_of_what_there_is_not_names_the_methods():
    ended = command("info", "fastt")
    assert ended.err.startswith(
        "diffusionblend: fastt: is neither a method nor a file; the methods are "
    )
    assert ended.err.rstrip().endswith("did you mean diffusionblend-fast?")


@pytest.mark.parametrize("words", ["--help", "help reconstruct", "reconstruct --help", "info"])
def test_a_reader_that_has_seen_enough_is_no_failure(words):
    program = f"set -o pipefail; {sys.executable} -m diffusionblend {words} | true"
    ended = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_reconstruction_ends_with_what_lies_where_and_what_to_do_next(data, place):
    out = place / "a b.nii.gz"
    ended = command("reconstruct", data.scan, "-o", out, "--method=sbtv", "--set=iterations=2")
    assert ended.code == 0, ended.err
    told, following = ended.out.split("next: ")
    named = [line.split(": ")[0] for line in told.splitlines()]
    assert sorted(named) == sorted(map(str, place.iterdir()))
    assert [shlex.split(line)[:3] for line in following.splitlines()] == [
        ["diffusionblend", "report", str(out)], ["diffusionblend", "view", str(out)],
    ]  # fmt: skip


def proposed(text):
    """Return the commands that a text ends with, as words."""
    lines = text.partition("next: ")[2].splitlines()
    assert lines
    words = [shlex.split(line) for line in lines]
    assert {first for first, *_ in words} == {"diffusionblend"}
    return [rest for _, *rest in words]


def test_a_simulated_scan_is_reconstructed_and_compared_as_it_proposes(data, place, monkeypatch):
    monkeypatch.chdir(place)
    size = ("--size", 64, "--slices", "2:11")
    ended = command("simulate", data.volume, *size, "-o", "a b.h5", "--truth", "truth.nii.gz")
    first, second = proposed(ended.out)
    assert first == ["reconstruct", "a b.h5", "-o", "reconstruction.nii.gz"]
    assert command(*first, "--method", "fbp", "--no-classical").code == 0
    assert second == ["evaluate", "reconstruction.nii.gz", "truth.nii.gz"]
    assert command(*second).code == 0
    assert len(proposed(command("simulate", data.volume, *size, "-o", "c.h5").out)) == 1


def test_an_imported_scan_is_looked_at_and_reconstructed_as_it_proposes(place, monkeypatch):
    monkeypatch.chdir(place)
    np.save("disc.npy", np.ones((12, 2, 16), np.float32))
    told = ("--quantity", "line-integrals", "--order", "view,row,bin", "--bin-mm", 1, "--arc", 180)
    ended = command("import", "disc.npy", *told, "--centre", "none", "-o", "a b.h5")
    assert ended.code == 0, ended.err
    first, second = proposed(ended.out)
    assert first == ["info", "a b.h5", "-o", "a b.png"]
    assert command(*first).out.splitlines()[-1].split(maxsplit=1) == [
        "picture",
        "a b.png: look at it",
    ]
    assert (place / "a b.png").is_file()
    assert second == ["reconstruct", "a b.h5", "-o", "reconstruction.nii.gz"]


def test_info_says_in_words_what_each_method_does():
    told = command("info").out
    for name, method in methods().items():
        assert f"  {name:20}{method.words}\n" in told
