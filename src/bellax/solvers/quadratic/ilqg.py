"""`ILQG`: a path and what to do near it, by second derivatives of the model; exact where it is linear-quadratic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from bellax.bellman.options import key
from bellax.errors import ModelError, check_count, check_mapping, check_positive, listed, named_options
from bellax.model.diffusion import DiffusionModel
from bellax.model.spaces import Discrete, MarkovChain
from bellax.problem.plan import Plan
from bellax.solvers.common import check_solvable
from bellax.solvers.quadratic import starts
from bellax.solvers.quadratic.prepared import PreparedTrajectory
from bellax.solvers.solver import Solver


@named_options
@dataclass(frozen=True, kw_only=True)
class ILQG(Solver):
    """Trajectory optimisation with feedback, for smooth models with any number of states and continuous actions.

    With a finite horizon the best path from `start`, along which everything random has its mean, is found by Newton
    steps; without end the steady state of such paths. Near it the policy is linear in the state, cut off at the bounds
    of actions, and V is quadratic: both follow from Q to second order, averaged over all that may happen. Of a
    linear-quadratic model without bounds that bind this is the solution, at every state.

    Of another model it is near the path what second-order expansions say, and V no bound: `stats["value_gap"]` says
    by how much V at the start exceeds what the policy earns on simulated paths (with the standard error
    `value_gap_error`), zero where the model is linear-quadratic. Far from the path, and where bounds bind that do not
    on it, nothing is known of policy and value. A maximum is a local one: other actions are tried in one period at a
    time, and what needs changes in several at once is not seen. At a kink no path is found, or one beside it: where
    simulated paths come by one, a `bx.KinkWarning` says so, as do the printed solution and its certificate
    (`stats["kinks"]`). A model that jumps between its bounds (a comparison, a rounding) ends as `not_concave`, since
    nothing that follows derivatives weighs what lies beyond a jump; `stats["jump"]` is its relative size.

    Without end `stats["radius"]` is sqrt(discount) times the largest eigenvalue of the closed loop, in size: V is
    finite where it is below one. A certificate has the largest eigenvalue itself: paths settle where that is below one.

    Args:
        start: by state, where the path begins; without end, where the search for a steady state does. By default the
            middle of the bounds of the states (zero without bounds), and the means of processes.
        guess: by action, what to begin with; by default the middle between its bounds.
        quadrature: by shock or process, a number of nodes or one of `bx.quadrature`.
        degree: of the monomial rule for all normal numbers together, 3 or 5; 0 for the product of their rules; by
            default the product where it is short.
        max_steps: backward passes of a search.
        tolerance: the largest step that is none, relative to one and the action; in 32 bits at least what these tell
            from rounding.
    Assumes: actions are numbers, laws and rewards are twice differentiable, and Q is strictly concave where the path
        ends up; a solve in which it is not raises.
    Source: Todorov & Li (2005), "A generalized iterative LQG method for locally-optimal feedback control of constrained
        nonlinear stochastic systems". Departs from it in: second derivatives of laws are kept, and steps are shortened.
    """

    start: Mapping[str, Any] | None = None
    guess: Mapping[str, Any] | None = None
    quadrature: Mapping[str, Any] = field(default_factory=dict)
    degree: int | None = None
    max_steps: int = 500
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", starts.read(self.start, "ILQG: start", "{'wealth': 10.0}"))
        object.__setattr__(self, "guess", starts.read(self.guess, "ILQG: guess", "{'consumption': 1.0}"))
        check_mapping(self.quadrature, "ILQG: quadrature", "{'shock': 7}")
        check_count(self.max_steps, "ILQG: max_steps")
        check_positive(self.tolerance, "ILQG: tolerance", "1e-9")
        if self.degree not in (None, 0, 3, 5):
            raise ModelError(f"ILQG: degree is {self.degree!r}; give 3 or 5, or 0 for the product of the rules.")

    def prepare(self, model: Any) -> PreparedTrajectory:
        name = ("prepared", key(self))
        if isinstance(model, DiffusionModel):
            raise ModelError("ILQG solves a bx.Model; for a bx.DiffusionModel there is bx.solvers.FiniteDifference().")
        check_solvable(model)
        if name not in model.programs:
            check_served(model)
            model.programs[name] = PreparedTrajectory(model, self)
        return model.programs[name]


def check_served(model: Any) -> None:
    """Raises ModelError for models that are not of this solver's kind."""
    if model.regimes is not None:
        raise ModelError(
            f"ILQG solves models of one regime, and this one has {listed(model.graphs)}. Use "
            "bx.solvers.BackwardInduction, or bx.solvers.ValueIteration where there is no end."
        )
    plan = Plan(model.graph)
    grids = "bx.solvers.BackwardInduction or bx.solvers.PolicyIteration, with bx.maximise.Enumerate(),"
    first = lambda names: next(iter(names), "")  # noqa: E731
    whole = [name for name in plan.states if not _is_real(plan, name)]
    wrong = [
        (plan.choices, f"the action {first(plan.choices)!r} is discrete; {grids} takes it."),
        (whole, f"the state {first(whole)!r} is discrete, and V has no derivative in it; {grids} takes it."),
        (plan.evaluate_stop is not None, f"it has `stop`; {grids} takes it."),
        (
            plan.constraints,
            f"it has the constraint {first(model.graph.regime.constraints)!r}; state bounds of actions instead, or use "
            "bx.maximise.Newton() on a grid.",
        ),
        (not plan.controls, "nothing is decided in it."),
        (not plan.states, "it has no state."),
    ]
    for is_wrong, words in wrong:
        if is_wrong:
            raise ModelError(f"ILQG does not solve this model: {words}")


def _is_real(plan: Plan, name: str) -> bool:
    discrete = isinstance(plan.states[name], Discrete | MarkovChain)
    return not discrete and jnp.issubdtype(plan.graph.seen[name].dtype, jnp.floating)
