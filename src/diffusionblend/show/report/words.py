"""The verdict: sentences that are computed from the figures, and hold for them."""

import math
from collections.abc import Sequence

from diffusionblend.geometry.planes import PLANES
from diffusionblend.show.report.model import Entry
from diffusionblend.show.report.numbers import number, percent

_NOBODY = "Without the truth nobody can say how close a picture comes to it."


def verdict(entries: Sequence[Entry], *, truth: bool) -> str:
    """Return what the figures say: with a truth which is nearest, else what the data say."""
    if truth:
        return _nearest(entries)
    known = [entry for entry in entries if entry.quality is not None]
    if not known:
        return f"{_NOBODY} There is no quality record either, so nothing here says how good it is."
    if len(known) == 1:
        return f"{_NOBODY} {_of_one(known[0])}"
    return f"{_NOBODY} {'; '.join(map(_in_short, known))}."


def _nearest(entries: Sequence[Entry]) -> str:
    if len(entries) == 1:
        each = (f"{number(_psnr(entries[0], plane), 2)} dB in the {plane}" for plane in PLANES)
        return f"Against the truth {entries[0].name} has a PSNR of {_listed(list(each))} plane."
    best, top = _best(entries, "axial")
    others = [e for e in entries if e.name not in best]
    sentence = (
        f"Of {len(entries)} volumes, {_listed(best)} {_is(best)} nearest to the truth in the "
    )
    sentence += f"axial plane, with a PSNR of {number(top, 2)} dB"
    if others:
        after, value = _best(others, "axial")
        sentence += f", {number(top - value, 2)} dB above {_listed(after)}"
    return f"{sentence}{_further(entries, best)}."


def _further(entries: Sequence[Entry], best: list[str]) -> str:
    """Say who is best in the other planes."""
    found = {plane: _best(entries, plane)[0] for plane in PLANES[1:]}
    if all(names == best for names in found.values()):
        return "; in the coronal and the sagittal plane, too"
    return "".join(
        f"; in the {plane} plane {_listed(names)} {_is(names)}"
        for plane, names in found.items()
    )  # fmt: skip


def _best(entries: Sequence[Entry], plane: str) -> tuple[list[str], float]:
    """Return the names with the highest PSNR of a plane as it is read, and that."""
    values = [round(_psnr(e, plane), 2) for e in entries]
    top = max((v for v in values if not math.isnan(v)), default=math.nan)
    return [e.name for e, v in zip(entries, values, strict=True) if v == top], top


def _psnr(entry: Entry, plane: str) -> float:
    return entry.figures.get(plane, {}).get("psnr", math.nan)


def _of_one(entry: Entry) -> str:
    quality = entry.quality
    if quality is None:
        return ""
    chi = quality.residual.chi_square
    noise = "" if chi is None else f" (chi-square {number(chi, 2)}; noise leaves 1)"
    far = quality.classical
    apart = "" if far is None else (
        f", and it differs from the classical picture by {number(far.rms_hu, 0)} HU RMS"
    )  # fmt: skip
    return (
        f"The picture leaves {percent(quality.residual.relative)} of the measurements "
        f"unexplained{noise}; {percent(quality.undetermined.share)} of its contrast was seen by no "
        f"ray{apart}. {_warnings(entry).capitalize()}."
    )


def _in_short(entry: Entry) -> str:
    relative = percent(entry.quality.residual.relative) if entry.quality else ""
    return f"{entry.name} leaves {relative} of the measurements unexplained, {_warnings(entry)}"


def _warnings(entry: Entry) -> str:
    count = len(entry.quality.warnings) if entry.quality else 0
    return {0: "no warning", 1: "1 warning"}.get(count, f"{count} warnings")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "none"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
