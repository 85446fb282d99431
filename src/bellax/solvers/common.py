"""What a solver is, and the bookkeeping that all of them share."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.follow import Source
from bellax.bellman.options import GridSolver, key
from bellax.bellman.sweep import Step, columns
from bellax.errors import ModelError, listed
from bellax.model.conditions import Conditions
from bellax.model.diffusion import DiffusionModel
from bellax.model.model import Model
from bellax.model.rule import Rule
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem
from bellax.solution.solution import Result, unless_failed
from bellax.solvers.driver import Iteration
from bellax.solvers.prepared import Prepared
from bellax.solvers.solver import Solver


class BellmanSolver(GridSolver, Solver):
    """A solver on a grid: frozen configuration, from which every run is made."""

    elsewhere: ClassVar[str] = ""  # what else may find a fixed point, for a message

    def prepare(self, model: Any) -> Any:
        """A model under this solver, made once for equal configurations and kept on the model.

        Raises:
            ModelError: if this solver does not solve such a model.
        """
        check_solvable(model)
        if model.regimes is not None:
            return self.prepare_regimes(model)
        name = ("prepared", key(self))
        if name not in model.programs:
            model.programs[name] = self.following(model)
        return model.programs[name]

    def following(self, model: Model, source: Source | None = None, statement: Rule | None = None) -> Prepared:
        """As `prepare`, where the actions are given; not kept.

        Args:
            source: of the actions; None takes the best ones.
            statement: what has the parameters, if not the model alone.
        """
        prepared = Prepared(model, self, source, statement)
        self.check(prepared.problem)
        return prepared

    def prepare_regimes(self, model: Model, rule: Rule | None = None) -> Any:
        """As `prepare`, of a model with several regimes; not kept where a rule is followed."""
        raise ModelError(
            f"{type(self).__name__} solves models of one regime, and this one has {listed(model.graphs)}. Use "
            "bx.solvers.BackwardInduction, or bx.solvers.ValueIteration where there is no end."
        )

    @property
    def begins(self) -> bool:
        """Whether a stationary solve may begin with V of another one: where steps of a contraction end as soon as V
        changes little, what is wrong with that V would remain."""
        return False

    @abc.abstractmethod
    def check(self, problem: Problem) -> None:
        """Raises ModelError where the model is not of the solver's kind."""

    @abc.abstractmethod
    def iteration(
        self, numerics: Discretisation, arguments: Arguments, final: Value | None, sane: Array
    ) -> Iteration[Any]:
        """One run, inside a compiled program.

        Args:
            final: V after the last decision where it is given and not the model's own; of a stationary model V to
                begin with, where it is given.
            sane: whether the arguments make a model; nothing is worth a step where they do not.
        """

    def unconverged(self, follows: bool, stats: Mapping[str, Any], left: str) -> str:
        """What is said where steps ran out.

        Args:
            follows: whether a rule is followed.
            left: a sentence on next states that leave the grid, or nothing.
        """
        options: Any = self
        found, most, residual = int(stats["steps"]), options.max_steps, float(stats["residual"])
        left = f"{left} Wider bounds, or a scale in which V is nearly a straight line, may help." if left else ""
        ended = f"steps (max_steps={most}): the last change "
        if follows:
            return (
                f"the value of the rule is not found after {found} {ended}was {residual:.3g}, and "
                f"tolerance={options.tolerance:g}.{left} Likely causes: following the rule leads away faster than "
                "rewards are discounted, so that it has no value; a discount near one; an interpolant that does not "
                "contract (try bx.interpolants.Linear()). `throw=False` gives what there is."
            )
        return (
            f"not converged after {found} {ended}of V was {residual:.3g}, and tolerance={options.tolerance:g}.{left} "
            f"Likely causes: a tolerance below rounding, a discount near one (raise max_steps={self.elsewhere}), an "
            "interpolant that does not contract (try bx.interpolants.Linear()), or a maximiser that jumps between "
            "local maxima (more candidates in its grid=). `throw=False` returns what there is, with its `result`."
        )


def check_solvable(model: Any) -> None:
    """Raises ModelError for what the solvers on grids do not solve."""
    if isinstance(model, DiffusionModel):
        raise ModelError(
            "this is of discrete time, and the model is a bx.DiffusionModel: solve it by bx.solvers.FiniteDifference()."
        )
    if isinstance(model, Conditions):
        raise ModelError("bx.Conditions can be stated and printed; this version of bellax does not solve them.")
    if not isinstance(model, Model):
        raise ModelError(f"solve takes a bx.Model, not {model!r}.")
    for graph in model.graphs.values():
        regime = graph.regime
        if regime.preferences is not None:
            raise ModelError(
                f"{graph.where}the model has preferences {regime.preferences!r}, which can be stated; the solvers of "
                "this version take expected utility."
            )
        if regime.taste_shocks is not None and regime.stop is not None:
            raise ModelError(
                f"{graph.where}the model has taste shocks and `stop`, and does not say whether stopping has one. State "
                "stopping as a category of a discrete action that the shocks are over, and what follows as a regime or "
                "a category of a state."
            )
    if not model.clock.finite:
        for node, slot in ((n, s) for graph in model.graphs.values() for n, s in graph.slots.items()):
            named = {"period", "age"} & set(slot.quantity.names)
            if named:
                raise ModelError(f"{slot.quantity.label} names {named.pop()!r}, and the horizon is infinite ({node}).")


def tallied(step: Step) -> Array:
    """The tally of one Bellman step over all nodes, in the order of `columns`."""
    return jnp.sum(step.tally.reshape(-1, step.tally.shape[-1]), axis=0)


def untallied(plan: Plan) -> Array:
    """The tally before the first step."""
    return jnp.zeros(len(columns(plan)))


def latest(total: Array, tally: Array) -> Array:
    """Evaluations so far; of nodes only those of the latest step, since those before were the same nodes."""
    return tally.at[0].add(total[0])


def faulty(tally: Array) -> Array:
    """Whether a node is infeasible or no number, so that going on makes no sense."""
    return (tally[1] > 0) | (tally[2] > 0)


def stats(tally: Array, plan: Plan) -> dict[str, Array]:
    """The tally by name."""
    return dict(zip(columns(plan), tally, strict=True))


def outcome(tally: Array, converged: Array, diverges: Array | bool = False) -> Array:
    """The code of the `Result`: not a number, then infeasible, then not converged, then successful."""
    code = jnp.where(converged, int(Result.successful), int(Result.max_steps_reached))
    code = jnp.where(tally[1] > 0, int(Result.infeasible), code)
    return jnp.where((tally[2] > 0) | diverges, int(Result.nonfinite), code).astype(jnp.int32)


def blanked(value: Any, code: Array) -> Any:
    """V, or NaN everywhere after a failure: under a transformation nothing raises, and nothing wrong is returned."""
    return jax.tree.map(lambda leaf: leaf * unless_failed(code), value)
