"""`PolicyGradient`: a policy as a net, trained on what it earns along simulated paths.

    max over w of E[ sum_t D_t r(s_t, pi_w(s_t)) + D_T W(s_T) ]

whose gradient goes back through rewards and laws (ascent.py). W is the terminal value; without an end paths are cut
off, and W is V under the policy of the round before, so that rounds are steps of a policy iteration that looks as many
periods ahead. V is found by least squares on V = E[r + b V(s')] with the policy held fixed (evaluation.py), at states
where paths lead: it is what the policy is worth, and not what was hoped for during the training.

Where paths draw categories, probabilities must not move with what the policy moves: a path keeps the category that it
drew, and its gradient would miss how they matter. Such models are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bellax.errors import (
    ModelError,
    check_count,
    check_flag,
    check_mapping,
    check_positive,
    check_share,
    check_widths,
    named_options,
)
from bellax.numerics.draws import Draws, Sobol
from bellax.solvers.neural.options import NetSolver
from bellax.solvers.neural.prepared_gradient import PreparedGradient


@named_options
@dataclass(frozen=True, kw_only=True)
class PolicyGradient(NetSolver):
    """Solves models that are differentiable in continuous states and actions by gradients of simulated returns.

    Besides what all solvers by nets take (`NetSolver`; of a `warm_start` the actions, since V is found by itself):

    Args:
        tolerance: in standard deviations of the return, or in units of what decisions are about where that is less, for
            what is left of V's equation, for what a hundred steps more would bring, and for what other actions do; and
            for the error of V where paths begin.
        start: by state where paths begin: a number, or an array of one a path, of which rows belong together; a state
            without an entry begins anywhere in its box. Without any, paths begin in any period, too. The policy is
            trained where paths lead, and nowhere else.
        paths: of a step; an even number where they have antithetic twins.
        length: periods of a path where the horizon has no end.
        visited: the share of the paths that begins where those of the round before led, where the horizon has no end;
            with a start half of them by default, else as many.
        draws: `bx.draws.Sobol()` or `bx.draws.Independent()`.
        by_period: whether the last layer of each net is of each period its own, where the horizon has an end.
        critic: widths of the hidden layers of the net for V; by default those of the policy's.
        rate: of the first steps, Adam's, from which it falls to a hundredth.
        budget: steps at most of each round by Adam, on fresh paths.
        rounds: of these; by default one where the horizon has an end, else three. V is found anew between them.
        finish: steps at most of each round by L-BFGS afterwards, on one set of paths.
        finishes: of these; by default one where the horizon has an end, else three.
    Raises:
        ModelError: for discrete actions, `stop`, models without continuous actions, and probabilities that move with
            actions or continuous states.
    Source: Heess et al. (2015), "Learning continuous control policies by stochastic value gradients"; for the last
        layers Han & E (2016), "Deep learning approximation for stochastic control problems".
    """

    start: Mapping[str, Any] = field(default_factory=dict)
    paths: int = 256
    length: int = 32
    visited: float | None = None
    draws: Draws = field(default_factory=Sobol)
    by_period: bool = True
    critic: tuple[int, ...] | None = None
    tolerance: float = 1e-2
    rate: float = 1e-2
    budget: int = 600
    rounds: int | None = None
    finish: int = 200
    finishes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        what = "PolicyGradient"
        check_mapping(self.start, f"{what}: start", "{'wealth': 1.0}")
        for name in ("paths", "length", "budget"):
            check_count(getattr(self, name), f"{what}: {name}")
        for name in ("rounds", "finish", "finishes"):
            if getattr(self, name) is not None:
                check_count(getattr(self, name), f"{what}: {name}", 0)
        if self.rounds == 0 and self.finishes == 0:
            raise ModelError(f"{what}: rounds=0 and finishes=0 leave nothing of the training; give one of them.")
        if self.critic is not None:
            check_widths(self.critic, f"{what}: critic")
        check_flag(self.by_period, f"{what}: by_period")
        check_positive(self.rate, f"{what}: rate", "1e-2")
        if self.visited is not None:
            check_share(self.visited, f"{what}: visited", "the paths")
        if not isinstance(self.draws, Draws):
            raise ModelError(f"{what}: draws is {self.draws!r}; give bx.draws.Sobol() or bx.draws.Independent().")
        if self.draws.antithetic and self.paths % 2:
            raise ModelError(f"{what}: paths is {self.paths}, and paths have antithetic twins; give an even number.")
        start = {name: np.asarray(value) if np.ndim(value) else value for name, value in self.start.items()}
        object.__setattr__(self, "start", start)

    def prepare(self, model: Any) -> PreparedGradient:
        return self.kept(model, PreparedGradient)
