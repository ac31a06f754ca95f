"""Tune total variation on the validation volume: `python studies/tune_tv.py VOLUME FIRST:LAST`.

For each acquisition the weight is climbed by factors of two until the mean axial PSNR falls at both
sides. Prints what was tried, the top of the parabola through the best three, and what the method's
own weight reaches. The weights of `TV` follow a law through these; `--method sbtv` made the table
of `SBTV`.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import diffusionblend as db
from diffusionblend.methods import SBTV, TV, Method
from diffusionblend.reconstruction.draw import reconstruct_volume
from diffusionblend.simulation.simulate import Beam, truth_on_grid

CIRCLE = partial(db.sparse_view, turn=360.0)
FAN = partial(db.fan_beam, sod_mm=600, sdd_mm=1000)
CONE = partial(db.cone_beam, sod_mm=600, sdd_mm=1000)
ACQUISITIONS: dict[str, tuple[Beam, tuple[float, ...]]] = {
    **{f"{n} views": (db.parallel_beam, db.sparse_view(n)) for n in (4, 8, 20, 60, 120)},
    **{f"{arc} degrees": (db.parallel_beam, db.limited_angle(arc)) for arc in (60, 90, 120)},
    **{f"fan, {n} views": (FAN, CIRCLE(n)) for n in (8, 20, 60)},
    **{f"cone, {n} views": (CONE, CIRCLE(n)) for n in (8, 20, 60)},
}
PHOTONS = (None, 1e5, 1e4)
METHODS: dict[str, tuple[Callable[..., Method], float, tuple[dict[str, float], ...]]] = {
    "tv": (TV, 64.0, ({},)),
    "sbtv": (SBTV, 1e-3, ({"rho": 0.03}, {"rho": 0.1})),
}
"""Of each its class, a weight to begin with, and other options to try."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("slices", help="FIRST:LAST")
    parser.add_argument("--method", choices=METHODS, default="tv")
    parser.add_argument("--only", nargs="+", choices=ACQUISITIONS, default=list(ACQUISITIONS))
    parser.add_argument("--photons", nargs="+", type=float, default=None, help="0 is no noise")
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    first, last = map(int, options.slices.split(":"))
    volume = db.read_volume(options.volume).slices(first, last)
    truth = truth_on_grid(volume, options.size)
    make, begin, others = METHODS[options.method]
    levels = PHOTONS if options.photons is None else [n or None for n in options.photons]
    for name, photons in itertools.product(options.only, levels):
        beam, angles = ACQUISITIONS[name]
        scan = db.simulate(
            volume, angles, beam=beam, size=options.size, protocol="paper", photons=photons
        )

        def quality(method: Method, scan: db.Scan = scan) -> float:
            return db.evaluate(reconstruct_volume(scan, method), truth)["axial"]["psnr"]

        for other in others:
            climbed = climb(lambda w, o=other: quality(make(weight=w, **o)), begin)
            weight, best = top(climbed)
            tried = ", ".join(f"{w:.3g}: {p:.2f}" for w, p in sorted(climbed.items()))
            print(
                f"{name}, {photons or 0:g} photons {other or ''}: best {weight:.3g} {best:.2f} dB; "
                f"by itself {quality(make(**other)):.2f}; {tried}"
            )
            sys.stdout.flush()


def climb(quality: Callable[[float], float], begin: float) -> dict[float, float]:
    """Return weights and their quality, by factors of two, to beyond the best at both sides."""
    found = {begin: quality(begin)}
    while True:
        best = max(found, key=found.__getitem__)
        beside = [weight for weight in (best / 2, best * 2) if weight not in found]
        if not beside:
            return found
        found[beside[0]] = quality(beside[0])


def top(climbed: dict[float, float]) -> tuple[float, float]:
    """Return weight and quality at the top of the parabola through the best and its neighbours."""
    weight = max(climbed, key=climbed.__getitem__)
    below, here, above = climbed[weight / 2], climbed[weight], climbed[weight * 2]
    slope, bend = (above - below) / 2, above - 2 * here + below
    return weight * 2 ** (-slope / bend), here - slope**2 / (2 * bend)


if __name__ == "__main__":
    main()
