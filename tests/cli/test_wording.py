"""The library speaks of Python's parameters, and the command line of its options."""

import ast
import json
import logging
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import diffusionblend as db
from diffusionblend.cli.commands import Batch, Demo, Import, Reconstruct, Report, Simulate, Train
from diffusionblend.cli.commands.wording import in_options
from diffusionblend.cli.main import COMMANDS, _logged
from diffusionblend.errors import UsageError
from diffusionblend.io.projections.options import Options
from diffusionblend.methods.options import make_method
from diffusionblend.simulation.simulate import check_photons
from support.commands import command

SOURCES = Path(db.__file__).parent
OPTION = re.compile(r"(?<![\w-])--([a-z]|$)")
COMMAND_LINES = {
    "batch/settings.py": "the whole line that makes a volume again",
    "experiments/benchmark.py": "the whole line that makes a table again",
    "experiments/demo.py": "the whole line that makes a volume again",
    "experiments/writers.py": "no line, but the dash of LaTeX",
}
"""Files outside cli/ that put a command line together, and which."""
WHOLE = re.compile(r"`(diffusionblend|pip) [^`]*`")
"""A whole command line within a text."""
GRID = db.Grid.from_spacing((1, 4, 4), (1, 1, 1))
PROSE = st.text(st.characters(blacklist_characters="`"))


def texts(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [WHOLE.sub("", value) for value in constants if isinstance(value, str)]


def test_no_text_of_the_library_has_an_option():
    found = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if not path.is_relative_to(SOURCES / "cli") and any(map(OPTION.search, texts(path)))
    }
    assert found == set(COMMAND_LINES)


@pytest.mark.parametrize(
    ("of", "text", "expected"),
    [
        (Demo, "`steps=5000`: expected 1 to 1000", "--steps 5000: expected 1 to 1000"),
        (Import, "give `bin_mm` or `air_bins='0:10'`", "give --bin-mm or --air-bins 0:10"),
        (Import, "`dead='a b'` or `white=\"it's\"`", "--dead 'a b' or --white 'it'\"'\"'s'"),
        (Import, "try `clockwise=True`, `repair=False`", "try --clockwise, --no-repair"),
        (Import, "give `source='a b*'` as `source`", "give 'a b*' as source"),
        (Import, "give `geometry=FILE`; run `pip x`", "give --geometry FILE; run `pip x`"),
        (Import, '"quantity" in `angles_deg`', '"quantity" in `angles_deg`'),
        (Report, "import it with `size=64`", "import it with --size 64"),
        (Batch, "import it with `rows`, or `replace`", "import it with --rows, or --replace"),
        (Simulate, "import it with `views=3`, `rows`", "import it with --views 3, `rows`"),
        (Train, "change `size`; `int` expected", "change `size`; `int` expected"),
        (Reconstruct, "`steps=3`, `eta=0.5` and `cg_steps`; `etta`",
         "--steps 3, --set eta=0.5 and --set cg_steps; `etta`"),
    ],
)  # fmt: skip
def test_parameters_become_options_and_the_rest_stays(of, text, expected):
    assert (
        in_options(text, of, lambda: {"steps", "eta", "cg_steps"} if of is Reconstruct else ())
        == expected
    )


@given(PROSE, PROSE)
def test_what_is_beside_a_parameter_stays(before, after):
    assert in_options(f"{before}`views=3`{after}", Import) == f"{before}--views 3{after}"
    assert in_options(before, Import) == before


@given(st.text())
def test_what_names_no_parameter_stays(text):
    assert in_options(text, Demo) == text or "`" in text


@given(st.sampled_from(sorted(vars(Options()))), st.text())
def test_a_text_is_a_word_of_a_shell(name, value):
    assume("\\" not in repr(value))
    words = shlex.split(in_options(f"`{name}={value!r}`", Import))
    assert words == ["--" + name.strip("_").replace("_", "-"), value]


def test_the_same_failure_in_both_worlds(data, place):
    with pytest.raises(UsageError, match=r"^`photons=0`: expected 1 to"):
        check_photons(0)
    ended = command("simulate", data.volume, "-o", "s.h5", "--photons", 0, "--json")
    assert ended.err.startswith("diffusionblend: --photons 0: expected 1 to")
    assert f"diffusionblend: {json.loads(ended.out)['error']['message']}\n" == ended.err
    with pytest.raises(UsageError, match=r"^`eta='a'`: expected `float`"):
        make_method("dds", eta="a")
    ended = command("reconstruct", data.scan, "-o", "o.nii", "--method", "dds", "--set", "eta=a")
    assert ended.err.startswith("diffusionblend: --set eta=a: expected `float`")


def test_the_log_of_a_command_speaks_of_its_options(monkeypatch, capsys):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    for words, said in (
        (
            ["reconstruct", "s.h5", "-o", "o.nii", "--method", "dds"],
            "--mu-water, --set eta, `rows_`",
        ),
        (["reconstruct", "s.h5", "--metod", "dds"], "--mu-water, `eta`, `rows_`"),
        (["info"], "`mu_water`, `eta`, `rows_`"),
    ):
        with _logged(words):
            logging.getLogger("diffusionblend.any").warning("%s, `eta`, `rows_`", "`mu_water`")
        assert capsys.readouterr().err == f"{said}\n"
        assert not root.handlers


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_speaks_of_options(verb):
    text = command("help", verb).out
    assert in_options(text, COMMANDS[verb]) == text


def test_help_of_import_names_options_that_it_takes_from_the_library():
    assert "electronic noise in photons, beside --photons." in " ".join(
        command("help", "import").out.split()
    )


simulated = partial(db.simulate, np.eye(4)[None] * 1000 - 1000, [0], spacing_mm=(1, 1, 1))
ASKED = {
    "`size=0`: expected 1": partial(simulated, size=0),
    "`seed=-1`: expected 0": partial(simulated, seed=-1),
    "`detector='round'`: expected": partial(
        db.fan_beam, GRID, [0], sod_mm=9, sdd_mm=9, detector="round"
    ),
    "`device='abacus'`: not on": partial(
        db.projector, GRID, db.parallel_beam(GRID, [0]), device="abacus"
    ),
}


@pytest.mark.parametrize("words", ASKED)
def test_what_cannot_be_asked_of_a_function_is_an_expected_failure(words):
    with pytest.raises(db.DiffusionBlendError, match=re.escape(words)):
        ASKED[words]()
