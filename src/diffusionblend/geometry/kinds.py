"""Kinds of beams: those of this package, and those that others bring.

Another package adds a beam by an entry point of the group `diffusionblend.beams`: its kind, and the
class. Any other class is refused: a subclass of a known beam would otherwise be taken for that
beam.
"""

from diffusionblend.errors import InvalidValue, UnsupportedInput
from diffusionblend.geometry.beam import Beam, ParallelBeam
from diffusionblend.geometry.point import ConeBeam, FanBeam
from diffusionblend.geometry.posed import PosedBeam
from diffusionblend.plugins import load, plugins

ENTRY_POINTS = "diffusionblend.beams"
_CIRCLES: dict[str, type[Beam]] = {"parallel": ParallelBeam, "fan": FanBeam, "cone": ConeBeam}
_BEAMS = _CIRCLES | {"posed": PosedBeam}


def is_plain(beam: Beam) -> bool:
    """Return whether a beam is a circle of this package's own, and no subclass of one."""
    return type(beam) in _CIRCLES.values()


def find_beam(kind: str) -> type[Beam]:
    """Return the class of beams of a kind."""
    if kind in _BEAMS:
        return _BEAMS[kind]
    points = plugins(ENTRY_POINTS)
    if kind not in points:
        raise InvalidValue(
            f"kind is {kind!r}, expected one of {', '.join(sorted({*_BEAMS, *points}))}; a beam of "
            "another package needs that package installed"
        )
    return load(points[kind])


def known(beam: Beam) -> Beam:
    """Return a beam whose class is entered as its kind, and no subclass of such a class."""
    cls, kind = type(beam), getattr(beam, "kind", None)
    if kind not in {*_BEAMS, *plugins(ENTRY_POINTS)} or find_beam(kind) is not cls:
        raise UnsupportedInput(
            f"{cls.__name__} is not a known kind of beam; give the class its own tag, and "
            f"register it under that name in the group {ENTRY_POINTS} (docs/how-to/add-a-beam.md)"
        )
    return beam
