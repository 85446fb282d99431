"""The matrices of a model that is linear-quadratic but for its bounds, or why it is none.

    x' = A x + B a + c + C w,    r = r0 + g'z + z'R z / 2 with z = (x, a),    G z <= b,    w ~ N(0, I)

in every period. That the functions are such polynomials is read off the operations that they are made of: points tell
nothing of a barrier far away, or of a power of four in large units. Matrices are derivatives at a point; at others, in
the box of the states and at its corners, they hold to rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.reach import entries, reach
from bellax.numerics.degree import Degree, Polynomial
from bellax.problem.averages import Averages
from bellax.problem.period import as_float, by_action, in_a_row
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSetting

TOLERANCE = 1e-8  # of the size of the terms of what is compared
_POINTS = 6  # at which matrices are compared with the functions, and as many corners
_WHAT = {
    "law": (1, "a law is not linear with noise that is added"),
    "reward": (2, "the reward is not quadratic"),
    "slack": (1, "a bound or a constraint is not linear"),
    "terminal": (2, "the terminal value is not quadratic"),
}
"""Of which degree they may be, and what is said where they are of another."""


class Matrices(NamedTuple):
    """The matrices by period, along a first axis; z is the states and then the actions, each in a row.

    Attributes:
        law: A and B side by side, shape (t, n, n + m).
        constant, noise: c and C.
        curvature, slope, level: R, g and r0.
        last: the same of the terminal value, in the states.
        discount: shape (t,).
        rows, limits: G and b of each period; a limit is infinite where there is none.
    """

    law: np.ndarray
    constant: np.ndarray
    noise: np.ndarray
    curvature: np.ndarray
    slope: np.ndarray
    level: np.ndarray
    last: tuple[np.ndarray, np.ndarray, np.ndarray]
    discount: np.ndarray
    rows: np.ndarray
    limits: np.ndarray


class _Read(NamedTuple):
    """What the functions of a period say at some z and w."""

    following: Array
    reward: Array
    discount: Array
    slack: Array


def matrices(
    setting: GridlessSetting, arguments: Arguments, centre: Mapping[str, np.ndarray]
) -> tuple[Matrices | None, str]:
    """The matrices of a model, or why it has none.

    Args:
        centre: a state around which they are compared with the functions.
    """
    missing = _structure(setting, arguments)
    if missing:
        return None, missing
    missing = _degrees(setting, arguments)
    if missing:
        return None, missing
    run = setting.program("matrices", lambda: jax.jit(_program(setting)))
    x = np.concatenate([np.ravel(centre[name]) for name in setting.plan.states])
    found = jax.tree.map(np.asarray, run(arguments, x))
    wrong = [name for name, off in found.pop("off").items() if not np.all(off <= TOLERANCE)]
    if wrong:
        return None, f"{_WHAT[wrong[0]][1]}, or its derivatives are not its own"
    return Matrices(**found), ""


def _structure(setting: GridlessSetting, arguments: Arguments) -> str:
    """Why a model cannot be linear-quadratic, as far as its graph tells; empty where it may be."""
    plan, graph = setting.plan, setting.plan.graph
    if not setting.problem.finite:
        return "the horizon is infinite"
    if plan.choices or plan.discrete or plan.evaluate_stop is not None or not plan.controls:
        return "something in it is discrete"
    averages: list[Averages] = []
    jax.eval_shape(lambda given: averages.append(Averages(setting.problem, given, 0)), arguments)
    if averages[0].normal is None:
        return "what is random is not made of normal numbers"
    if graph.is_random("slot:reward"):
        return "the reward is random"
    if graph.leaves("slot:discount", "state", "action", "shock", "next"):
        return "the discount is not the same in all states"
    hard = [node for node in plan.constraints if node not in plan.smooth_constraints]
    if hard:
        return f"{hard[0]!r} is true or false, and not a number that is not negative"
    more = [*plan.constraints, *([] if plan.evaluate_terminal is None else ["slot:terminal"])]
    shocks = [name for name in graph.regime.shocks if name in plan.shocks]
    if plan.kinked_in([*plan.controls, *plan.continuous, *shocks], more):
        return "a reward, a law or a bound may have kinks"
    return ""


def _degrees(setting: GridlessSetting, arguments: Arguments) -> str:
    """Which function is not of the degree that it may be, as a polynomial in states, actions and noise; empty where all
    are."""
    problem, plan = setting.problem, setting.plan
    states = sum(int(np.prod(plan.graph.seen[name].shape, dtype=int)) for name in plan.states)

    def functions(given: tuple[Arguments, Array], moving: tuple[Array, Array]) -> dict[str, Any]:
        (arguments, number), (z, w) = given, moving
        averages = Averages(problem, arguments, number)
        here, actions = states_of(setting, z[:states]), by_action(plan, z[states:])
        found = averages.at(here, actions, standard(averages, w))
        sides = [plan.evaluate_bounds[name](**averages.today.environment, **here, **actions) for name in plan.controls]
        held = plan.evaluate_constraints(**averages.today.environment, **here, **actions)
        end = problem.period(arguments, problem.clock.count).terminal(here)
        return {"law": found.following, "reward": found.outcome.reward, "slack": (sides, held), "terminal": end}

    averages: list[Averages] = []
    jax.eval_shape(lambda given: averages.append(Averages(problem, given, 0)), arguments)
    width = sum((averages[0].normal or {}).values())
    moving = jnp.zeros(states + len(plan.coordinates)), jnp.zeros(width)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(arguments))
    polynomial = setting.program(("degrees", shapes), lambda: Polynomial(functions, (arguments, np.int32(0)), moving))
    for number in range(problem.clock.count):
        for name, own in polynomial.degrees((arguments, np.int32(number))).items():
            most, said = _WHAT[name]
            for found in jax.tree.leaves(own, is_leaf=lambda leaf: isinstance(leaf, Degree)):
                if found.degree > most:
                    return f"{said}: {found.why} reads states, actions or shocks" if found.why else said
        if not polynomial.asked:  # what it is made of is the same in all periods
            break
    return ""


def _program(setting: GridlessSetting) -> Callable[..., dict[str, Any]]:
    problem, plan = setting.problem, setting.plan
    count, actions = problem.clock.count, len(plan.coordinates)

    def run(arguments: Arguments, x: Array) -> dict[str, Any]:
        states = x.shape[0]
        width = states + actions
        end = problem.period(arguments, count)

        def terminal(x: Array) -> Array:
            return end.terminal(states_of(setting, x))

        def at_period(number: Array) -> tuple[Any, ...]:
            averages = Averages(problem, arguments, number)
            z, w = jnp.zeros(width), jnp.zeros(sum((averages.normal or {}).values()))
            read = lambda z, w: _read(setting, averages, states, z, w)  # noqa: E731
            level, by_z, by_w = read(z, w), jax.jacfwd(read)(z, w), jax.jacfwd(read, 1)(z, w)
            curvature = jax.hessian(lambda z: read(z, w).reward)(z)
            key = jax.random.fold_in(jax.random.key(17), number)
            xs, sizes = _places(setting, arguments, number, x, key)
            u = sizes[:, None] * jax.random.normal(jax.random.fold_in(key, 1), (len(sizes), actions))
            zs = jnp.concatenate([xs, u], axis=1)
            ws = 3.0 * jax.random.normal(jax.random.fold_in(key, 2), (len(sizes), w.shape[0]))
            there = jax.vmap(read)(zs, ws)
            wrong = {
                "law": off(there.following, linear(level.following, (by_z.following, zs), (by_w.following, ws))),
                "reward": off(there.reward, quadratic(level.reward, by_z.reward, curvature, zs)),
                "slack": off(there.slack, linear(level.slack, (by_z.slack, zs))),
            }
            law = (by_z.following, level.following, by_w.following)
            return law, (curvature, by_z.reward, level.reward), level.discount, -by_z.slack, level.slack, wrong

        found = jax.lax.map(at_period, jnp.arange(count, dtype=jnp.int32))
        (law, constant, noise), (curvature, slope, level), discount, rows, limits, wrong = found
        zero = jnp.zeros(states)
        last = jax.hessian(terminal)(zero), jax.grad(terminal)(zero), terminal(zero)
        xs, _ = _places(setting, arguments, jnp.asarray(count - 1, jnp.int32), x, jax.random.key(18))
        wrong["terminal"] = off(jax.vmap(terminal)(xs), quadratic(last[2], last[1], last[0], xs))
        names = ("law", "constant", "noise", "curvature", "slope", "level", "last", "discount", "rows", "limits")
        values = (law, constant, noise, curvature, slope, level, last, discount, rows, limits)
        return {**dict(zip(names, values, strict=True)), "off": wrong}

    return run


def _places(
    setting: GridlessSetting, arguments: Arguments, number: Array, x: Array, key: Array
) -> tuple[Float[Array, "p n"], Float[Array, "p"]]:
    """States at which matrices are compared, around one and at corners of the box, and how large these are."""
    ends, plan = reach(setting.numerics.mesh(arguments, number)), setting.plan
    first: dict[str, int] = {}
    at = 0
    for name in plan.states:
        first[name] = at
        at += int(np.prod(plan.graph.seen[name].shape, dtype=int))
    low, high = x - jnp.maximum(jnp.abs(x), 1.0), x + jnp.maximum(jnp.abs(x), 1.0)
    for k, (name, place) in enumerate(entries(plan).values()):
        column = first[name] + place
        low = low.at[column].set(jnp.where(jnp.isfinite(ends.first[k]), ends.first[k], low[column]))
        high = high.at[column].set(jnp.where(jnp.isfinite(ends.last[k]), ends.last[k], high[column]))
    share = 10.0 ** jnp.linspace(-3, 0, _POINTS)[:, None]
    near = x[None] + share * (high - low)[None] * jax.random.normal(key, (_POINTS, x.shape[0]))
    side = jax.random.bernoulli(jax.random.fold_in(key, 3), shape=(_POINTS, x.shape[0]))
    side = side.at[0].set(False).at[1].set(True)
    found = jnp.concatenate([near, jnp.where(side, high[None], low[None])])
    return found, jnp.max(jnp.abs(found), axis=1)


def _read(setting: GridlessSetting, averages: Averages, states: int, z: Any, w: Any) -> _Read:
    """What a period says; `slack` is how far bounds and constraints are from binding, infinite where there are none."""
    plan = setting.plan
    here, given = states_of(setting, z[:states]), by_action(plan, z[states:])
    found = averages.at(here, given, standard(averages, w))
    place = jnp.zeros((), jnp.int32)
    act = lambda name, lower, upper: (given[name], (given[name] - lower, upper - given[name]))  # noqa: E731
    _, sides = averages.today.resolved(here, place, act)
    slack = [jnp.ravel(side) for pair in sides.values() for side in pair]
    held = plan.evaluate_constraints(**averages.today.environment, **here, **given)
    slack += [jnp.ravel(as_float(value)) for value in held.values()]
    following = in_a_row({name: found.following[name] for name in plan.states})
    return _Read(following, found.outcome.reward, found.outcome.discount, jnp.concatenate(slack))


def states_of(setting: GridlessSetting, x: Any) -> dict[str, Any]:
    """States by name, from a row of their numbers."""
    found: dict[str, Any] = {}
    first = 0
    for name in setting.plan.states:
        shape = setting.plan.graph.seen[name].shape
        size = int(np.prod(shape, dtype=int))
        found[name] = x[first : first + size].reshape(shape)
        first += size
    return found


def standard(averages: Averages, w: Any) -> dict[str, Any]:
    """Standard normal numbers by random leaf, from a row of them."""
    sizes = averages.normal or {}
    cuts = np.cumsum([0, *sizes.values()])
    return {leaf: w[first:last] for leaf, first, last in zip(sizes, cuts[:-1], cuts[1:], strict=True)}


def linear(constant: Any, *parts: tuple[Any, Any]) -> tuple[Any, Any]:
    """A constant and matrices times rows, and the size of the terms of these sums."""
    said = constant[None] + sum(rows @ matrix.T for matrix, rows in parts)
    return said, abs(constant)[None] + sum(abs(rows) @ abs(matrix).T for matrix, rows in parts)


def quadratic(level: Any, slope: Any, curvature: Any, rows: Any) -> tuple[Any, Any]:
    """A quadratic function of rows, and the size of the terms of these sums."""
    of = lambda l, g, r, z: l + z @ g + 0.5 * ((z @ r) * z).sum(axis=1)  # noqa: E731, E741
    return of(level, slope, curvature, rows), of(abs(level), abs(slope), abs(curvature), abs(rows))


def off(there: Array, said: tuple[Array, Array]) -> Array:
    """By how much numbers differ from what is said of them, relative to the terms of that; those that are alike
    infinite do not."""
    value, size = said
    alike = (there == value) | (jnp.isinf(there) & ~jnp.isfinite(value))
    gap = jnp.where(alike, 0.0, jnp.abs(there - value) / jnp.maximum(size, jnp.abs(there)))
    return jnp.max(jnp.where(jnp.isnan(gap), jnp.inf, gap), initial=0.0)
