"""The training of `EulerNet`: least squares of its conditions, and the points at which they are asked to hold."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.bellman.chunks import in_chunks
from bellax.learning.levenberg import Fit, LevenbergMarquardt
from bellax.problem.problem import Arguments
from bellax.solvers.neural import keys
from bellax.solvers.neural.clustered import clustered
from bellax.solvers.neural.ergodic import Visited, visited
from bellax.solvers.neural.euler import Euler, Terms, moving, sizes, unit_free
from bellax.solvers.neural.floors import TINY, least_size, unless_nothing
from bellax.solvers.neural.framed import Frame
from bellax.solvers.neural.points import Points
from bellax.solvers.neural.single import of_one_term, single

STEPS = 100  # periods before a simulated state counts as visited
_FEW, _POOL = 8, 8  # one point in so many is where a bound begins to bind, of a pool so many times as large
TOGETHER = 16  # points at which the better of two rules is asked at once: it may have thousands of nodes
_MARGIN = 0.1  # see unit_free
_FAINT = 0.1  # of the mean size: what a condition counts by where its terms are nothing, in steps and when judged


class Begun(NamedTuple):
    """What stays during a training.

    Attributes:
        states, periods: points in the box, one row each.
        level, unit: of V.
        frame: in which the policy is trained.
        asymmetry: by how much members are not exchangeable, see exchanged.py.
    """

    states: dict[str, Array]
    periods: Array
    level: Array
    unit: Array
    frame: Frame
    asymmetry: Array


class Rows(NamedTuple):
    """Points of a round, what their conditions are divided by, weights before a step, by how much a better rule than
    that of the training expects more of tomorrow (see `Training.corrected`), and which combinations of conditions stand
    for them (see `Training.combined`)."""

    states: dict[str, Array]
    periods: Array
    size: Array
    key: Array
    before: Array
    more: Array
    ways: Array


class Training(LevenbergMarquardt):
    """The least squares of the conditions; made inside a compiled program.

    Args:
        prepared: a `PreparedEuler`.
        well: whether all of it is by the better of two rules, so that nothing is to be corrected.
    """

    def __init__(self, prepared: Any, arguments: Arguments, begun: Begun, well: bool = False) -> None:
        options = prepared.options
        super().__init__(self.groups, self.refresh, (options.budget,) * options.rounds + (options.finish,), True)
        self.prepared, self.arguments, self.begun = prepared, arguments, begun
        self.seen, self.euler = prepared.inputs(arguments), prepared.euler(arguments, well)
        self.better = prepared.euler(arguments, True) if prepared.corrected else self.euler
        self.single = single(prepared.plan)

    def groups(self, frozen: Rows, number: Array) -> Any:
        def one(weights: Array, row: Any) -> Array:
            states, period, size, more, ways = row
            left = self.residuals(weights, states, period, size, more, frozen.before, number)
            return left if self.prepared.options.combined is None else ways @ left

        return [(one, (frozen.states, frozen.periods, frozen.size, frozen.more, frozen.ways))]

    def step(self, fit: Fit) -> Fit:
        return super().step(fit._replace(frozen=fit.frozen._replace(before=fit.weights)))

    def residuals(
        self,
        weights: Array,
        states: dict[str, Array],
        number: Array,
        size: Array,
        more: Array,
        before: Array,
        turn: Array,
    ) -> Array:
        """What is left of the conditions at one point, shape (k,).

        Args:
            more: what a better rule expects besides, see `corrected`.
            before: weights before the step. In the first round they are what follows from tomorrow on, which leads to
                the branch on which iterations in time converge.
            turn: which round. In those before the last outputs know multipliers, too, whose slopes lead actions away
                from bounds at which they should not be.
        """
        prepared = self.prepared
        actor, critic = prepared.split(self.begun, weights)
        outputs, count = prepared.outputs(self.seen, actor), prepared.head.size
        if prepared.static:
            later = actor
            if not prepared.framed:  # which begins with paths that come back
                later = jnp.where(turn == 0, prepared.split(self.begun, before)[0], actor)
            terms = self.euler.first_order(number, states, outputs, prepared.outputs(self.seen, later))
            terms = terms._replace(later=terms.later + more)
            last, unit = turn >= len(self.budgets) - 1, jnp.where(self.single, size[:count], jnp.abs(terms.now))
            return jnp.where(last, unit_free(terms, unit, _MARGIN), unit_free(terms._replace(idle=None), unit))
        worth = prepared.worth(self.seen, critic, self.begun)
        terms, left, right = self.euler.all(number, states, outputs, worth)
        terms, right = terms._replace(later=terms.later + more[:count]), right + more[count:]
        return jnp.concatenate([unit_free(terms, size[:count]), (left - right) / size[count:]])

    def least(self, weights: Array, points: tuple[dict[str, Array], Array]) -> Array:
        """By what conditions are divided at the least: where all of their terms are nothing, they say nothing."""
        terms = jax.vmap(lambda states, number: self._terms(weights, states, number))(*points)
        found = sizes(terms)
        return _FAINT * jnp.mean(jnp.where(jnp.isfinite(found), found, 0.0), axis=0) + least_size(found, terms.width)

    def conditions(self, weights: Array, states: dict[str, Array], number: Array, least: Array) -> Array:
        """The conditions of the actions at one point, without units.

        Args:
            least: see `least`.
        """
        terms = self._terms(weights, states, number)
        size = 0.5 * sizes(terms) + least
        if self.prepared.static and not self.single.any():
            return unit_free(terms, None)
        size = size + of_one_term(terms, self._bends(weights, states, number))
        return unit_free(terms, jnp.where(self.single, size, jnp.abs(terms.now)) if self.prepared.static else size)

    def _bends(self, weights: Array, states: dict[str, Array], number: Array) -> Float[Array, "m m"]:
        prepared = self.prepared
        actor, critic = prepared.split(self.begun, weights)
        worth = None if prepared.static else prepared.worth(self.seen, critic, self.begun)
        return self.euler.bends(number, states, prepared.outputs(self.seen, actor), worth)

    def _terms(self, weights: Array, states: dict[str, Array], number: Array) -> Terms:
        prepared = self.prepared
        actor, critic = prepared.split(self.begun, weights)
        outputs = prepared.outputs(self.seen, actor)
        if prepared.static:
            return self.better.first_order(number, states, outputs)
        return self.better.all(number, states, outputs, prepared.worth(self.seen, critic, self.begun))[0]

    def sides(self, weights: Array, states: dict[str, Array], number: Array) -> tuple[Array, Array]:
        """V and its slopes at one point, shape (1 + n,), and what they should be, where V is trained, too."""
        prepared = self.prepared
        actor, critic = prepared.split(self.begun, weights)
        worth = prepared.worth(self.seen, critic, self.begun)
        return self.better.all(number, states, prepared.outputs(self.seen, actor), worth)[1:]

    def sized(self, weights: Array, rows: Rows) -> Rows:
        """Points with what their conditions are divided by, at these weights."""
        prepared = self.prepared
        if prepared.static:
            return self._sized_alone(weights, rows) if self.single.any() else rows
        actor, critic = prepared.split(self.begun, weights)
        outputs, worth = prepared.outputs(self.seen, actor), prepared.worth(self.seen, critic, self.begun)

        def one(states: dict[str, Array], number: Array) -> tuple[Array, ...]:
            terms, left, right = self.euler.all(number, states, outputs, worth)
            slopes = jnp.abs(left[1:]) + jnp.abs(right[1:])
            size = 0.5 * sizes(terms) + of_one_term(terms, self.euler.bends(number, states, outputs, worth))
            found = jnp.concatenate([size, self.begun.unit[None], slopes])
            return found, terms.width, moving(prepared.plan, states)

        found, width, own = jax.vmap(one)(rows.states, rows.periods)
        found = jnp.where(jnp.isfinite(found), found, 1.0)
        least = least_size(found[:, : width.shape[1]], width)
        flat = TINY * self.begun.unit / unless_nothing(jnp.mean(jnp.abs(own), axis=0))
        found = found + _FAINT * jnp.mean(found, axis=0, keepdims=True)
        return rows._replace(size=lax.stop_gradient(found + jnp.concatenate([least, jnp.zeros(1), flat])[None]))

    def _sized_alone(self, weights: Array, rows: Rows) -> Rows:
        """The same of conditions of one term, where no other needs it."""

        def one(states: dict[str, Array], number: Array) -> tuple[Array, Terms]:
            terms = self._terms(weights, states, number)
            return 0.5 * sizes(terms) + of_one_term(terms, self._bends(weights, states, number)), terms

        found, terms = jax.vmap(one)(rows.states, rows.periods)
        found = jnp.where(jnp.isfinite(found), found, 1.0)
        found = found + _FAINT * jnp.mean(found, axis=0, keepdims=True) + least_size(found, terms.width)[None]
        return rows._replace(size=lax.stop_gradient(rows.size.at[:, : found.shape[1]].set(found)))

    def refresh(self, weights: Array, frozen: Rows) -> Rows:
        """Points of the next round: some of them where paths lead."""
        prepared, (part, wider) = self.prepared, self.prepared.options.drawn
        key = jax.random.fold_in(jax.random.wrap_key_data(frozen.key), 1)
        rows = self.combined(frozen._replace(key=jax.random.key_data(key)))
        share = int(part * prepared.count)
        if share and not prepared.problem.finite:
            start = jax.tree.map(lambda leaf: leaf[:share], (self.begun.states, self.begun.periods))
            states, periods = self.visited(weights, start, key, wider).points
            joined = lambda new, old: jnp.concatenate([new, old[share:]])  # noqa: E731
            rows = rows._replace(
                states=jax.tree.map(joined, states, self.begun.states), periods=joined(periods, self.begun.periods)
            )
        return self.corrected(
            weights, self.sized(weights, self._clustered(weights, rows) if prepared.head.binds else rows)
        )

    def combined(self, rows: Rows) -> Rows:
        """With other combinations of the conditions of each point: sums of all with signs drawn at random, the squares
        of which are expected to be those of the conditions. Few of them at many points tell more of a function of many
        states than all of them at few: each condition averages over nodes where no other point has anything to say.
        """
        count = self.prepared.options.combined
        if count is None:
            return rows
        signs = jax.random.rademacher(keys.key_for(rows.key, keys.SIGNS), rows.ways.shape, rows.ways.dtype)
        return rows._replace(ways=signs / jnp.sqrt(float(count)))

    def corrected(self, weights: Array, rows: Rows) -> Rows:
        """Points with what a better rule expects of tomorrow at these weights beside that of the training: hardly
        moved by a training that is nearly over, so that it ends where conditions hold by the better rule, at the cost
        of the other one."""
        prepared = self.prepared
        if not prepared.corrected:
            return rows
        actor, critic = prepared.split(self.begun, weights)
        outputs = prepared.outputs(self.seen, actor)

        def expected(euler: Euler, states: dict[str, Array], number: Array) -> Array:
            if prepared.static:
                return euler.first_order(number, states, outputs).later
            terms, _, right = euler.all(number, states, outputs, prepared.worth(self.seen, critic, self.begun))
            return jnp.concatenate([terms.later, right])

        one = lambda row: expected(self.better, *row) - expected(self.euler, *row)  # noqa: E731
        found = in_chunks(one, (rows.states, rows.periods), TOGETHER)
        return rows._replace(more=lax.stop_gradient(jnp.where(jnp.isfinite(found), found, 0.0)))

    def _clustered(self, weights: Array, rows: Rows) -> Rows:
        """With the last of the points where bounds begin to bind."""
        prepared = self.prepared
        outputs = prepared.outputs(self.seen, prepared.split(self.begun, weights)[0])
        pool = Points(*prepared.points(self.seen, prepared.options.seed + 1, _POOL * prepared.count))
        acted = lambda states, number: self.euler.acted(number, states, outputs(number, states))  # noqa: E731
        points = clustered(acted, pool, prepared.count // _FEW, Points(rows.states, rows.periods))
        return rows._replace(states=points.states, periods=points.periods)

    def visited(self, weights: Array, start: tuple[dict[str, Array], Array], key: Array, wider: float) -> Visited:
        """Where paths lead from some points."""
        prepared = self.prepared
        outputs = prepared.outputs(self.seen, prepared.split(self.begun, weights)[0])
        rule = lambda number, states: self.euler.acted(number, states, outputs(number, states)).actions  # noqa: E731
        return visited(prepared.problem, self.arguments, self.seen, rule, start[0], key, STEPS, wider)
