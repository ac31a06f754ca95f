"""The state of a training run in a file: what it belongs to, and a checksum of its contents.

safetensors has no checksum, and moments with a flipped bit would silently train on.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.io.files import DAMAGE, write_file
from diffusionblend.training.recipe import Plan
from diffusionblend.training.samples import Source

STATE = "state.safetensors"
_FREE = frozenset({
    "output", "budget", "data", "cache", "validation", "phases", "first_phase", "compile",
    "workers", "checkpoint_minutes",
})  # fmt: skip
"""What of a recipe may differ when a run continues: where, how long, how fast, what is logged.
Data count by what is in them, not by where they lie."""


class Facts(msgspec.Struct, frozen=True):
    """What a state says of itself.

    Attributes:
        steps, samples, seconds: How far it is.
        best: Score of the network that is kept, if there are scores.
        threads: How many torch had.
        run: What decides the network; empty in a state of the first version.
    """

    steps: int
    samples: int
    seconds: float
    best: float | None
    threads: int | None = None
    run: dict[str, Any] = {}


def identity(plan: Plan, sources: Iterable[Source], start: nn.Module | None) -> dict[str, Any]:
    """Return what decides the network of a run: recipe, data, and the weights it starts from."""
    said = {k: v for k, v in msgspec.to_builtins(plan).items() if k not in _FREE}
    data = [(s.content, s.weight, s.scale, s.finest) for s in sources]
    begun = "" if start is None else _digest("", start.state_dict())
    digest = hashlib.sha256(msgspec.json.encode(data)).hexdigest()
    # As it will be read back: tuples become lists.
    return json.loads(json.dumps({**said, "data": digest, "first weights": begun}))


def write_training_state(path: Path, facts: Facts, tensors: Mapping[str, Tensor]) -> None:
    """Write a state: whole or not at all."""
    from safetensors.torch import save

    state = msgspec.json.encode(facts).decode()
    metadata = {"state": state, "sha256": _digest(state, tensors)}
    write_file(path, save(dict(tensors), metadata=metadata))


def read_training_state(path: Path, run: Mapping[str, Any]) -> tuple[Facts, dict[str, Tensor]]:
    """Read a state, of the first version, too.

    Args:
        path: The file.
        run: What decides the network here, as `identity` returns it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        stated = metadata.get("sha256")
        if stated not in (None, _digest(metadata["state"], tensors)):
            raise ValueError("its SHA-256 is wrong")
        facts = msgspec.json.decode(metadata["state"], type=Facts)
    except (SafetensorError, *DAMAGE) as error:
        raise CorruptInput(f"{path}: is damaged ({error}); remove it to start again") from error
    for name in facts.run:
        if facts.run[name] != run.get(name):
            raise another(path, f"{name} is {facts.run[name]}, here {run.get(name)}")
    return facts, tensors


def another(path: Path, why: str) -> UsageError:
    """Return the refusal of a state that is of another run."""
    return UsageError(
        f"{path}: is not a checkpoint of this recipe ({why}); change the recipe's output or remove "
        "the folder"
    )


def _digest(state: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of text and tensors: names, types, shapes and values."""
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
