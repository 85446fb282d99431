"""A policy for very many states: the search for the maximum starts from a table, and mostly is over after one step.

A table of optimal shares u is interpolated by cubics between the nodes. A step of Newton's method from there leaves an
error of the step times how much Q'' changes on the way, relative to itself. Where u and Q'' are nearly the same at all
nodes around, so that no kink of V lies between them, and the step is next to nothing, so is that error, and one look at
V is enough. Elsewhere two or three steps are made, by which time the last of them is nothing. Where it still moves, or
where u jumps between nodes, so that between them there may be another maximum, nothing is certain, and the search is
made in full.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.bellman.chunks import nodes_of, over_batch
from bellax.bellman.continuation import Value, interpolated
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import Optimum, cells
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision
from bellax.bellman.reach import beyond, numbers, reach
from bellax.bellman.setting import Setting
from bellax.model.spaces import Discrete, MarkovChain
from bellax.numerics.hermite import Hermite
from bellax.numerics.interpolate import along, secant_slopes
from bellax.problem.problem import Arguments
from bellax.solution.policy import Chosen, Policy, Way
from bellax.solution.query import Remaximising, answered
from bellax.solution.record import axis_states
from bellax.solution.tabulated import Interpolating, look_up

_JUMP = 0.05  # of the way between the bounds of an action
_MOST = 0.95  # of the nodes, by whose error the number of steps is chosen
_STEPS = {1e-6: 2, 1e-3: 3}  # by the error of the table between nodes, which each step squares
_LEAST = 0.01  # the change of Q'' that is counted at least, as there may be one between the nodes
_EXACT = 1e-10  # to which u is the same as by a full search, relative to itself
_ENDLESS = 1e9  # stands for the change of Q'' where u jumps


class Seeded(Policy):
    """A policy that takes the maximum where it is asked, with a table of where that is at the nodes.

    Attributes:
        sought: the policy.
        u: shares by node, shape ([t], mesh).
        change: by how much Q'' at the optimum differs from that of the neighbours, relative to itself, and `_ENDLESS`
            where u is not close to theirs; shape ([t], mesh, 1).
        steps: of Newton's method, where one is not enough.
    """

    arguments: Arguments
    sought: Remaximising
    u: Array
    change: Array
    steps: int = eqx.field(static=True)
    numerics: Discretisation = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        """Whether the maximum lies between candidates."""
        return self.sought.smooth

    @property
    def last(self) -> Value | None:
        """V after the last decision."""
        return self.sought.last

    def at(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """A pointwise function from the states of a period to what is chosen there, by a full search."""
        return self.sought.at(period)

    def near(self, period: Any) -> Sequence[Way]:
        """As `at`, by one step from the table, and by some steps."""
        numerics = self.numerics
        one = lambda moved, change: moved * jnp.maximum(change, _LEAST) <= _EXACT  # noqa: E731
        some = lambda moved, change: (moved <= 0.1 * _EXACT) & (change < 1e-9 * _ENDLESS)  # noqa: E731
        return self._way(numerics.inside, period, 1, one), self._way(numerics, period, self.steps, some)

    def _way(self, numerics: Discretisation, period: Any, steps: int, certain: Callable[[Array, Array], Array]) -> Way:
        """The answer after some steps, where these and the change of Q'' make it certain."""
        objective, today = numerics.solved_period(self.arguments, self.sought.values, period)
        u, change = (leaf[period] if numerics.problem.finite else leaf for leaf in (self.u, self.change))
        seed, ends, only = _cubics(u, today), reach(today), jnp.zeros((), jnp.int32)

        def ask(states: Mapping[str, Array]) -> tuple[Chosen, Array]:
            between = today.locate(states, remember=True)
            share = jnp.clip(seed(between), 0.0, 1.0)
            changes = look_up(today, change, between)[0]
            point = today.locate(states)
            best, moved, _ = numerics.maximiser.near(objective, point, only, share[None], steps)
            near = jnp.abs(best.u[0] - share) <= _JUMP
            inside = ~jnp.any(beyond(ends, numbers(numerics.plan, states)))
            decision = Decision(only, best.u)
            optimum = Optimum(
                best.value, decision, best.value[None], best.u[None], best.value != -jnp.inf, best.evaluations
            )
            return answered(numerics, objective, today, point, optimum), certain(moved, changes) & near & inside

        return ask


def _cubics(u: Array, mesh: Mesh) -> Callable[[Point], Array]:
    """The cubics through numbers at the nodes, whose slopes there are those of the parabolas through neighbours."""
    lines, axes = mesh.lines, range(-len(mesh.lines), 0)
    slopes = tuple(
        along(k, secant_slopes, u, coordinates=line.coordinates) for k, line in zip(axes, lines, strict=True)
    )
    return partial(interpolated, Value(u, slopes), mesh, Hermite().inside(len(lines)))


def seeded(setting: Setting, sought: Remaximising, table: Interpolating) -> Policy:
    """A policy with the table of it, or as it was where the table is too coarse to start from."""
    problem, u = setting.problem, table.u[..., 0, 0]
    lead = 1 if problem.finite else 0
    close, error = jnp.ones(u.shape, bool), 0.0
    curvature = setting.program("curvature", lambda: jax.jit(_curvature))(sought, u)
    change = jnp.zeros(u.shape)
    for axis, name in enumerate(axis_states(problem), lead):
        if isinstance(problem.plan.states[name], Discrete | MarkovChain):
            continue  # nobody is between two categories
        move = jnp.diff(u, axis=axis)
        close &= _larger(jnp.abs(move), axis) <= _JUMP
        change = jnp.maximum(change, _larger(jnp.abs(jnp.expm1(jnp.diff(jnp.log(-curvature), axis=axis))), axis))
        bend = np.abs(np.diff(np.asarray(move), axis=axis))
        error += float(np.quantile(bend, _MOST)) / 8 if bend.size else np.inf
    steps = next((count for most, count in _STEPS.items() if error <= most), None)
    if steps is None:
        return sought
    known = close & jnp.isfinite(change)
    return Seeded(
        arguments=sought.arguments,
        sought=sought,
        u=u,
        change=jnp.where(known, change, _ENDLESS)[..., None],
        steps=steps,
        numerics=sought.numerics,
    )


def _larger(moves: Array, axis: int) -> Array:
    """At each node the larger of the two moves to its neighbours along an axis."""
    none = jnp.zeros_like(lax.slice_in_dim(moves, 0, 1, axis=axis))
    return jnp.maximum(jnp.concatenate([moves, none], axis=axis), jnp.concatenate([none, moves], axis=axis))


def _curvature(sought: Remaximising, u: Array) -> Array:
    """Q'' at the optimum of every node, of the shape of u."""
    numerics, only = sought.numerics, jnp.zeros((), jnp.int32)

    def at_period(period: Any, u: Array) -> Array:
        objective, mesh = numerics.solved_period(sought.arguments, sought.values, period)

        def at(row: Any) -> Array:
            node, share = row
            point = mesh.point(node.codes, node.coordinates)
            return numerics.maximiser.near(objective, point, only, share[None], 1).curvature

        rows = (nodes_of(mesh), u.reshape(-1))
        return over_batch(at, rows, cells(numerics.maximiser, numerics.plan), numerics.memory).reshape(u.shape)

    if not numerics.problem.finite:
        return at_period(0, u)
    return lax.map(lambda row: at_period(*row), (jnp.arange(u.shape[0], dtype=jnp.int32), u))
