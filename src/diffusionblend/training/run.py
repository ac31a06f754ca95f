"""The state of a training run for any task: steps, checkpoints, and resuming from them."""

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from diffusionblend.errors import UsageError
from diffusionblend.training.loss import Window
from diffusionblend.training.recipe import Budget, Optimiser, Plan
from diffusionblend.training.samples import Batch, Slices
from diffusionblend.training.state import (
    STATE,
    Facts,
    another,
    read_training_state,
    write_training_state,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

CLIP_NORM = 1.0
COMPILED_ERROR = 0.1
"""Of a compiled network's gradient, in bfloat16; one with layers lost was 0.35 to 1.3 away."""
EMA_RAMP = 0.1  # at first the average spans a tenth of the samples seen

Net = TypeVar("Net", bound=nn.Module)
AnyBatch = TypeVar("AnyBatch", bound="Batch | Slices")


class TrainingRun(Generic[Net, AnyBatch]):
    """The state of a training run: network, average, optimiser, and how far it is.

    Each task defines its losses, and how its network is written.

    Args:
        plan: How to train.
        output: Its folder; a checkpoint there is resumed.
        network: The network at the start.
        accelerator: Knows the device and the other processes.
        identity: What determines the network: a checkpoint of something else is refused.
    """

    def __init__(
        self,
        plan: Plan,
        output: Path,
        network: Net,
        accelerator: "Accelerator",
        identity: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.plan, self.output, self._accelerator = plan, output, accelerator
        self._identity = dict(identity)
        self.network = network.to(accelerator.device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99), fused=True)
        self.steps, self.samples, self.seconds = 0, 0, 0.0
        self.best = -math.inf
        self._window = Window()
        self.saved_at = 0.0
        self._resume()
        self._began = (time.monotonic(), self.samples)
        self._forward = accelerator.prepare_model(self.network)
        self._compiled = torch.compile(self._forward, dynamic=False) if plan.compile else None
        self._agreed: set[torch.Size] = set()

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, from 0 to 1."""
        return spent(self.plan.budget, self.steps, self.samples, self.seconds)

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.fraction >= 1

    @property
    def speaks(self) -> bool:
        """Whether this process reports, validates and writes."""
        return self._accelerator.is_main_process

    @property
    def checkpoint_due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return self.seconds - self.saved_at >= 60 * self.plan.checkpoint_minutes

    def losses(self, forward: Callable[..., Tensor], batch: AnyBatch) -> Tensor:
        """Return the loss of each sample of a batch (samples,)."""
        raise NotImplementedError

    def write(self, facts: dict[str, float], measured: dict[str, float]) -> None:
        """Write the averaged network with a card that says how far it is and what was measured."""
        raise NotImplementedError

    def card(
        self, title: str, counted: str, facts: dict[str, float], measured: dict[str, float]
    ) -> str:
        """Return the text beside the network: what it was trained on, and what was measured."""
        lines = [
            f"# {title}",
            "",
            f"Trained on {', '.join(f.path for f in self.plan.data)}: {facts['samples']:,} "
            f"{counted} in {facts['seconds'] / 3600:.2f} hours. Not for diagnosis.",
            "",
            *(f"- {name}: {value:.2f}" for name, value in measured.items()),
        ]
        return "\n".join(lines) + "\n"

    def step(self, batch: AnyBatch) -> None:
        """Take one step of optimisation."""
        rate = learning_rate(self.plan.optimiser, self.steps, self.fraction)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        batch = type(batch)(*(t.to(self._accelerator.device, non_blocking=True) for t in batch))
        losses = self.losses(self._checked(batch), batch)
        self._accelerator.backward(losses.mean())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.optimiser.step()
        count = len(batch.clean) * self._accelerator.num_processes
        self.steps += 1
        self.samples += count
        self._update_average(count)
        self._window.add(batch.sigma, losses.detach(), norm)

    def _checked(self, batch: AnyBatch) -> Callable[..., Tensor]:
        """Return what computes a batch: compiled, if its gradients are right for such a batch.

        A compiler may lose the gradients of whole layers while the loss is the same to four digits,
        as one did; so the first batch of each shape is computed both ways.
        """
        shape = batch.clean.shape
        if self._compiled is not None and shape not in self._agreed:
            self._agreed.add(shape)
            right, found = (self._gradient(f, batch) for f in (self._forward, self._compiled))
            error = float((found - right).norm() / right.norm())
            if not error < COMPILED_ERROR:
                log.warning("the compiled network has other gradients (%.0f %% off), so it is "
                    "trained without `compile`", 100 * error)  # fmt: skip
                self._compiled = None
        return self._forward if self._compiled is None else self._compiled

    def _gradient(self, forward: Callable[..., Tensor], batch: AnyBatch) -> Tensor:
        """Return the gradient of the loss of a batch by all parameters."""
        self.optimiser.zero_grad(set_to_none=True)
        self._accelerator.backward(self.losses(forward, batch).mean())
        found = [p.grad.flatten() for p in self.network.parameters() if p.grad is not None]
        gradient = torch.cat(found).clone()
        self.optimiser.zero_grad(set_to_none=True)
        return gradient

    def agreed(self, seconds: float) -> float:
        """Return the first process's seconds in all of them, so that they end at the same step."""
        if self._accelerator.num_processes == 1:
            return seconds
        from accelerate.utils import broadcast

        return float(broadcast(torch.tensor([seconds], device=self._accelerator.device)))

    def report(self) -> dict[str, float]:
        """Say how far the run is; losses are means since the last report."""
        clock, samples = self._began
        speed = (self.samples - samples) / (time.monotonic() - clock)
        self._began = (time.monotonic(), self.samples)
        losses = self._window.means()
        self._window = Window()
        if not math.isfinite(losses["loss"]):
            raise UsageError(
                f"{self.output}: the loss is {losses['loss']} before step {self.steps}; the last "
                "checkpoint is kept; lower `rate` in `optimiser`"
            )
        return {
            "step": self.steps,
            "samples": self.samples,
            **losses,
            "samples_per_second": speed,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds": self.seconds,
            "seconds_left": self.seconds * (1 / self.fraction - 1),
        }

    def save(self, measured: dict[str, float]) -> None:
        """Write the checkpoint, and the network if it reconstructs better than the one there."""
        score = measured.get("score", math.inf)
        facts = {"steps": self.steps, "samples": self.samples, "seconds": self.seconds}
        if score >= self.best:
            self.write(facts, measured)
            self.best = score if "score" in measured else self.best
        best = self.best if math.isfinite(self.best) else None
        state = Facts(self.steps, self.samples, self.seconds, best, torch.get_num_threads(),
                      self._identity)  # fmt: skip
        # Last: whatever stops this before, the same command makes all of it again.
        write_training_state(self.output / STATE, state, self._tensors())
        log.info("step %d: checkpoint, %s", self.steps, _brief(measured))

    def _update_average(self, count: int) -> None:
        half_life = min(self.plan.optimiser.ema_half_life, EMA_RAMP * self.samples)
        weight = 1 - 0.5 ** (count / half_life)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.network.parameters()), weight
            )

    def _tensors(self) -> dict[str, Tensor]:
        """Name every tensor of the state."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
        return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}

    def _resume(self) -> None:
        path = self.output / STATE
        if not path.exists():
            return
        facts, tensors = read_training_state(path, self._identity)
        try:
            self.network.load_state_dict(_under("network.", tensors))
            self.average.load_state_dict(_under("average.", tensors))
            self._load_moments(_under("optimiser.", tensors))
        except (RuntimeError, KeyError, ValueError, IndexError) as error:
            raise another(path, str(error)) from error
        self.steps, self.samples = facts.steps, facts.samples
        self.seconds = self.saved_at = facts.seconds
        self.best = -math.inf if facts.best is None else facts.best
        log.info("resumed at step %d", self.steps)
        if not facts.run:
            log.warning("%s: does not say which recipe and data it belongs to; this was not "
                        "checked",
                        path)  # fmt: skip
        here = torch.get_num_threads()
        if facts.threads not in (None, here):
            log.warning("the last digits, and so the network, depend on the number of threads: %s "
                "before, %d now; OMP_NUM_THREADS=%s restores it",
                        facts.threads, here, facts.threads)  # fmt: skip

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.network.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], tensor)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})


def spent(budget: Budget, steps: int, samples: int, seconds: float) -> float:
    """Return the share of a budget that is spent, from 0 to 1."""
    by_steps = steps / budget.steps if budget.steps else 0.0
    by_samples = samples / budget.samples if budget.samples else 0.0
    by_hours = seconds / (3600 * budget.hours) if budget.hours else 0.0
    return min(1.0, max(by_steps, by_samples, by_hours))


def learning_rate(optimiser: Optimiser, step: int, fraction: float) -> float:
    """Return the learning rate of a step: warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, optimiser.warm_up_steps))
    return optimiser.rate * warm * 0.5 * (1 + math.cos(math.pi * fraction))


def _laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """Lay a moment out in memory as its parameter, which is channels last.

    The fused optimiser assumes this, and would silently mix up the values otherwise.
    """
    if moment.shape != parameter.shape:  # the count of steps
        return moment
    return torch.empty_like(parameter.detach()).copy_(moment)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _brief(measured: dict[str, float]) -> str:
    """Return the most important measured figures in words."""
    names = [n for n in measured if n.startswith(("score", "psnr_views"))] or list(measured)
    return ", ".join(f"{name} {measured[name]:.2f}" for name in names) or "not validated"
