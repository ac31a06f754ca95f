"""What lies below a folder, as far as a search for something goes."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from diffusionblend.errors import CorruptInput, UnsupportedInput
from diffusionblend.io.files import reading_cure

BESIDE = 100
"""Other files that may lie beside each one that is searched for."""
_OF_THE_SYSTEM = {"/dev", "/proc", "/sys"}
"""What the kernel shows there is not data, and reading some of it never ends."""


SOME = 3
"""How many of many names are given."""


def some_of(names: Iterable[str]) -> str:
    """Name the first few, each once, and how many more there are."""
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - SOME} more" if each[SOME:] else ""
    return ", ".join(each[:SOME]) + more


def folders_below(
    folder: Path, most: int, cure: str, suffixes: tuple[str, ...] = ()
) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it, sorted, each with the names of its files.

    Hidden folders are left out, and links to folders are not followed.

    Args:
        folder: Where the search begins.
        most: How many files and folders are looked at: someone may have given the root of a disk.
        cure: What to give in place of a folder that holds more.
        suffixes: For each file that has one of them, `BESIDE` more are looked at: a folder may
            hold a million of what is searched for.
    """

    def refuse(error: OSError) -> None:
        """What cannot be looked at may hold what is searched for; what is gone does not."""
        if not isinstance(error, FileNotFoundError):
            raise CorruptInput(
                f"{error.filename}: cannot be read ({error.strerror}); {reading_cure(error, cure)}"
            )

    seen = 0
    for place, subfolders, names in os.walk(folder, onerror=refuse):
        seen += len(subfolders) + len(names)
        seen -= BESIDE * sum(name.lower().endswith(suffixes) for name in names)
        if seen > most:
            raise UnsupportedInput(
                f"{folder}: holds more than {most} other files and folders, which is too many to "
                f"search; {cure}"
            )
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".") and os.path.join(place, name) not in _OF_THE_SYSTEM
        )
        yield Path(place), sorted(names)
