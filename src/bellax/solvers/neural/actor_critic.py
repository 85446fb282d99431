"""`ActorCritic`: an actor and several critics that know the model: its expectations, its slopes, its next periods.

See agent.py for the equations, and roles.py for who says what.
"""

from dataclasses import dataclass
from typing import Any

from bellax.errors import ModelError, check_count, check_flag, named_options
from bellax.solvers.neural.agent import Recipe
from bellax.solvers.neural.trained_agents import AgentSolver, PreparedAgent


@named_options
@dataclass(frozen=True, kw_only=True)
class ActorCritic(AgentSolver):
    """Solves models of discrete and continuous actions, and of stopping, by critics that are asked for expectations.

    Besides the options of `AgentSolver`:

    Args:
        ensemble: how many critics there are.
        dropped: how many of the largest estimates are left out of the mean of them; zero for the mean, and all but one
            for the minimum.
        depth: how many periods of the model stand in an equation before the critics do; from the second on they are
            drawn.
        expected: whether the first of them is the model's own expectation, by the nodes of `quadrature` and `degree`;
            else it is what was seen.
        through: whether the actor is improved by slopes of E[r + d V(s')], and so of the model; else by those of Q.
    Raises:
        ModelError: for constraints on continuous actions, and models in which nothing is decided.
    Source: Chen, Wang, Zhou & Ross (2021), "Randomized ensembled double Q-learning: learning fast without a model",
        ICLR; Kuznetsov et al. (2020), ICML, for the truncated mean; Feinberg et al. (2018), "Model-based value
        expansion for efficient model-free reinforcement learning"; Heess et al. (2015), "Learning continuous control
        policies by stochastic value gradients", NeurIPS, for `through`. Departs from the first in: all critics count,
        and one step of learning for one of the environments.
    """

    steps: int = 10_000
    wait: int = 500
    averaged: int = 1000
    ensemble: int = 2
    dropped: int = 0
    depth: int = 1
    expected: bool = True
    through: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self.expected, "ActorCritic: expected")
        check_flag(self.through, "ActorCritic: through")
        check_count(self.ensemble, "ActorCritic: ensemble")
        check_count(self.depth, "ActorCritic: depth")
        check_count(self.dropped, "ActorCritic: dropped", 0)
        if self.dropped >= self.ensemble:
            raise ModelError(
                f"ActorCritic: dropped={self.dropped} leaves none of ensemble={self.ensemble} critics; give less."
            )
        if self.through and not self.expected:
            raise ModelError(
                "ActorCritic: through=True takes slopes of the model's own expectation, and expected=False draws: a "
                "draw of a category has no slope. Leave expected= out."
            )

    @property
    def ensemble_of(self) -> tuple[int, int]:
        return self.ensemble, self.dropped

    @property
    def recipe(self) -> Recipe:
        return super().recipe._replace(depth=self.depth, expected=self.expected, through=self.through)

    def prepare(self, model: Any) -> PreparedAgent:
        return self.kept(model, _prepared)


def _prepared(model: Any, options: ActorCritic) -> PreparedAgent:
    prepared = PreparedAgent(model, options)
    plan = prepared.plan
    if not (plan.controls or plan.choices or plan.evaluate_stop is not None):
        raise ModelError("ActorCritic: nothing is decided in this model; bx.evaluate says what it is worth.")
    return prepared
