"""What an import says of its data: what was done, and what may be wrong."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Notes:
    """Corrections and warnings, in words.

    Attributes:
        warnings: What may be wrong with the data, each a sentence that names the cure.
    """

    done: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: "Notes") -> "Notes":
        return Notes(self.done + other.done, self.warnings + other.warnings)


NOTHING = Notes()


def noted(text: str) -> Notes:
    """Return a note of what was done."""
    return Notes(done=(text,))


def warned(text: str) -> Notes:
    """Return a warning."""
    return Notes(warnings=(text,))
