"""From words to a command; what cannot be understood is one line that says what was meant.

tyro reads the words. Its errors are boxes of many lines, so that they are taken over by its hook,
which is its own affair: `pyproject.toml` keeps it to versions that have been tried.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import tyro
from tyro import _errors as events

from diffusionblend.cli.console.arguments import Argument, arguments_of, dressed
from diffusionblend.errors import UsageError, did_you_mean


def parse(name: str, command: type, words: Sequence[str]) -> Any:  # noqa: ANN401 - any command
    """Make a command of its words.

    Args:
        name: The verb.
        command: Its dataclass.
        words: What stands behind the verb.

    Raises:
        UsageError: Something of it cannot be understood, in one line.
    """
    known = {argument.name: argument for argument in arguments_of(command)}

    def refuse(event: events.ParseErrorEvent) -> None:
        line = _line(event, name, known, words)
        if line is not None:  # a kind of error that this tyro has newly: its box will do
            raise UsageError(line)

    # The same text on every terminal and in a file.
    tyro._experimental_options["utf8_boxes"] = False
    tyro._experimental_options["ansi_codes"] = not os.environ.get("NO_COLOR")
    with events.on_parse_error(refuse):
        made: Any = tyro.cli(dressed(command), prog=f"diffusionblend {name}", args=list(words))
    return command(**{f.name: getattr(made, f.name) for f in dataclasses.fields(command)})


def _line(
    event: events.ParseErrorEvent,
    name: str,
    known: dict[str, Argument],
    words: Sequence[str],
) -> str | None:
    """Say in one line what is wrong: first of all the option that there is not."""
    if any(_strange(word, known) for word in words):
        return _unknown(words, name, known)
    if isinstance(event, events.MissingArgs):
        if event.unrecognized_tokens:
            return _unknown(event.unrecognized_tokens, name, known)
        missing = [known[a.arg.field.intern_name].called for a in event.missing_arguments]
        return f"{name}: needs {' and '.join(missing)}; see `diffusionblend {name} --help`"
    if isinstance(event, events.UnrecognizedArgs):
        return _unknown(event.tokens, name, known)
    if isinstance(event, events.BadValue | events.InvalidChoice | events.InstantiationFailure):
        blamed = event.argument and known.get(event.argument.field.intern_name)
        return _bad_value(blamed, words) if blamed else None
    return None


def _strange(word: str, known: dict[str, Argument]) -> bool:
    """Return whether a word is a long option, but none of those known."""
    flag = word.partition("=")[0].replace("_", "-")
    return flag.startswith("--") and flag != "--" and flag not in _flags(known)


def _flags(known: dict[str, Argument]) -> list[str]:
    return [word for a in known.values() for word in a.words] + ["--help", "--config"]


def _unknown(tokens: Sequence[str], name: str, known: dict[str, Argument]) -> str:
    option = next((token for token in tokens if _strange(token, known)), tokens[0])
    if not option.startswith("-"):
        return f"{option}: is more than `{name}` takes; see `diffusionblend {name} --help`"
    option = option.partition("=")[0]
    return f"{option}: {name} has no such option{did_you_mean(option, _flags(known))}"


def _bad_value(argument: Argument, words: Sequence[str]) -> str:
    found = _value(argument, words)
    if found is None:
        return f"{argument.called}: needs a value; expected {argument.expected}"
    nearest = did_you_mean(found, argument.choices)
    return f"{argument.called} {found}: expected {argument.expected}{nearest}"


def _value(argument: Argument, words: Sequence[str]) -> str | None:
    """Return the last value that a flag has among words."""
    found = None
    for word, after in zip(words, [*words[1:], None], strict=True):
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") in argument.flags:
            found = value if equals else after
    return found
