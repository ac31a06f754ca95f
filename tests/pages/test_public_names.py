"""The public names: few, all documented, fully typed, and imported when they are used."""

import dataclasses
import inspect
import re
import subprocess
import sys
import typing
from importlib.resources import files

import pytest

import diffusionblend as db
from diffusionblend.cli.main import COMMANDS
from support.documents import text_of

NAMES = [name for name in db.__all__ if name != "__version__"]
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(db, name))]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(db, name))]
OWN_METHODS = [
    f"{name}.{attribute}"
    for name in CLASSES
    for attribute, value in vars(getattr(db, name)).items()
    if not attribute.startswith("_")
    and (inspect.isfunction(value) or isinstance(value, classmethod | property))
]


def resolve(path):
    name, _, attribute = path.partition(".")
    value = getattr(db, name)
    if attribute:
        value = inspect.getattr_static(value, attribute)
    value = value.fget if isinstance(value, property) else value
    return value.__func__ if isinstance(value, classmethod) else value


def sections(documented):
    """Return the sections of a docstring (Google's convention) by their headings."""
    text = inspect.getdoc(documented)
    assert text, documented
    parts = re.split(r"^(Args|Attributes|Returns|Raises):\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section):
    """Return the names that a section explains, several to an entry or one."""
    heads = re.findall(r"^    (\w[\w, ]*):(?: |$)", section, re.MULTILINE)
    return {name.strip() for head in heads for name in head.split(",")}


def parameters(function):
    return [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]


def test_nothing_is_public_that_is_not_listed():
    assert sorted(set(NAMES)) == NAMES
    assert set(db.__all__) <= set(dir(db))
    assert dir(db) == sorted(db.__all__)
    assert len(NAMES) < 56
    assert sorted(FUNCTIONS + CLASSES) == NAMES
    with pytest.raises(AttributeError, match="no attribute 'recon'"):
        db.recon  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_of_a_function_is_explained(name):
    function = getattr(db, name)
    named = parameters(function)
    explained = entries(sections(function).get("Args", ""))
    if len(named) > 1 or explained:
        assert explained == set(named)
    else:  # a sentence that names its one parameter is enough
        assert all(f"`{p}`" in function.__doc__ for p in named)


@pytest.mark.parametrize("name", [*FUNCTIONS, *OWN_METHODS])
def test_every_type_is_written(name):
    function = resolve(name)
    hints = typing.get_type_hints(function, include_extras=True)
    assert {*parameters(function), "return"} <= set(hints)


@pytest.mark.parametrize("name", CLASSES)
def test_every_attribute_of_a_class_is_explained(name):
    cls = getattr(db, name)
    explained = set().union(
        *(entries(sections(c).get("Attributes", "")) for c in cls.__mro__[:-1] if c.__doc__)
    )
    fields = (
        {f.name for f in dataclasses.fields(cls)}
        if dataclasses.is_dataclass(cls)
        else set(getattr(cls, "__struct_fields__", ())) - {"schema"}
    )
    assert fields <= explained


@pytest.mark.parametrize("name", OWN_METHODS)
def test_every_method_of_a_class_is_documented(name):
    assert inspect.getdoc(resolve(name))


def test_types_are_there_for_those_who_check_theirs():
    assert files("diffusionblend").joinpath("py.typed").is_file()


def test_the_package_is_imported_without_torch():
    code = (
        "import sys, diffusionblend; dir(diffusionblend); "
        "print([m for m in ('torch', 'numpy', 'h5py') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_every_name_is_imported_by_a_star():
    code = "from diffusionblend import *; import diffusionblend as db; "
    code += "print(all(n in globals() for n in db.__all__))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "True\n"


def test_every_command_is_functions_and_the_page_says_which():
    rows = re.findall(r"^\| (`\w.*) \| (.*) \|$", text_of("docs/python.md"), re.MULTILINE)
    told = {verb: right for left, right in rows for verb in re.findall(r"`(\w+)`", left)}
    assert set(told) == set(COMMANDS)
    for verb, right in told.items():
        functions = set(re.findall(r"`(\w+)`", right))
        assert functions <= set(FUNCTIONS)
        assert functions or right.startswith("none: "), verb
