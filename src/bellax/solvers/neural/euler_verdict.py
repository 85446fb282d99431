"""How a training of `EulerNet` ended: its conditions at other points, and all that conditions do not say."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.learning.levenberg import Fit
from bellax.problem.problem import Arguments
from bellax.problem.rough import may_be_rough
from bellax.solution.solution import Result
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.beyond import jump
from bellax.solvers.neural.doubts import Sides, everywhere, paid, rising, sides_left, sizes_of, value_error
from bellax.solvers.neural.elsewhere import elsewhere
from bellax.solvers.neural.euler import Euler
from bellax.solvers.neural.euler_training import Begun, Rows, Training
from bellax.solvers.neural.evaluation import Scale, measure
from bellax.solvers.neural.floors import TINY
from bellax.solvers.neural.points import Points
from bellax.solvers.neural.stakes import decisive

_LEAVING = 0.02  # share of visited states that may lie beyond the box


def judged(
    prepared: Any, arguments: Arguments, begun: Begun, found: NetBehaviour, state: Fit
) -> tuple[Array, dict[str, Array]]:
    """How a training ended, by conditions at other points: the code of a `Result`, and numbers by name.

    Args:
        prepared: a `PreparedEuler`.
    """
    options, finite = prepared.options, prepared.problem.finite
    seen = prepared.inputs(arguments)
    method = Training(prepared, arguments, begun)
    weights, rule = state.weights, prepared.rule(method.euler, seen, found.actor)
    where = prepared.points(seen, options.seed + 1000, prepared.count)
    least = method.least(weights, where)
    left = lambda points: jnp.abs(jax.vmap(lambda s, n: method.conditions(weights, s, n, least))(*points))  # noqa: E731
    stats, roots, looked = {"steps": state.total}, [jnp.zeros(())], []
    size = left(where)
    stats |= {"condition_mean": jnp.mean(size), "condition_max": jnp.max(size)}
    if not prepared.framed:
        roots += [jnp.sqrt(jnp.mean(size**2)), jnp.where(paid(method.euler, rule, where), 0.0, jnp.nan)]
        looked.append(where)
    if not finite:
        paths = method.visited(weights, where, jax.random.key(options.seed + 1000), 1.0)
        size, far = left(paths.points), jnp.mean(paths.left)
        stats |= {"path_mean": jnp.mean(size), "path_max": jnp.max(size), "path_leaving": far}
        roots += [jnp.sqrt(jnp.mean(size**2)), jnp.where(far <= _LEAVING, 0.0, jnp.inf)]
        where = paths.points
        roots.append(jnp.where(paid(method.euler, rule, where), 0.0, jnp.nan))
        looked.append(where)
    if not prepared.static:
        stats |= _sides(method, weights, looked)
        roots += [stats["value_left"], stats["slopes_left"]]
    asked = Points(*where) if prepared.framed else everywhere(found, prepared.count, options.seed + 1000)
    rows = Rows(*asked, *(jnp.zeros(0),) * 5)
    stats["value_error"] = value_error(found, prepared.equations(arguments, begun, found.actor, rows), asked)
    stats["convex"] = rising(method.euler, found, where, prepared.static, options.tolerance)
    if not prepared.framed:  # else V is known where paths lead, and nowhere else
        stats["better_elsewhere"] = _elsewhere(prepared, method.euler, found, where, stats["value_error"])
    root = jnp.max(jnp.stack(roots))
    code = jnp.where(root <= options.tolerance, int(Result.successful), int(Result.max_steps_reached))
    low = (code == int(Result.successful)) & (stats["convex"] > _LEAVING)
    code = jnp.where(low, int(Result.not_concave), code)
    lesser = stats.get("better_elsewhere", jnp.zeros(())) > options.tolerance
    if may_be_rough(prepared.plan):
        stats["jump"] = jump(_bellman(prepared, method.euler, found), options.seed + 2000)
        unweighed = jnp.asarray(prepared.framed) | ~(stats["value_error"] <= options.tolerance)
        lesser = lesser | ((stats["jump"] > 0) & unweighed)
    code = jnp.where(lesser & (code == int(Result.successful)), int(Result.trapped), code)
    code = jnp.where(root == jnp.inf, int(Result.escaped), code)
    code = jnp.where(jnp.isnan(root), int(Result.nonfinite), code)
    return code.astype(jnp.int32), stats


def _sides(method: Training, weights: Array, looked: list[Any]) -> dict[str, Array]:
    """What is left of V's own equation and of V_s = dQ/ds, which the conditions take for granted: root mean
    squares, the larger of those of the box and of paths."""
    found = [Sides(*jax.vmap(lambda s, n: method.sides(weights, s, n))(*points)) for points in looked]
    left = [sides_left(sides, sizes_of(found[0])) for sides in found]
    value, slopes = (jnp.max(jnp.stack(own)) for own in zip(*left, strict=True))
    return {"value_left": value, "slopes_left": slopes}


def _elsewhere(prepared: Any, euler: Euler, found: NetBehaviour, points: Any, off: Array) -> Array:
    """By how much other actions are better, for ever, in units of what decisions are about.

    Args:
        off: see `value_error`.
    """
    bellman = _bellman(prepared, euler, found)
    scale, left = measure(euler, prepared.rule(euler, found.inputs, found.actor), *points)
    better = elsewhere(lambda number: (bellman, found.critic), found.outputs, points, prepared.options.seed)
    value = jax.vmap(lambda states, number: found.worth(number, states))(*points)
    spread = jnp.std(value)
    sure = jnp.maximum(better.gain - 2 * left * off * spread, 0.0)  # of V itself nothing is better known
    size = spread + 0.01 * jnp.sqrt(jnp.mean(value**2)) + TINY * scale.unit
    return sure / decisive(size / left, better.stake)


def _bellman(prepared: Any, euler: Euler, found: NetBehaviour) -> Bellman:
    return Bellman(euler, found.inputs, prepared.shapes, Scale(found.level, found.unit), prepared.wiring)
