"""What a file of projections is, before anything of it is decided."""

from dataclasses import dataclass
from typing import Literal

from diffusionblend.io.projections.geometry_file import AnyFacts
from diffusionblend.io.projections.names import Series
from diffusionblend.io.projections.stack import Stack

Unit = Literal["degrees", "radians"]


@dataclass(frozen=True)
class Source:
    """Projections, and what their format says of them.

    Attributes:
        kind: The format, in words.
        angles: Direction of each view as stored; none if the format does not say.
        unit: Of `angles`: `degrees`, `radians`, or none if it is not stated.
        white: Projections of air, if the format has such.
        dark: Projections without rays, if the format has such.
        series: The files, if each view has one.
        i0: Counts of air, if the format states them.
        diverges: Whether the format says that rays come from a point.
        no_angles: Why it does not tell the angles, though it has some.
        hint: What else tells its geometry, in words to end a message with.
        remarks: What is to be said of how it was read.
        white_at: How many views were measured before each projection of air, if the format says.
        stated: The geometry, if the format states it.
    """

    kind: str
    data: Stack
    angles: tuple[float, ...] | None = None
    unit: Unit | None = None
    white: Stack | None = None
    dark: Stack | None = None
    series: Series | None = None
    remarks: tuple[str, ...] = ()
    white_at: tuple[float, ...] | None = None
    i0: float | None = None
    diverges: bool = False
    no_angles: str = ""
    hint: str = ""
    stated: AnyFacts | None = None
