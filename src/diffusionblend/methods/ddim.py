"""The step that DDS, DiffusionBlend and DiffusionBlend++ share: Tweedie, data, DDIM.

The methods differ in which slices the network sees together, and in how an estimate is moved
towards the data (DDS: Chung, Lee, Ye, ICLR 2024, Algorithm 1; DiffusionBlend, Algorithms 1 and 2).
"""

from dataclasses import dataclass

from torch import Generator, Tensor

from diffusionblend.io.stacks import normal
from diffusionblend.methods.method import Method, State, Stepped
from diffusionblend.methods.problem import Problem
from diffusionblend.ranges import Count, Share, Value, Whole, check_order
from diffusionblend.sampling.blend import blend
from diffusionblend.sampling.partition import Partition
from diffusionblend.sampling.schedule import Schedule
from diffusionblend.solvers.consistency import data_consistency

SCHEDULE = Schedule()


@dataclass(frozen=True)
class DDIM(Method):
    """What the methods of this family have in common.

    Attributes:
        steps: Time steps; each is one sweep of the network over the volume.
        eta: Share of each step's noise that is drawn anew.
        cg_steps: M, CG iterations of data consistency in each step.
        batch_size: Groups in one call of the network.
        lowest, highest: Range that the Tweedie estimate is clipped to, in x: that of a scanner's
            12 bits. The paper's range, -1 to 1, would cut off bone.
    """

    steps: int = 200
    eta: Share = 0.85
    cg_steps: Whole = 5
    batch_size: Count = 8
    lowest: Value = -1.0
    highest: Value = 3.071

    needs_prior = True
    random = True
    counted_by = "steps"
    copies = (9, 5)

    def __post_init__(self) -> None:
        check_order(self, "lowest", "highest")

    def count(self, problem: Problem) -> int:
        """Return the number of time steps."""
        return len(SCHEDULE.pairs(self.steps))

    def begin(self, problem: Problem, generator: Generator) -> State:
        """Draw x_T."""
        return {"x": normal(problem.volume_shape, generator).to(problem.y)}

    # fmt: off
    def step(self, problem: Problem, state: State, k: int, generator: Generator) -> Stepped:
        """Go from x_t to x_(t-1): the body of Algorithm 1."""
        x, prior = state["x"], problem.required_prior
        t, t_next = SCHEDULE.pairs(self.steps)[k]                             # t = T, ..., 1
        S = self.partition(len(x), k, generator)                              # S_1 u ... u S_r
        eps = blend(lambda g: SCHEDULE.predict_eps(prior, g, t, S.gap),       # blended score
                    x, S, self.batch_size)
        x0 = SCHEDULE.predict_x0(x, eps, t).clamp(self.lowest, self.highest)  # Tweedie
        x0, split = self.towards_data(problem, x0, state)                     # CG, towards A u = y
        x = SCHEDULE.ddim_step(x0, eps, t_next, self.eta, generator)          # x_(t-1)
        return Stepped(x0, {"x": x, **split})
    # fmt: on

    def partition(self, slices: int, k: int, generator: Generator) -> Partition:
        """Return the partition of a number of slices at step k."""
        raise NotImplementedError

    def towards_data(self, problem: Problem, x0: Tensor, state: State) -> tuple[Tensor, State]:
        """Bring an estimate (slices, rows, columns) towards the data, in a Krylov subspace (eq. 8).

        Returns:
            The estimate, and the variables besides x that the next step needs.
        """
        return data_consistency(problem.A, problem.y, 1 + x0, steps=self.cg_steps) - 1, {}
