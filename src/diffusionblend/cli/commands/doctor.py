"""Whether all is well here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusionblend.cli.terminal import in_minutes, show
from diffusionblend.machine.memory import in_units


@dataclass(frozen=True)
class Doctor:
    """Say what is installed and whether it works, how fast it is here, and what volumes would take.

    It ends with the exit code of the first thing that is broken; a missing optional package is not
    an error. The measurement takes some seconds.

    Examples:
        diffusionblend doctor
    """

    json: bool = False
    """Print the findings as JSON."""

    def run(self) -> int:
        """Look, measure, tell; return the exit code."""
        from diffusionblend.cli import diagnosis
        from diffusionblend.io.files import left_overs
        from diffusionblend.machine.engine import engine
        from diffusionblend.prior import from_pretrained
        from diffusionblend.reconstruction.draw import DEFAULT_METHOD, DEFAULT_PRIOR
        from diffusionblend.runs.provenance import versions

        broken = list(diagnosis.problems())
        # Without a prior there is nothing to measure.
        known = broken or from_pretrained(DEFAULT_PRIOR)
        facts = {
            "versions": versions(),
            "extras": {
                extra.name: {
                    "installed": extra.installed,
                    "missing": extra.missing,
                    "install": extra.cure if extra.missing else None,
                }
                for extra in diagnosis.extras()
            },
            "devices": diagnosis.devices(),
            "engine": engine(),
            "method": DEFAULT_METHOD,
            "prior": DEFAULT_PRIOR,
            "volumes": [] if isinstance(known, list) else diagnosis.volumes(known),
            "most_views_with_a_matrix": diagnosis.most_views_stored(),
            "left_overs": [str(path) for path in left_overs(Path())],
            "problems": [
                {"code": e.code, "kind": type(e).__name__, "message": str(e)} for e in broken
            ],
        }
        show(facts, self.json, "\n".join(_lines(facts)))
        return broken[0].code if broken else 0


def _of_device(device: dict[str, Any]) -> Iterator[str]:
    """Yield the name of a device or its cores and threads, and how much of its memory is free."""
    if "name" in device:
        yield device["name"]
    for what in (what for what in ("cores", "threads") if what in device):
        yield f"{device[what]} {what if device[what] != 1 else what.removesuffix('s')}"
    if device["free_bytes"] is not None:
        yield f"{in_units(device['free_bytes'])} free"


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the findings for people."""
    yield _line("versions", ", ".join(f"{name} {v}" for name, v in facts["versions"].items()))
    for name, extra in facts["extras"].items():
        there = ", ".join(f"{package} {v}" for package, v in extra["installed"].items())
        missing = ", ".join(extra["missing"])
        cure = f"not installed: {missing} ({extra['install']})" if missing else ""
        yield _line(f"[{name}]", "; ".join(filter(None, [there, cure])))
    for name, device in facts["devices"].items():
        yield _line(name, ", ".join(_of_device(device)))
    for volume in facts["volumes"]:
        shape = " x ".join(map(str, volume["shape"]))
        memory = volume["memory_bytes"]
        needs = "" if memory is None else f", {in_units(memory)}"
        yield _line(shape, f"about {in_minutes(volume['seconds'])}{needs}")
    if facts["volumes"]:
        yield _line("", f"by {facts['method']} from 8 views, with the classical reconstruction")
        a_slice = 1000 * facts["volumes"][0]["seconds_a_sweep_of_a_slice"]
        faster = (
            "" if facts["extras"]["openvino"]["installed"] else "; OpenVINO is faster on most CPUs"
        )
        by = f"by {facts['engine']}{faster}"
        yield _line("speed", f"{a_slice:.1f} ms a sweep over a slice of 256 x 256, {by}")
    stored = facts["most_views_with_a_matrix"]
    sizes = ", ".join(f"{views} of {size} x {size}" for size, views in stored.items())
    yield _line("operator", f"a matrix up to {sizes} pixels; beyond, along the rays")
    for path in facts["left_overs"]:
        yield _line("left over", f"{path}: the next run of the same output removes it")
    for problem in facts["problems"]:
        yield _line("broken", problem["message"])
    if not facts["problems"]:
        yield _line("well", f"the prior {facts['prior']} is whole, temporary files can be written")


def _line(name: str, text: str) -> str:
    return f"{name:17}{text}"
