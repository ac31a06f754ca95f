"""The training loop.

The loss is denoising score matching with the weight of EDM (Karras et al. 2022, Table 1), which
makes every level of noise count alike: E [(sigma^2 + s^2) / (sigma s)^2 |D(x0 + sigma n) - x0|^2].
"""

import copy
import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from diffusionblend.errors import CorruptInput, UsageError
from diffusionblend.files import atomic, make_folder
from diffusionblend.prior.store import from_pretrained, save_pretrained, shipped_priors
from diffusionblend.prior.unet import PriorConfig, UNetPrior, fast_arithmetic
from diffusionblend.training.recipe import Budget, Optimiser, Recipe
from diffusionblend.training.samples import Batch, Sampler, Source, load_sources, statistics
from diffusionblend.training.validation import Validation

log = logging.getLogger(__name__)

STATE, STATS, PRIOR = "state.safetensors", "stats.jsonl", "prior"
CLIP_NORM = 1.0
EMA_RAMP = 0.1  # at first the average spans a tenth of the samples seen
LOG_STEPS = 50

Progress = Callable[[dict[str, float]], None]


def train(recipe: Recipe, root: Path, *, progress: Progress | None = None) -> Path:
    """Train a prior, or go on where the last run of this recipe stopped.

    Args:
        recipe: What to train, on what, for how long.
        root: The folder that the recipe's paths start from.
        progress: Is told step, loss, samples per second and seconds left, now and then.

    Returns:
        The folder of the trained prior (its EMA weights).

    Raises:
        CorruptInput: There is nothing to train on.
        OutputError: A checkpoint cannot be written; the last one stays whole.
    """
    output = root / recipe.output
    make_folder(output)
    if recipe.start is not None and recipe.start not in shipped_priors():
        recipe = msgspec.structs.replace(recipe, start=str(root / recipe.start))
    sources, left_out = load_sources(recipe, root)
    for line in left_out:
        log.warning("left out: %s", line)
    log.info("%d volumes, %d left out", len(sources), len(left_out))
    sampler = Sampler(recipe, sources)
    validation = Validation.read(recipe, root)
    run = Run(recipe, output, sources)
    while not run.finished:
        began = time.monotonic()
        loss = run.step(sampler.batch(run.steps))
        run.seconds += time.monotonic() - began
        run.note(loss)
        if run.steps % LOG_STEPS == 0 and progress is not None:
            progress(run.report())
        if run.checkpoint_due or run.finished:
            run.save(validation.measure(run.average) if validation else {})
    return output / PRIOR


class Run:
    """The state of a training run: network, average, optimiser, and how far it is.

    Args:
        recipe: What to train.
        output: Its folder; a checkpoint there is taken up.
        sources: The training data, for their statistics.
    """

    def __init__(self, recipe: Recipe, output: Path, sources: list[Source]) -> None:
        self.recipe, self.output = recipe, output
        self.network = _new_network(recipe, sources)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            betas=(0.9, 0.99),
            weight_decay=recipe.optimiser.weight_decay,
            fused=True,
        )
        self.steps, self.samples, self.seconds = 0, 0, 0.0
        self._losses: deque[float] = deque(maxlen=LOG_STEPS)
        self._saved_at = 0.0
        self._resume()
        self._began = (time.monotonic(), self.samples)
        self._forward = (
            torch.compile(self.network, dynamic=False) if recipe.compile else self.network
        )

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, from 0 to 1."""
        return spent(self.recipe.budget, self.steps, self.seconds)

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.fraction >= 1

    @property
    def checkpoint_due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return self.seconds - self._saved_at >= 60 * self.recipe.checkpoint_minutes

    def step(self, batch: Batch) -> float:
        """Take one step of optimisation; return the loss."""
        rate = learning_rate(self.recipe.optimiser, self.steps, self.fraction)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss = denoising_loss(self._forward, batch, self.network.config.data_std)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self.optimiser.step()
        self.steps += 1
        self.samples += len(batch.clean)
        self._update_average(len(batch.clean))
        return loss.item()

    def note(self, loss: float) -> None:
        """Keep a loss for the next report.

        Raises:
            UsageError: It is not finite: nothing good can follow.
        """
        if not math.isfinite(loss):
            raise UsageError(
                f"{self.output}: the loss is {loss} at step {self.steps}; the last checkpoint is "
                "kept; lower `rate` in `optimiser`"
            )
        self._losses.append(loss)

    def report(self) -> dict[str, float]:
        """Say how far the run is; the loss is the mean over the last `LOG_STEPS` steps."""
        clock, samples = self._began
        speed = (self.samples - samples) / (time.monotonic() - clock)
        left = self.seconds * (1 / self.fraction - 1) if self.fraction else math.inf
        mean = sum(self._losses) / max(1, len(self._losses))
        return {
            "step": self.steps,
            "samples": self.samples,
            "loss": mean,
            "samples_per_second": speed,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds": self.seconds,
            "seconds_left": left,
        }

    def save(self, measured: dict[str, float]) -> None:
        """Write the checkpoint, the prior and a line of statistics."""
        from safetensors.torch import save

        self._saved_at = self.seconds
        state = {"steps": self.steps, "samples": self.samples, "seconds": self.seconds}
        save_pretrained(self.average, self.output / PRIOR, card=_card(self.recipe, state, measured))
        with atomic(self.output / STATS) as temporary:
            lines = [*self._earlier_lines(), json.dumps(self.report() | measured)]
            temporary.write_text("\n".join(lines) + "\n")
        # Last: whatever stops this before, the same command makes all of it again.
        with atomic(self.output / STATE) as temporary:
            temporary.write_bytes(save(self._tensors(), metadata={"state": json.dumps(state)}))
        log.info("step %d: checkpoint, %s", self.steps, measured or "not validated")

    def _earlier_lines(self) -> list[str]:
        path = self.output / STATS
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if json.loads(line)["step"] < self.steps]

    def _update_average(self, count: int) -> None:
        half_life = min(self.recipe.optimiser.ema_half_life, EMA_RAMP * self.samples)
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
        return {k: v.detach().contiguous() for k, v in tensors.items()}

    def _resume(self) -> None:
        from safetensors import SafetensorError, safe_open

        path = self.output / STATE
        if not path.exists():
            return
        try:
            with safe_open(path, "pt") as file:
                state = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            self.network.load_state_dict(_under("network.", tensors))
            self.average.load_state_dict(_under("average.", tensors))
        except SafetensorError as error:
            raise CorruptInput(f"{path}: is damaged ({error}); remove it to begin again") from error
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise UsageError(
                f"{path}: is no checkpoint of this recipe ({error}); "
                "change the recipe's output or remove the folder"
            ) from error
        self._load_moments(_under("optimiser.", tensors))
        self.steps, self.samples = state["steps"], state["samples"]
        self.seconds = self._saved_at = state["seconds"]
        log.info("resumed at step %d", self.steps)

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.network.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], tensor)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})


def denoising_loss(network: Callable[..., Tensor], batch: Batch, data_std: float) -> Tensor:
    """Return the loss of EDM (Karras et al. 2022, Table 1) of one batch."""
    sigma = batch.sigma.view(-1, 1, 1, 1)
    weight = (sigma**2 + data_std**2) / (sigma * data_std) ** 2
    with fast_arithmetic(batch.clean.device):
        clean = network(batch.clean + sigma * batch.noise, batch.sigma, batch.code)
    return (weight * (clean - batch.clean).square()).mean()


def spent(budget: Budget, steps: int, seconds: float) -> float:
    """Return the share of a budget that is spent, from 0 to 1."""
    by_steps = steps / budget.steps if budget.steps else 0.0
    by_hours = seconds / (3600 * budget.hours) if budget.hours else 0.0
    return min(1.0, max(by_steps, by_hours))


def learning_rate(optimiser: Optimiser, step: int, fraction: float) -> float:
    """Return the learning rate of a step: warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, optimiser.warm_up_steps))
    return optimiser.rate * warm * 0.5 * (1 + math.cos(math.pi * fraction))


def _new_network(recipe: Recipe, sources: list[Source]) -> UNetPrior:
    torch.manual_seed(recipe.seed)
    if recipe.start is not None:
        return from_pretrained(recipe.start).train().requires_grad_(True)
    mean, std = statistics(sources)
    config = PriorConfig(
        widths=recipe.network.widths,
        blocks=recipe.network.blocks,
        norm_groups=recipe.network.norm_groups,
        data_mean=round(mean, 4),
        data_std=round(std, 4),
        gaps=tuple(sorted({k.gap for k in recipe.kinds})),
        planes=tuple(dict.fromkeys(k.plane for k in recipe.kinds)),
    )
    return UNetPrior(config)


def _laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """Lay a moment out in memory as its parameter, which is channels last.

    The fused optimiser takes that for granted, and would mix the values up without a word.
    """
    if moment.shape != parameter.shape:  # the count of steps
        return moment
    return torch.empty_like(parameter.detach()).copy_(moment)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _card(recipe: Recipe, state: dict[str, float], measured: dict[str, float]) -> str:
    lines = [
        "# A DiffusionBlend++ prior",
        "",
        f"Trained on {', '.join(f.path for f in recipe.data)}: {state['samples']:,} samples in "
        f"{state['seconds'] / 3600:.2f} hours. Not for diagnosis.",
        "",
        *(f"- {name}: {value:.2f}" for name, value in measured.items()),
    ]
    return "\n".join(lines) + "\n"
