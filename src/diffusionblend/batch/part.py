"""A share of a batch: part I of N, of the same scans wherever it is computed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from diffusionblend.errors import UsageError

AUTO = "auto"
_Item = TypeVar("_Item")
_EXPECTED = "expected I/N, for instance 3/8, or auto in an array of jobs"


@dataclass(frozen=True)
class Part:
    """Part `index` of `of`.

    Attributes:
        index: Which part, from 1.
        of: How many there are.
    """

    index: int = 1
    of: int = 1

    def take(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Return every N-th item, from the I-th: parts are disjoint, and together all."""
        return items[self.index - 1 :: self.of]

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


ALL = Part()


def parse_part(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """Read `3/8`; or `auto`, in an array of Slurm; or `auto/8`, in an indexed job of Kubernetes."""
    first, _, last = text.partition("/")
    if first == AUTO:
        first, last = _from_array(text, last, environment)
    try:
        part = Part(int(first), int(last))
    except ValueError as error:
        raise UsageError(f"`part={text!r}`: {_EXPECTED}") from error
    if not 1 <= part.index <= part.of:
        raise UsageError(f"`part={text!r}`: {part} is not a part; {_EXPECTED}")
    return part


def _from_array(text: str, count: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return index and count as an array of jobs numbers its own: from 1, one after another."""
    slurm = {
        name: environment.get(f"SLURM_ARRAY_TASK_{name}", "")
        for name in ("ID", "MIN", "STEP", "COUNT")
    }
    index = environment.get("JOB_COMPLETION_INDEX", "")
    if slurm["ID"].isdecimal():
        step, least = int(slurm["STEP"] or 1), int(slurm["MIN"] or 1)
        return str((int(slurm["ID"]) - least) // step + 1), count or slurm["COUNT"]
    if index.isdecimal() and count:
        return str(int(index) + 1), count
    if index.isdecimal():
        raise UsageError(
            f"`part={text!r}`: Kubernetes says which part this is, but not how many there are; "
            "give auto/N with N its completions, for instance auto/100"
        )
    raise UsageError(
        f"`part={text!r}`: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set; give I/N"
    )
