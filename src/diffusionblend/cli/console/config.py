"""`--config FILE.toml`: options from a file, as words before those on the line, which win.

Keys are the names of options. A table `set` holds what `--set` would: `eta = 0.5` in it is
`--set eta=0.5`, and a table in it continues with a dot, as in `--set budget.steps=100`.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cyclopts import Argument

from diffusionblend.cli.console.arguments import SET, arguments_of, expected
from diffusionblend.cli.console.parsing import one_by_one
from diffusionblend.errors import UsageError, did_you_mean
from diffusionblend.io.toml import read_table

OPTION = "--config"
_SET = f"--{SET}"
Table = dict[str, Any]


def with_config(name: str, command: type, words: Sequence[str]) -> list[str]:
    """Return the words behind a verb with those of its file of options before them."""
    rest, path = _taken(words)
    if path is None:
        return rest
    otherwise = _otherwise(rest)
    found = [words for words in _words(path, name, command) if not otherwise(words[0])]
    # Behind the line, since what takes several values would take inputs, too.
    several = [words for words in found if len(words) > 1 and words[0] not in rest]
    single = [words[0] for words in found if len(words) == 1]
    return [*single, *rest, *itertools.chain.from_iterable(several)]


def _otherwise(line: Sequence[str]) -> Callable[[str], bool]:
    """Return a test of whether the line already has an option of the file, spelled differently.

    `--steps=5` is `--set=steps=5`, and either of them on the line takes precedence.
    """
    words = [word.partition("=") for word in one_by_one(line)]
    options = {option for option, _, _ in words}
    pairs = {second for (first, _, _), (second, _, _) in itertools.pairwise(words) if first == _SET}
    pairs |= {value.partition("=")[0] for option, _, value in words if option == _SET}

    def told(word: str) -> bool:
        option, _, value = word.partition("=")
        if option == _SET:
            return f"--{value.partition('=')[0]}" in options
        return option.removeprefix("--") in pairs

    return told


def _taken(words: Sequence[str]) -> tuple[list[str], Path | None]:
    """Take `--config FILE` out of the words."""
    rest: list[str] = []
    path = None
    left = iter(words)
    for word in left:
        option, _, value = word.partition("=")
        if option != OPTION:
            rest.append(word)
            continue
        value = value or next(left, "")
        if not value:
            raise UsageError(f"{OPTION}: needs a value; expected a path")
        if path is not None:
            raise UsageError(f"{OPTION} {value}: is given twice; give one file")
        path = Path(value)
    return rest, path


def _words(path: Path, name: str, command: type) -> Iterator[tuple[str, ...]]:
    """Yield the words that each line of a file of options stands for."""
    known = {a.field_info.name: a for a in arguments_of(command) if a.field_info.name != "config"}
    for key, value in read_table(path, "options").items():
        argument = known.get(key.replace("-", "_"))
        if key == SET:
            yield from _pairs(path, name, value, argument)
        elif argument is None:
            near = did_you_mean(key, [n for n, a in known.items() if a.index is None])
            raise UsageError(f"{path}: {key}: {name} has no such option{near}")
        elif argument.index is not None:
            raise UsageError(f"{path}: {key}: give it on the line, not in an options file")
        else:
            yield _option(path, key, value, argument)


def _pairs(
    path: Path, name: str, changes: object, argument: Argument | None
) -> Iterator[tuple[str]]:
    if argument is None:
        raise UsageError(f"{path}: [set]: {name} has no --set")
    if not isinstance(changes, dict):
        raise UsageError(f"{path}: set: expected a table, [set], with a line for each option")
    yield from ((f"--set={key}={value}",) for key, value in _flat(changes))


def _option(
    path: Path,
    key: str,
    value: Any,  # noqa: ANN401 - whatever TOML can say
    argument: Argument,
) -> tuple[str, ...]:
    kind = str if argument.hint is Path else argument.hint
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        nearest = did_you_mean(str(value), argument.get_choices() or ())
        raise UsageError(
            f"{path}: {key} = {_json(value)}: expected {expected(argument)}{nearest}"
        ) from error
    if argument.hint is bool:
        return (argument.name if value else argument.negatives[0],)
    if isinstance(value, list):
        return argument.name, *value
    return (f"{argument.name}={value}",)


def _flat(table: Table, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a table of tables, as text, with names joined by dots."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
