"""Questions about one state of a solved period: what is chosen there, on the mesh or off it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.decided import combinations_of, decided, optimum_at, stopping, worth
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import Optimum, guarded
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.reach import Reach, admitted, entries, first_outside, numbers, outside, reach, warn_once
from bellax.bellman.setting import Setting
from bellax.bellman.taste import chosen
from bellax.errors import ModelError, ParameterError
from bellax.model.time import Clock
from bellax.numerics.interpolate import is_barrier
from bellax.numerics.programs import concrete
from bellax.problem.period import combinations
from bellax.problem.problem import Arguments
from bellax.solution.policy import Chosen, Policy, Queried


class Remaximising(Policy):
    """Takes the maximum at the state that is asked, given V of the next period; or does what a rule says.

    So it is as good off the grid as on it, and nothing of the size states x actions is kept.

    Attributes:
        values: V at the nodes; with a finite horizon one a period, along the first axis. By regime where there are
            several.
    """

    arguments: Arguments
    values: Any
    numerics: Discretisation = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        """Whether the maximum lies between candidates."""
        return self.numerics.maximiser.smooth

    @property
    def last(self) -> Value | None:
        """V after the last decision, at the nodes; None for an infinite horizon."""
        regime = self.numerics.problem.regime
        own = self.values[regime] if regime else self.values
        return jax.tree.map(lambda leaf: leaf[-1], own) if self.numerics.problem.finite else None

    def at(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """A pointwise function from the states of a period to what is chosen there."""
        objective, today = self.numerics.solved_period(self.arguments, self.values, period)
        return lambda states: choose(self.numerics, objective, today, states)


def choose(numerics: Discretisation, objective: Objective, today: Mesh, states: Mapping[str, Array]) -> Chosen:
    """The optimum at one state."""
    point = today.locate(states)
    return answered(numerics, objective, today, point, optimum_at(numerics.maximiser, objective, point))


def answered(numerics: Discretisation, objective: Objective, today: Mesh, point: Point, optimum: Optimum) -> Chosen:
    """The answer at one state, of which the optimum is known."""
    states = point.values
    actions, _ = objective.actions(point, optimum.decision)
    codes = jnp.arange(len(combinations(objective.plan)), dtype=jnp.int32)
    probabilities = (codes == jnp.asarray(optimum.decision.combination)).astype(jnp.result_type(float))
    alternatives = None
    if optimum.value is None:  # nothing was sought: of each combination, with the continuous actions that are given
        values = jax.vmap(lambda k: guarded(objective, point, Decision(k, optimum.decision.u)))(codes)
    else:
        values = worth(objective, point, optimum)
        if objective.plan.taste_shocks is not None:
            probabilities = chosen(objective.period, values).probabilities
            alternatives = jax.vmap(lambda one: objective.actions(point, one)[0])(combinations_of(optimum))
    values = jnp.where(is_barrier(values), -jnp.inf, values)
    known = today.holds(states) & admitted(numerics, today, states)
    value = jnp.where(known, decided(objective, point, optimum), jnp.nan)
    stop = masked(known, stopping(objective, point, optimum))
    # no action is the answer where none is allowed, or none is known to be best
    shown = ~jnp.isnan(value) & (optimum.feasible | stop)
    actions = {name: masked(shown, action) for name, action in actions.items()}
    probabilities = jnp.where(stop, 0.0, jnp.where(shown, probabilities, jnp.nan))
    return Chosen(value, actions, stop, jnp.where(known, values, jnp.nan), probabilities, alternatives)


def masked(shown: Array, leaf: Array) -> Array:
    """The leaf where it is to be shown, and NaN elsewhere; of whole numbers -1, which is no category, and False."""
    if jnp.issubdtype(leaf.dtype, jnp.bool_):
        return leaf & shown
    return jnp.where(shown, leaf, jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else -1)


def in_its_period(clock: Clock, period: Any, answer: Any) -> Any:
    """The answer to what was asked of a period: no answer, see `masked`, where a traced one has no decision.

    Args:
        period: as `check_period` gives it.
    """
    if concrete(period):
        return answer
    there = (period >= 0) & (period < clock.count)
    return jax.tree.map(lambda leaf: masked(there, leaf), answer)


def check_active(setting: Setting, period: Any) -> None:
    """Raises ParameterError of a regime that does not exist in a period; under a transformation V is NaN there."""
    regime, clock = setting.problem.regime, setting.problem.clock
    active = setting.model.active_periods.get(regime) if regime else None
    if active is None or not concrete(period) or active[min(int(period), clock.count - 1)]:
        return
    when = f"at age {clock.age(int(period)):g}" if clock.aged else f"in period {int(period)}"
    raise ParameterError(f"the regime {regime!r} is not active {when}: it has no value and no policy there.")


def ending(
    numerics: Discretisation, arguments: Arguments, last: Value | None, period: Any = None
) -> Callable[[Mapping[str, Array]], Array]:
    """V after the last decision of a finite horizon, pointwise: the model's function of it, or else the interpolant.

    Args:
        last: V at the nodes of the last period; None counts as zero.
        period: another one, of a regime that ends.
    """
    period = numerics.problem.period(arguments, numerics.problem.clock.count if period is None else period)
    mesh = numerics.nodes(period.environment)

    def at(states: Mapping[str, Array]) -> Array:
        if last is None or period.plan.evaluate_terminal is not None:
            return period.terminal(states)
        found = numerics.stored(last, period.environment, mesh)(mesh.locate(states, remember=True))
        return jnp.where(admitted(numerics, mesh, states), found, jnp.nan)

    return at


def undifferentiable(x: Array, cause: Any) -> Array:
    """x, which refuses to be differentiated where it is a float: a candidate, or a table, does not move with
    parameters.

    Args:
        cause: the arguments beside it; an action that does not move at all would otherwise have the derivative zero.
    """
    return _held(x, cause) if jnp.issubdtype(x.dtype, jnp.floating) else x


@jax.custom_jvp
def _held(x: Array, cause: Any) -> Array:
    return x


@_held.defjvp
def _refuse(primals: tuple, tangents: tuple) -> tuple:
    raise ModelError(
        "Enumerate chose this policy among finitely many candidates, or it was tabulated: it has no derivative. Ask "
        "the Solution itself, solved with bx.maximise.Newton(), Golden() or Enumerate(polish=bx.maximise.Newton()). "
        "The value can be differentiated as it is."
    )


class Reading(NamedTuple):
    """Where the nodes of another solve lie, of which a policy is asked: the lowest of them, and the highest.

    Attributes:
        ends: of the policy's own grid.
        states: by name, the lowest and the highest along the first axis.
        outside: whether these are outside it, shape (2, 2, e).
    """

    ends: Reach
    states: dict[str, Array]
    outside: Array


def reading(policy: Policy, period: Any, mesh: Mesh) -> Reading:
    """Whether some nodes of a mesh lie outside the grid on which a policy of `period` was found."""
    plan, ends = policy.numerics.plan, reach(policy.numerics.mesh(policy.arguments, period))
    found: dict[str, list[Array]] = {}
    for component, line in zip(mesh.plan.lines, mesh.lines, strict=True):
        found.setdefault(component.name, []).append(line.scale.inverse(line.coordinates[np.array([0, -1])]))
    states = {name: jnp.stack(parts, axis=1) for name, parts in found.items()}
    for name, process in mesh.processes.items():
        states[name] = jnp.stack([jnp.min(process.values, axis=0), jnp.max(process.values, axis=0)])
    bounded = {name: states[name] for name, _ in entries(plan).values()}
    at = lambda k: outside(ends, numbers(plan, {name: array[k] for name, array in bounded.items()}))  # noqa: E731
    return Reading(ends, bounded, jnp.stack([at(0), at(1)]))


def warn_of_reading(asked: Queried, what: str, found: Reading) -> None:
    """Warns, once, of a solution that a solve asks outside its grid, unless it was said what is wanted there.

    Args:
        what: the solution is to the solve, such as `terminal`.
        found: concrete.
    """
    numerics = asked.setting.numerics
    if numerics.outside is None:
        wrong = first_outside(numerics.plan, found.ends, found.outside, found.states)
        warn_once(asked, None if wrong is None else f"{what}: at nodes of this solve {wrong}")


def asked_outside(numerics: Discretisation, mesh: Mesh, states: Mapping[str, Array]) -> dict[str, Array]:
    """Beside the answers at one state, where a query is to be warned of: whether the state is outside the grid."""
    return {} if numerics.outside is not None else {"outside": outside(reach(mesh), numbers(numerics.plan, states))}
