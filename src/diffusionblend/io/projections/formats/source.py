"""What a file of projections is, before anything of it is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from diffusionblend.io.projections.formats.exposure import Exposures
from diffusionblend.io.projections.formats.geometry_file import AnyFacts
from diffusionblend.io.projections.formats.names import Series
from diffusionblend.io.projections.formats.stack import Stack

Unit = Literal["degrees", "radians"]


@dataclass(frozen=True)
class Source:
    """Projections, and what their format says of them.

    Attributes:
        angles: Direction of each view as stored; None if the format does not say.
        unit: Of `angles`: `degrees`, `radians`, or None if it is not stated.
        i0: Counts of air, if the format states them.
        diverges: Whether the format says that rays come from a point.
        no_angles: Why it does not state the angles, though it has some.
        hint: What else states its geometry, in words to end a message with.
        pixel_said: What the format states as the size of a pixel, if optics may magnify what the
            rays see; in words to end a message with.
        white_at: How many views were measured before each projection of air, if the format says.
        moved_mm: How far the object was moved during the views, by the format's name for it.
        exposures: How strongly views and projections of air were exposed, if it says so.
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
    exposures: Exposures | None = None
    i0: float | None = None
    diverges: bool = False
    no_angles: str = ""
    hint: str = ""
    pixel_said: str = ""
    stated: AnyFacts | None = None
    moved_mm: Mapping[str, float] = field(default_factory=dict)
