"""What is not known of projections, asked for all at once, and a geometry.json to fill in."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from diffusionblend.errors import UsageError
from diffusionblend.io.formats.foreign import parsing
from diffusionblend.io.projections.formats.arrays import NPY
from diffusionblend.io.projections.formats.geometry_file import (
    NAME,
    TO_FILL,
    AnyFacts,
    ConeFacts,
    Even,
    FanFacts,
    ParallelFacts,
)
from diffusionblend.io.projections.formats.names import tiff_files
from diffusionblend.io.projections.formats.source import Source
from diffusionblend.io.projections.options import Options

SCHEMA: Any = "diffusionblend-geometry/1"
ORDER = "`order`, the axes of the array, for instance view,row,bin, or view,bin for a sinogram"


def with_line(facts: AnyFacts | None, source: Source, options: Options) -> AnyFacts:
    """Return facts with the kind of beam, its distances and its arc as options state them."""
    given = {n: getattr(options, n) for n in ("sod_mm", "sdd_mm") if getattr(options, n)}
    kind = options.beam or (facts.kind if facts is not None else "cone" if given else "parallel")
    if facts is not None and facts.kind != kind:
        raise UsageError(f"`beam={kind!r}`: {NAME} states {facts.kind}; change one of them")
    if kind == "parallel" and given:
        raise UsageError(f"`{next(iter(given))}`: parallel beams have no such distances")
    even = None
    if options.arc is not None and source.angles is None and options.angles_from is None:
        views = source.data.shape[0]
        even = Even(0.0, options.arc / views, views)
    if facts is not None:
        return _changed(facts, given, even)
    if kind == "parallel":
        return ParallelFacts(schema=SCHEMA, angles_deg=even)
    if len(given) < 2:
        raise UsageError(
            f"`beam={kind!r}`: needs `sod_mm` and `sdd_mm`, how far the source is from the axis "
            "and from the detector"
        )
    if kind == "fan":
        return FanFacts(schema=SCHEMA, angles_deg=even, detector="flat", **given)
    return ConeFacts(schema=SCHEMA, angles_deg=even, **given)


def _changed(facts: AnyFacts, given: dict[str, float], even: Even | None) -> AnyFacts:
    for name, value in given.items():
        stated = getattr(facts, name, None)
        if stated is not None and not np.isclose(stated, value):
            raise UsageError(f"`{name}={value:g}`: {NAME} states {stated:g}; give one of them")
    if even is None or facts.angles_deg is not None:
        return facts
    return msgspec.structs.replace(facts, angles_deg=even)


def check_asked(source: Source | None, facts: AnyFacts | None, options: Options) -> None:
    """Ask for all that is not stated, if it is more than one thing."""
    lacking = list(_lacking(source, facts, options))
    if len(lacking) > 1:
        unsaid = facts is None and options.beam is None and options.sod_mm is None
        apart = ", and for a fan or cone `sod_mm` and `sdd_mm` as well" if unsaid else ""
        raise UsageError(
            f"{len(lacking)} things are not stated: {'; '.join(lacking)}; give them{apart}, or "
            f"write a {NAME} to fill in by `template={NAME!r}`"
        )


def _lacking(source: Source | None, facts: AnyFacts | None, options: Options) -> list[str]:
    """Return what is not stated, each with the parameter for it."""
    found = [ORDER] if source is None else []
    data = None if facts is None else facts.data
    air = _any(options.white, options.i0, data and (data.white or data.i0))
    air = air or (source is not None and _any(source.white, source.i0))
    quantity = options.quantity or (data and data.quantity)
    if quantity is None and not (source is not None and _any(source.white, source.i0)):
        found.append("`quantity`, that is, counts or line-integrals")
    elif quantity == "counts" and not air:
        found.append("`white=FILE` or `i0=COUNTS`, the counts through air")
    if options.beam not in (None, "parallel") and facts is None:
        found += [
            f"`{name}`, {words}"
            for name, words in (
                ("sod_mm", "how far the source is from the axis"),
                ("sdd_mm", "how far the source is from the detector"),
            )
            if getattr(options, name) is None
        ]
    elif source is not None and source.diverges and facts is None and not options.sod_mm:
        found.append("`beam='cone'` with `sod_mm` and `sdd_mm`, since rays come from a point")
    if options.bin_mm is None and (facts is None or facts.bin_mm is None):
        found.append("`bin_mm`, the size of a detector pixel")
    known = (source is not None and source.angles is not None) or options.angles_from is not None
    if not known and options.arc is None and (facts is None or facts.angles_deg is None):
        found.append("`arc`, the degrees that the views are spread over")
    return found


def _any(*things: object) -> bool:
    return any(thing is not None and thing is not False for thing in things)


def template(source: Path, options: Options) -> str:
    """Return a geometry.json for projections, with places to fill in what is not known."""
    kind = options.beam or "cone"
    views, axes = _seen(source)
    facts: dict[str, Any] = {"schema": SCHEMA, "kind": kind}
    if kind == "fan":
        facts["detector"] = "flat"
    if kind != "parallel":
        facts["sod_mm"] = options.sod_mm or f"{TO_FILL}mm from the source to the axis"
        facts["sdd_mm"] = options.sdd_mm or f"{TO_FILL}mm from the source to the detector"
    facts["bin_mm"] = options.bin_mm or f"{TO_FILL}width of a detector pixel in mm"
    facts["row_mm"] = options.row_mm or options.bin_mm or f"{TO_FILL}its height in mm"
    if kind == "cone":
        facts |= {f"detector_{turn}_degrees": 0 for turn in ("roll", "tilt", "slant")}
    count: Any = views or f"{TO_FILL}number of views"
    even = None if options.arc is None or views is None else options.arc / views
    step: Any = f"{TO_FILL}degrees from view to view" if even is None else even
    facts["angles_deg"] = {"start": 0, "step": step, "count": count}
    facts["data"] = {
        "file": source.name,
        "quantity": options.quantity or f"{TO_FILL}counts or line-integrals",
    }
    if options.quantity != "line-integrals":
        facts["data"]["i0"] = (
            options.i0 or f"{TO_FILL}counts through air; leave out for line integrals"
        )
    if axes is not None:
        order = options.order.split(",") if options.order else f"{TO_FILL}{axes}"
        facts["data"]["order"] = order
    return json.dumps(facts, indent=2) + "\n"


def _seen(source: Path) -> tuple[int | None, str | None]:
    """Return the number of views, if files are views, and what to say of an array's axes."""
    files = tiff_files(source)
    if files:
        return (len(files), None) if len(files) > 1 else (None, None)
    if source.is_file() and source.suffix.lower() in {".npy", ".npz", ".mat"}:
        shape = ""
        with parsing(source), open(source, "rb") as file:
            if file.read(len(NPY)) == NPY:
                shape = f", which has the shape {np.load(source, mmap_mode='r').shape}"
        return None, f'a list of "view", "row", "bin" as the axes of the array are{shape}'
    return None, None
