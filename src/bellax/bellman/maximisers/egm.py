"""Endogenous grids: the first-order condition is solved for consumption at given savings, without a search.

    u'(c) = W'(a),   m = a + c,   V(m) = u(c) + W(a),   W(a) = E[ b V(s'(a)) ],

W and two derivatives of it by autodiff. `EGM` asks that m rises with a, as it does where the problem is concave;
`DCEGM` takes the upper envelope of what it gives otherwise.

Sources: Carroll (2006); Iskhakov, Jorgensen, Rust & Schjerning (2017).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.continuation import Value
from bellax.bellman.endogenous import Endogenous, Structure, Utility, structure
from bellax.bellman.endogenous_step import AT_ONCE, EndogenousStep
from bellax.bellman.faults import Fault
from bellax.bellman.maximisers.maximum import Best, Maximiser, Optimum, best_combination
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Objective
from bellax.bellman.pointwise import located
from bellax.errors import ModelError, check_count, check_mapping, named_options
from bellax.numerics import grids
from bellax.numerics.envelope import envelope, folds, one_run, room
from bellax.numerics.pieces import WIDTH, Nodes, Pieces, Segments, value
from bellax.problem.period import Combination, Period, combinations
from bellax.problem.plan import Plan

_NODES = 200
_CLUSTER = 6.0  # log of how much denser nodes are at the borrowing limit than at the end
_NEAR = np.geomspace(1e-6, 0.1, 6)  # of the first cell, for who saves next to nothing, though it would pay much
_FEW = 8  # outcomes of the shocks up to which kinks of tomorrow's V are looked for one by one
_KINKS = 128
_LINES = 64  # kinks upwards that lie between nodes of a grid, at most


@dataclass(frozen=True)
class _Endogenous(Maximiser):
    """What endogenous grids have in common; see `EGM`."""

    action: str | None = None
    resources: str | None = None
    post_decision: str | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)
    kinks: int | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_mapping(self.grid, f"{name}: grid", "{'savings': 200}")
        if self.kinks is not None and (not isinstance(self.kinks, int) or self.kinks < 0):
            raise ModelError(f"{name}: kinks is {self.kinks!r}; give how many at most, or zero.")

    @property
    def smooth(self) -> bool:
        return True

    @property
    def makes_pieces(self) -> bool:
        return True

    @property
    def lines(self) -> int:
        """How many kinks upwards are known to lie between nodes."""
        return 0

    @property
    def absolute(self) -> frozenset[str]:
        return frozenset() if self.action is None else frozenset({self.action})

    def check(self, plan: Plan) -> None:
        self.check_grid(self.structure(plan))

    def check_grid(self, found: Structure) -> None:
        """Raises ModelError for a grid of what is none, or too few nodes."""
        self._spec(found)

    def completed(self, plan: Plan) -> Maximiser:
        found = self.structure(plan)
        return replace(self, action=found.action, post_decision=found.savings)

    def resized(self, plan: Plan, ratio: float) -> Maximiser:
        return self.with_nodes(self.structure(plan), ratio)

    def with_nodes(self, found: Structure, ratio: float) -> Any:
        """The same with `ratio` times as many intervals of savings."""
        return replace(self, grid={found.savings: grids.resized(self._spec(found), ratio, 4)})

    def structure(self, plan: Plan) -> Structure:
        """What the method needs of a model.

        Raises:
            ModelError: if it has not got it.
        """
        names = (self.action, self.resources, self.post_decision)
        return plan.once(("structure", names), lambda: structure(plan, type(self).__name__, *names))

    def sizes(self, plan: Plan) -> dict[str, int]:
        return self.sizes_of(self.structure(plan))

    def sizes_of(self, found: Structure) -> dict[str, int]:
        """Nodes of savings of a structure."""
        spec = self._spec(found)
        return {found.savings: len(spec.nodes) if isinstance(spec, grids.Given) else int(spec)}

    def tried(self, plan: Plan) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.sizes(plan).items())

    def cells(self, plan: Plan) -> int:
        return 1

    def evaluations(self, plan: Plan) -> int:
        return 3

    def given(self, objective: Objective, point: Point) -> Optimum | None:
        known = objective.solved
        if not isinstance(known, Endogenous):
            return None
        found = known.answers(point.values, located(point))
        action = jax.vmap(lambda k, c: self._within(objective, point, k, c))(_codes(objective.plan), found.action)
        best = best_combination(Best(found.value, action[:, None], jnp.ones_like(action)))
        return best._replace(feasible=jnp.any(found.allowed))

    def _within(self, objective: Objective, point: Point, combination: Array, action: Array) -> Array:
        """The action between its bounds, which only rounding has left."""
        choices = objective.period.choices(combination)
        lower, upper = objective.period.bounds(self._action, point.values, choices)
        upper = jnp.maximum(lower, upper)
        slack = 64 * float(jnp.finfo(action.dtype).eps) * jnp.maximum(1.0, jnp.abs(upper))
        return jnp.where(action >= upper - slack, upper, jnp.maximum(action, lower))

    @property
    def _action(self) -> str:
        assert self.action is not None
        return self.action

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        found = self.given(objective, point)
        if found is None:
            raise ModelError(
                f"{type(self).__name__} makes a grid of its own, and finds no optimum at one state: ask its solution."
            )
        place = objective.period.place(combination)
        return Best(found.choice_values[place], found.shares[place], jnp.ones(()))

    def function(self, period: Period, value: Value) -> Endogenous:
        assert value.pieces is not None
        return Endogenous(period, value.pieces, self.structure(period.plan))

    def ended(self, plan: Plan, mesh: Mesh) -> Pieces:
        found = self.structure(plan)
        axes = tuple(mesh.discrete_axes[name] for name in found.axes)
        lead = (*axes, len(combinations(plan)))
        count = self.count(found, mesh)
        rows = (*lead, count + 1 + self.lines, WIDTH)
        numbers = jnp.broadcast_to(jnp.asarray([0.0, 1, 1, 0, 0, 1, 0, 0, 1, 0]), rows)
        left = jnp.zeros((*lead, room(count + 1, self.lines)))
        return Pieces(left, left, left, numbers, jnp.zeros(lead), jnp.ones(()), jnp.zeros(()))

    def fault(self, plan: Plan, code: int, when: str) -> str:
        return self.worded(self.structure(plan), code, when, type(self).__name__)

    def worded(self, found: Structure, code: int, when: str, name: str) -> str:
        """A fault in words.

        Args:
            name: of the method.
        """
        serves = "bx.maximise.Newton() or Enumerate() serve."
        own, savings, state = repr(found.action), repr(found.savings), repr(found.state)
        words = {
            Fault.nonfinite: f"what follows from some {savings} is no number{when}, or has no derivative: a law of "
            "motion, a probability, a discount, or V of tomorrow gives NaN there.",
            Fault.floor: f"the lower bound of {own} binds{when}, where an endogenous grid knows no optimum. Lower it, "
            f"if it only keeps consumption positive; else {serves}",
            Fault.folded: f"the problem is not concave{when}: resources fall somewhere while {savings} rise. Use "
            "bx.maximise.DCEGM(), which takes the upper envelope.",
            Fault.jump: f"what follows jumps somewhere while {savings} rise{when}: a law of motion, a probability, a "
            "discount, or V of tomorrow, as where a choice or a benefit begins. Agents bunch there, where the "
            f"first-order condition says nothing. {serves}",
            Fault.falling: f"{state} of tomorrow falls somewhere while {savings} rise{when}: there the first-order "
            f"condition says nothing. {serves}",
            Fault.limit: f"the bounds of {own} move with {state}, or with what is drawn afresh, otherwise than "
            f"resources do{when}: savings are to have the same limit at every {state}. {serves}",
            Fault.utility: f"the reward is not strictly concave in {own} everywhere{when}, so that the first-order "
            f"condition has several solutions or none. {serves}",
            Fault.savings: f"{savings} is not what is left of resources after {own}{when}: it is to fall one for one "
            f"with {own}, from what resources= says if it says something. {serves}",
        }
        return f"{found.plan.graph.where}{name}: {words[Fault(code)]}"

    # -- the grid -------------------------------------------------------------------------------------------------

    def _spec(self, found: Structure) -> int | grids.Given:
        """How many nodes of savings there are, or which.

        Raises:
            ModelError: for a grid of what is none, or too few.
        """
        name = type(self).__name__
        for key in self.grid:
            if key != found.savings:
                raise ModelError(
                    f"{name}: grid names {key!r}; it takes the savings, grid={{{found.savings!r}: 200}}, and the grid= "
                    "of the solver those of processes."
                )
        spec = self.grid.get(found.savings, _NODES)
        if isinstance(spec, grids.Given):
            return spec
        check_count(spec, f"{name}: grid of {found.savings!r}")
        if spec < 4:
            raise ModelError(f"{name}: the grid of {found.savings!r} has {spec} nodes; give at least 4.")
        return int(spec)

    def common(self, found: Structure, low: Array, high: Array) -> Float[Array, "n"]:
        spec = self._spec(found)
        if isinstance(spec, grids.Given):
            return jnp.asarray(spec.nodes)
        shares = np.expm1(_CLUSTER * np.linspace(0, 1, spec)) / math.expm1(_CLUSTER)
        return low + (high - low) * jnp.asarray(np.concatenate([shares[:1], _NEAR * shares[1], shares[1:]]))

    def frugal(self, found: Structure) -> int:
        return 0 if isinstance(self._spec(found), grids.Given) else len(_NEAR)

    def count(self, found: Structure, mesh: Mesh) -> int:
        """Nodes of savings, those at the limit and at kinks included."""
        spec = self._spec(found)
        own = len(spec.nodes) if isinstance(spec, grids.Given) else spec + len(_NEAR)
        return own + 1 + 4 * self.most_kinks(found, mesh)

    def most_kinks(self, found: Structure, mesh: Mesh) -> int:
        if self.kinks is not None:
            return -(-self.kinks // AT_ONCE) * AT_ONCE
        if self.follows(mesh) and mesh.plan.taste_shocks is None:
            return _KINKS
        # taste shocks smooth those of V that choices make
        return 2 * AT_ONCE if found.kinked or self.follows(mesh) else 0

    def follows(self, mesh: Mesh) -> bool:
        plan = mesh.plan
        outcomes = math.prod(mesh.discrete_axes[n] for n in (*plan.scanned, *plan.integrated, *plan.dotted))
        return outcomes <= _FEW and not plan.shocks

    # -- the step -------------------------------------------------------------------------------------------------

    def pieces(self, objective: Objective, mesh: Mesh, memory: int) -> Pieces:
        return EndogenousStep(self, objective, mesh, self.structure(objective.plan), memory).pieces()

    def joined(self, nodes: Nodes, found: Segments, rows: Array, utility: Callable[[Array], Utility]) -> Pieces:
        """One function from the segments; the largest where there are several. Everything along a first axis.

        Args:
            rows: their numbers.
            utility: of a row.
        """
        raise NotImplementedError

    def wrong(self, nodes: Nodes, found: Segments) -> Bool[Array, ""]:
        """Whether segments are more than the method takes."""
        raise NotImplementedError


@named_options
@dataclass(frozen=True)
class EGM(_Endogenous):
    """The endogenous grid method, of a concave problem with one continuous action, state and savings.

    Args:
        action: the continuous action; by default the only one.
        resources: the state or function that savings and the action are taken from, which is checked; by default it
            is read off `post_decision`.
        post_decision: the function of the model, resources less the action, through which alone tomorrow sees today's
            continuous state and the action; by default the one that is so.
        grid: of savings, a number of nodes, 200 by default, denser at the borrowing limit and a few more beside it; or
            `bx.grids.Given`.
        kinks: how many kinks of tomorrow's V, such as where the borrowing limit begins to bind, become nodes of savings
            from both sides; by default 128 at most where no more than eight outcomes follow a decision and there is no
            shock. Otherwise those of the model's own laws are, up to 32.
    Raises:
        ModelError: if the model has not that structure, says which condition fails, and which method serves.
    Assumes: u strictly concave in the action, and tomorrow's resources not falling in savings; where resources do not
        rise along the grid, the problem is not concave, and the solve fails and names `DCEGM`.
    Source: Carroll (2006).
    """

    def check(self, plan: Plan) -> None:
        super().check(plan)
        if plan.choices:
            raise ModelError(
                f"EGM takes a concave problem, and the discrete action {next(iter(plan.choices))!r} makes V the "
                "largest of several functions. Use bx.maximise.DCEGM()."
            )

    def joined(self, nodes: Nodes, found: Segments, rows: Array, utility: Callable[[Array], Utility]) -> Pieces:
        return jax.vmap(one_run)(nodes, found)

    def wrong(self, nodes: Nodes, found: Segments) -> Bool[Array, ""]:
        return jnp.any(jax.vmap(folds)(nodes))


@named_options
@dataclass(frozen=True)
class DCEGM(_Endogenous):
    """The endogenous grid method with discrete choices, or anything else that makes tomorrow's V not concave.

    For each combination of the discrete actions the upper envelope is taken of what the first-order condition gives;
    V is the largest of them where it is asked, so that kinks lie where they are and not at nodes. Where few outcomes of
    shocks follow, both sides of every kink of tomorrow's V are nodes of savings.

    Args:
        action, resources, post_decision, grid, kinks: as of `EGM`.
    Raises:
        ModelError: as of `EGM`.
    Assumes: u strictly concave in the action, and tomorrow's resources not falling in savings.
    Source: Iskhakov, Jorgensen, Rust & Schjerning (2017).
    """

    @property
    def lines(self) -> int:
        return _LINES

    def joined(self, nodes: Nodes, found: Segments, rows: Array, utility: Callable[[Array], Utility]) -> Pieces:
        def largest(nodes: Nodes, found: Segments, row: Array) -> Pieces:
            one = lambda k, x: value(found.numbers[found.place[k]], x, utility(row))  # noqa: E731
            return envelope(nodes, found, jax.vmap(one))

        return lax.cond(
            jnp.any(jax.vmap(lambda one: folds(one) | jnp.any(one.kinks))(nodes)),
            lambda: jax.vmap(largest)(nodes, found, rows),
            lambda: jax.vmap(one_run)(nodes, found),
        )

    def wrong(self, nodes: Nodes, found: Segments) -> Bool[Array, ""]:
        return jnp.zeros((), bool)


def _codes(plan: Plan) -> Int[Array, "k"]:
    return jnp.arange(len(combinations(plan)), dtype=jnp.int32)
