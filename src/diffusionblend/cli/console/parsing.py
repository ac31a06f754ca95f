"""From words to a command; what cannot be understood is one line that says what was meant."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from diffusionblend.cli.console.arguments import SET, application, expected, flags, missing
from diffusionblend.errors import UsageError, did_you_mean

_SET = f"--{SET}"


def parse(name: str, command: type, words: Sequence[str]) -> Any:  # noqa: ANN401 - any command
    """Make a command of its words."""
    try:
        _, bound, _ = application(name, command).parse_args(
            list(one_by_one(words)), print_error=False, exit_on_error=False
        )
    except CycloptsError as error:
        raise UsageError(_line(error, name, command)) from error
    absent = missing(command, bound.arguments)
    if absent:
        raise UsageError(f"{name}: needs {' and '.join(absent)}; {_see(name)}")
    return command(**bound.arguments)


def one_by_one(words: Iterable[str]) -> Iterator[str]:
    """Repeat --set before each of its pairs: `--set a=1 b=2` is `--set a=1 --set b=2`."""
    before, is_pair = "", False
    for word in words:
        is_pair = is_pair and "=" in word and not word.startswith("-")
        if is_pair:
            yield _SET
        yield word
        is_pair = is_pair or before == _SET or word.startswith(f"{_SET}=")
        before = word


def _line(error: CycloptsError, name: str, command: type) -> str:
    """Say in one line what is wrong."""
    match error:
        case UnknownOptionError(token=token):
            option = (token.keyword or token.value).partition("=")[0]
            if option in flags(command):
                return f"{option}: comes after `--`, where every word is a file; put it before that"
            near = did_you_mean(option, flags(command))
            if os.path.exists(token.keyword or token.value):
                near = f"; if the file is meant, give ./{option}"
            return f"{option}: {name} has no such option{near}"
        case UnusedCliTokensError(unused_tokens=[word, *_]):
            return f"{word}: `{name}` does not take so many words; {_see(name)}"
        case MissingArgumentError(argument=argument) if argument:
            return f"{argument.name}: needs a value; expected {expected(argument)}"
        case CoercionError(argument=argument, token=token) if argument and token:
            near = did_you_mean(token.value, argument.get_choices() or ())
            return f"{argument.name} {token.value}: expected {expected(argument)}{near}"
    return " ".join(str(error).split())


def _see(name: str) -> str:
    return f"see `diffusionblend {name} --help`"
