"""A prior as a folder: `config.json`, `model.safetensors` and a card, `README.md`.

Other networks of this package are such folders too: what is not a prior's alone takes the type of
the configuration, and how a network is made of it.

No pickle anywhere. The configuration holds the SHA-256 of the weights, since safetensors has no
checksum of its own, and of all else that it says: a flipped byte would otherwise load without a
word.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from torch import nn

from diffusionblend.errors import PriorError, did_you_mean
from diffusionblend.io.files import PathLike, make_folder, sha256, write_file
from diffusionblend.machine.engine import engine
from diffusionblend.machine.memory import memory_of, ran_out
from diffusionblend.prior.unet import PriorConfig, UNetPrior

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_CHECKSUM = "config_sha256"
SHIPPED = Path(__file__).parent.parent / "priors"

_AT_LOADING = 5
"""Bytes at loading for each of the file, which holds bfloat16: both it, and twice as float32."""

# Any: a type variable cannot say that a configuration has `schema` and `weights_sha256`.
Config = TypeVar("Config", bound=Any)
Net = TypeVar("Net", bound=nn.Module)


def shipped_priors() -> dict[str, Path]:
    """Return the folders of the priors in the package, by name."""
    return {config.parent.name: config.parent for config in sorted(SHIPPED.glob(f"*/{CONFIG}"))}


def find_prior(name: str) -> Path:
    """Return the folder of a prior, given its name in the package, its folder, or its hub name.

    Args:
        name: For instance `chest`, `runs/chest/prior` or `owner/name@COMMIT`.
    """
    from diffusionblend.prior import hub  # here, since it stands on this module

    shipped = shipped_priors()
    folder = shipped.get(name, Path(name))
    if (folder / CONFIG).is_file():
        return folder
    if hub.is_name(name) and not folder.exists():
        return hub.fetch(name)
    raise PriorError(
        f"{name}: no such prior; expected one of {', '.join(shipped) or 'none'}, "
        f"a folder with {CONFIG} and {WEIGHTS}, or owner/name@COMMIT of the hub"
        f"{did_you_mean(name, shipped)}"
    )


def read_config(folder: Path) -> PriorConfig:
    """Read the configuration of a prior."""
    return read_any_config(folder, PriorConfig)


def read_any_config(folder: Path, kind: type[Config]) -> Config:
    """Read the configuration of a network, a struct with `schema` and `weights_sha256`."""
    path = folder / CONFIG
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        stated = facts.pop(_CHECKSUM, None)  # those of the first versions have none
        if stated not in (None, _digest(facts)):
            raise ValueError("it is damaged or was changed: its SHA-256 is wrong")
        config = msgspec.convert(facts, kind)
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise PriorError(f"{path}: cannot be used ({error}); copy the folder again") from error
    if config.schema != kind().schema:
        raise PriorError(
            f"{path}: its schema is {config.schema!r}, expected {kind().schema!r}; take a prior "
            "of this version"
        )
    return config


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()


def from_pretrained(name: PathLike, device: torch.device | str = "cpu") -> UNetPrior:
    """Load a prior, ready to denoise.

    Args:
        name: Its name in the package, its folder, or `owner/name@COMMIT` of the hub.
        device: Where it goes.

    Raises:
        PriorError: It is missing, incomplete, or its weights are not those of its configuration.
        UsageError: The engine that is asked for is not known or not installed (`engine`).
    """
    folder = find_prior(os.fspath(name))
    prior = load_network(folder, read_config(folder), UNetPrior).to(device)
    prior.name, prior.loaded = _called(os.fspath(name), folder), checksum(prior)
    for network in (prior, prior.coarse):
        if network is not None:
            network.engine = engine()
    return prior


def facts_of(prior: object) -> dict[str, str]:
    """Return what records say of a prior: its name, on the hub with its commit, and its digest.

    Args:
        prior: A prior, or the name of one that is not loaded yet. One that was not read from a
            folder has the name of its class; one that was trained on since has no digest.
    """
    if isinstance(prior, str):
        folder = find_prior(prior)
        name, config = _called(prior, folder), read_config(folder)
    else:
        name = getattr(prior, "name", "") or type(prior).__name__
        config = getattr(prior, "config", PriorConfig())
    digest = getattr(config, "weights_sha256", "")
    if digest and isinstance(prior, UNetPrior) and checksum(prior) != prior.loaded:
        name, digest = f"{name}, whose weights were changed", ""
    return {"name": name, "weights_sha256": digest}


def checksum(network: nn.Module) -> int:
    """Return a checksum of the weights as they are now, which takes milliseconds."""
    total = 0
    for values in network.state_dict().values():
        flat = values.detach().cpu().contiguous().flatten()
        total = zlib.crc32(flat.view(torch.uint8).numpy(), total)
    return total


def _called(name: str, folder: Path) -> str:
    """Return what to call a prior: a record may be passed on, and never names a place."""
    return folder.name if Path(name).is_dir() else name


def check_digest(prior: str, digest: str) -> None:
    """Check that the weights of a prior are those that are meant."""
    found = read_config(find_prior(prior)).weights_sha256
    if not found.startswith(digest):
        raise PriorError(
            f"{prior}: its weights have the SHA-256 {found[:12]}..., expected {digest[:12]}...; "
            "name the prior with these weights, or train the earlier phases"
        )


def load_network(folder: Path, config: Config, make: Callable[[Config], Net]) -> Net:
    """Load the network of a configuration from its folder, in float32, not to be trained."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise PriorError(f"{path}: no such file; copy the folder again")
    needed = _AT_LOADING * path.stat().st_size
    with memory_of(f"{path}: the network", needed, "end other programs, or take a smaller prior"):
        weights = _read_weights(path, config.weights_sha256)
        network = _made(folder / CONFIG, config, make)
        _check_keys(path, weights, network.state_dict())
        network.load_state_dict(weights, assign=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def _read_weights(path: Path, expected: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = sha256(path)
    if found != expected:
        # In the hub's cache it is a link: what must be deleted is what it leads to.
        raise PriorError(
            f"{path.resolve()}: SHA-256 is {found[:12]}..., expected {expected[:12]}...; "
            "the file is damaged, delete it and copy the folder again"
        )
    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except SafetensorError as error:
        if ran_out(error):
            raise MemoryError from error
        raise PriorError(f"{path}: not safetensors ({error}); copy the folder again") from error


def _made(path: Path, config: Config, make: Callable[[Config], Net]) -> Net:
    try:
        with torch.device("meta"):  # without numbers that would be drawn in vain, from the caller's
            return make(config)
    except (ValueError, RuntimeError, ZeroDivisionError, IndexError, MemoryError) as error:
        if ran_out(error):
            raise
        raise PriorError(
            f"{path}: the network cannot be made ({error}); copy the folder again"
        ) from error


def _check_keys(
    path: Path, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    shapes = [k for k in expected.keys() & found.keys() if expected[k].shape != found[k].shape]
    for problem, keys in (("lacks", missing), ("has unknown", extra), ("misshapes", shapes)):
        if keys:
            raise PriorError(
                f"{path}: {problem} {keys[0]} and {len(keys) - 1} more tensors; its config.json "
                "belongs to another network; copy the folder again"
            )


def save_pretrained(
    prior: UNetPrior, folder: PathLike, *, card: str = "", dtype: torch.dtype = torch.bfloat16
) -> None:
    """Write a prior's folder.

    Args:
        prior: The prior.
        folder: Where it goes; made if it is not there.
        card: Text of its README.md.
        dtype: Type of the numbers on disk.

    Raises:
        OutputError: The folder cannot be written or is full.
    """
    save_network(prior, prior.config, Path(folder), card=card, dtype=dtype)


def save_network(
    network: nn.Module,
    config: Any,  # noqa: ANN401 - see Config
    folder: Path,
    *,
    card: str,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write the folder of a network, and into its configuration the SHA-256 of both."""
    from safetensors.torch import save

    make_folder(folder)
    weights = {k: v.detach().to("cpu", dtype).contiguous() for k, v in network.state_dict().items()}
    write_file(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
    facts = msgspec.to_builtins(config) | {"weights_sha256": sha256(folder / WEIGHTS)}
    facts[_CHECKSUM] = _digest(facts)
    write_file(folder / CONFIG, msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n")
    write_file(folder / CARD, card)
