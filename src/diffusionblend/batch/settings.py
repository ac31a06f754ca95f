"""How a scan of a batch is reconstructed, and what of that decides its volume."""

import functools
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from diffusionblend.geometry import Geometry
from diffusionblend.io.files import naming
from diffusionblend.methods import Method
from diffusionblend.methods.options import as_method, as_plain, converted, make_method
from diffusionblend.prior.store import facts_of
from diffusionblend.ranges import Seed
from diffusionblend.reconstruction.draw import DEFAULT_METHOD, DEFAULT_PRIOR
from diffusionblend.reconstruction.reconstruct import MOST_SAMPLES, seeds_of
from diffusionblend.reconstruction.request import Request
from diffusionblend.runs.provenance import CLASSICAL, MOST_THREADS
from diffusionblend.runs.record import Record
from diffusionblend.runs.save import identity, method_facts


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a scan is reconstructed; as for the command `reconstruct`.

    Attributes:
        method: Name of the method.
        options: Options of the method.
        prior: A prior's name in the package, its folder, or `owner/name@COMMIT` of the hub.
        seed: Seed of the first sample.
        samples: Number of samples.
        classical: Whether the classical reconstruction is made, too.
        mu_water: Attenuation of water in 1/mm, in place of the scan's.
        scale: Factor on the attenuation.
        device: `cpu`, `cuda` or `auto`.
        threads: Threads of each reconstruction; None takes a share of the cores.
        save_state: Seconds between two savings of the state.
    """

    method: str = DEFAULT_METHOD
    options: dict[str, Any] = {}
    prior: str = DEFAULT_PRIOR
    seed: Seed = 0
    samples: Annotated[int, Meta(ge=1, le=MOST_SAMPLES)] = 1
    classical: bool = True
    mu_water: float | None = None
    scale: float | None = None
    device: str = "auto"
    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None
    save_state: Annotated[float, Meta(ge=0)] = 30.0

    def changed(self, values: Mapping[str, Any]) -> "Settings":
        """Return settings with other values; any unknown name is an option of the method.

        With another method the options of this one are gone. One that is given as a method is taken
        by its name, which other processes find it by, and its options.
        """
        known = set(self.__struct_fields__) - {"options"}  # options have names of their own
        own = {name: value for name, value in values.items() if name in known}
        options = {name: as_plain(value) for name, value in values.items() if name not in own}
        if isinstance(method := own.get("method"), Method):
            options = method_facts(as_method(method, options))
            own["method"] = options.pop("name")
        if own.get("method", self.method) == self.method:
            options = self.options | options
        kinds = get_type_hints(Settings, include_extras=True)
        own = {name: converted(name, value, kinds[name]) for name, value in own.items()}
        return replace(self, **own, options=options)

    def again(self, scan: str, output: str) -> str:
        """Return the line that makes the same volume, with names of files for their paths."""
        words = ["diffusionblend", "reconstruct", scan, "--output", output]
        usual = msgspec.to_builtins(Settings())
        for name, value in msgspec.to_builtins(self).items():
            if value == usual[name] or name == "save_state":
                continue
            if name == "options":
                words += ["--set", *(f"{option}={each}" for option, each in value.items())]
            elif isinstance(value, bool):
                words.append(f"--no-{name}")
            else:
                given = Path(value).name if name == "prior" and Path(value).is_dir() else value
                words += [f"--{name.replace('_', '-')}", str(given)]
        return shlex.join(words)

    def make_method(self) -> Method:
        """Return the method with its options."""
        method = make_method(self.method, **self.options)
        seeds_of(method, self.seed, self.samples)
        return method

    def request(self, geometry: Geometry) -> Request:
        """Return what is asked for of a scan."""
        return Request(geometry, self.make_method(), self.samples, self.classical)


@functools.lru_cache
def _decides(settings: bytes) -> dict[str, Any]:
    chosen = msgspec.json.decode(settings, type=Settings)
    method = chosen.make_method()
    return identity(method, facts_of(chosen.prior) if method.needs_prior else None, chosen)


def decides(settings: Settings) -> dict[str, Any]:
    """Return what decides a volume besides its scan and the device: method, options, weights."""
    return _decides(msgspec.json.encode(settings))


def difference(settings: Settings, record: Record) -> str:
    """Say which setting of a volume differs from these; empty if none does."""
    known = decides(settings)
    ours = json.loads(json.dumps(known)) | {"prior": _weights(known["prior"])}  # tuples are lists
    theirs = {name: getattr(record, name) for name in ours} | {"prior": _weights(record.prior)}
    if settings.classical and not settings.make_method().classical:
        ours["classical"], theirs["classical"] = True, CLASSICAL in record.files
    if settings.device != "auto":
        ours["device"], theirs["device"] = settings.device, record.device
    for name, value in ours.items():
        if value != theirs[name]:
            return f"{name} {_short(theirs[name])}, here {_short(value)}"
    return ""


def _weights(prior: Mapping[str, Any] | None) -> str:
    """Return the SHA-256 of a prior's weights, which decide, whatever it is called."""
    return (prior or {}).get("weights_sha256", "")


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def check(settings: Settings, whose: object) -> None:
    """Raise what is wrong with settings, and name whose they are, before any work begins."""
    with naming(whose):
        decides(settings)
