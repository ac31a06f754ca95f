"""How a scan of a batch is reconstructed, and what of that decides its volume."""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from diffusionblend.errors import UsageError
from diffusionblend.io.files import naming
from diffusionblend.methods import Method
from diffusionblend.methods.options import make_method
from diffusionblend.prior import find_prior
from diffusionblend.prior.store import read_config
from diffusionblend.reconstruction.draw import DEFAULT_METHOD, DEFAULT_PRIOR
from diffusionblend.reconstruction.reconstruct import MOST_SAMPLES, check_samples
from diffusionblend.runs.provenance import CLASSICAL, MOST_THREADS, versions
from diffusionblend.runs.record import Record


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
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0
    samples: Annotated[int, Meta(ge=1, le=MOST_SAMPLES)] = 1
    classical: bool = True
    mu_water: float | None = None
    scale: float | None = None
    device: str = "auto"
    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None
    save_state: Annotated[float, Meta(ge=0)] = 30.0

    def changed(self, values: Mapping[str, Any]) -> "Settings":
        """Return settings with other values; a name that is none of theirs is the method's option.

        With another method the options of this one are gone.

        Raises:
            UsageError: A value is not valid.
        """
        own = {name: value for name, value in values.items() if name in self.__struct_fields__}
        options = {name: value for name, value in values.items() if name not in own}
        if own.get("method", self.method) == self.method:
            options = self.options | options
        facts = msgspec.to_builtins(self) | own | {"options": options}
        try:
            return msgspec.convert(facts, Settings, strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"{error}; see `diffusionblend reconstruct --help`") from error

    def make_method(self) -> Method:
        """Return the method with its options.

        Raises:
            UsageError: There is no such method or option, or it does not draw samples.
        """
        method = make_method(self.method, **self.options)
        check_samples(method, self.samples)
        return method


@functools.lru_cache
def _decides(settings: bytes) -> dict[str, Any]:
    chosen = msgspec.json.decode(settings, type=Settings)
    method = chosen.make_method()
    facts = {
        "method": {"name": chosen.method, **vars(method)},
        "prior": weights_of(chosen.prior) if method.needs_prior else None,
        "classical": chosen.classical and not method.classical,
        "versions": versions(),
    }
    same = {name: getattr(chosen, name) for name in ("seed", "samples", "mu_water", "scale")}
    return msgspec.json.decode(msgspec.json.encode(facts | same))  # tuples become lists


def decides(settings: Settings) -> dict[str, Any]:
    """Return what decides a volume besides its scan: method, options, weights, versions.

    Processor and number of threads change the last digits alone, and are not among it.

    Raises:
        DiffusionBlendError: There is no such method, option or prior.
    """
    return _decides(msgspec.json.encode(settings))


def weights_of(prior: str) -> str:
    """Return the SHA-256 of a prior's weights.

    Raises:
        PriorError: There is no such prior.
    """
    return read_config(find_prior(prior)).weights_sha256


def difference(settings: Settings, record: Record) -> str:
    """Say by what a volume was made otherwise than these settings would; nothing if by nothing."""
    theirs = {
        "method": record.method,
        "prior": (record.prior or {}).get("weights_sha256"),
        "classical": CLASSICAL in record.files,
        "versions": record.versions,
        **{name: getattr(record, name) for name in ("seed", "samples", "mu_water", "scale")},
    }
    for name, ours in decides(settings).items():
        if ours != theirs[name]:
            return f"{name} {_short(theirs[name])}, here {_short(ours)}"
    if settings.device not in ("auto", record.device):
        return f"device {record.device}, here {settings.device}"
    return ""


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def check(settings: Settings, whose: object) -> None:
    """Raise what is wrong with settings, and name whose they are, before any work begins."""
    with naming(whose):
        decides(settings)
