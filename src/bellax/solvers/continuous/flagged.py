"""What shows that a trained net is no solution, although its residuals are small.

A wrong branch of the Hamilton-Jacobi-Bellman equation has drifts that lead out of the box, and a population that does
not stay: the mean drift of every state, with what mirrors push back, is zero under a stationary density, whatever the
model, and E[b_i] by quadrature over the density net is compared with the size of b_i. A constraint that holds mass as
an atom shows as a steady state beyond the edge, or as a density that piles up there. Residuals are taken at points that
were not trained on.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.learning import levenberg, sampling
from bellax.model.diffusion import Reflecting
from bellax.problem.flow import Flow
from bellax.problem.optimality import Optimality, optimality
from bellax.solution.solution import Result
from bellax.solvers.continuous.trained import DensityEquation, NetTable, ValueEquation

SIDES = ("lower", "upper")
DRIFT = 0.03  # of its root mean square, what the mean drift of a state may be
FORWARD = 0.1  # root mean square of what the forward equation leaves
PILED = 0.02  # of the largest density, what there may be at an edge without diffusion
LOST = 1e-4  # of mass, what the quadrature may miss
DEPENDENT = 0.3  # rank correlation of the dimensions of a sample
CLOSE = 1e-6  # relative gap of the first-order condition that a closed form may leave
_SLACK = 1e-2  # of the sides of the box per unit of discounting, how fast a drift may lead outward
_FRESH = 512
_COUNTS = {1: 401, 2: 61, 3: 21}  # nodes along each state


def fresh(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Points that no training of this seed has seen, in the unit cube."""
    return sampling.points(count, dimensions, seed + 104_729)


def quadrature(table: NetTable, count: int) -> Array:
    """The mass at equally spaced nodes of the box, one axis a state."""
    box, dimensions = table.core.inner, table.core.centre.shape[0]
    shares = jnp.stack(jnp.meshgrid(*[jnp.linspace(0.0, 1.0, count)] * dimensions, indexing="ij"), axis=-1)
    log = jax.vmap(lambda share: table.log_density(box.at(share)))(shares.reshape(-1, dimensions))
    log = log.reshape((count,) * dimensions)
    ends = jnp.ones(count).at[jnp.asarray([0, count - 1])].set(0.5)
    for axis in range(dimensions):
        log = log + jnp.log(ends).reshape([-1 if own == axis else 1 for own in range(dimensions)])
    mass = jnp.exp(log - jnp.max(log))
    return mass / jnp.sum(mass)


def raw_mass(table: NetTable, count: int) -> Array:
    """The mass of a density that is not made to have one."""
    box, dimensions = table.core.inner, table.core.centre.shape[0]
    shares = jnp.stack(
        jnp.meshgrid(*[jnp.asarray((np.arange(count) + 0.5) / count)] * dimensions, indexing="ij"), axis=-1
    )
    log = jax.vmap(lambda share: table.log_density(box.at(share)))(shares.reshape(-1, dimensions))
    return jnp.prod(box.upper - box.lower) * jnp.mean(jnp.exp(log))


def stats(values: ValueEquation, densities: DensityEquation, table: NetTable, options: Any) -> dict[str, Array]:
    """Numbers about a trained solution, inside a compiled program.

    Those of the density: `forward`, what the forward equation leaves; `quadrature`, by how much its mass is not one, if
    it is not made to be, and its centre moves between two sets of nodes, in halves of the box; `mean_drift`, as a share
    of the root mean square; `piled`, what there is at an edge along which nothing diffuses, of the largest.
    """
    point, core = values.point, values.core
    draws = jax.vmap(core.inner.at)(jnp.asarray(fresh(_FRESH, core.centre.shape[0], options.seed)))
    left = values.residuals(table.value, draws)
    marginals = jax.vmap(lambda y: values.marginals(table.value, y))(draws)

    def gap(y: Array, p: Array) -> Optimality:
        named = dict(zip(point.names, p, strict=True))
        return optimality(point.flow, point.arguments, point.states(y), named, {})

    best = jax.vmap(gap)(draws, marginals)
    found = {
        "residual": jnp.sqrt(jnp.mean(left**2)),
        "first_order_gap": jnp.max(best.gap),
        "missed": jnp.max(best.share()),
        "settled": core.found,
    }
    for axis, name in enumerate(point.names):
        for side, y in enumerate(values.where.edges[axis]):
            found |= _edge(values, table, axis, side, y, f"{SIDES[side]}:{name}")
    if options.density:
        found |= _density(values, densities, table)
    return found


def _edge(values: ValueEquation, table: NetTable, axis: int, side: int, y: Array, label: str) -> dict[str, Array]:
    """At one edge: the share of points at which the drift leads outward, and whether mass is held there."""
    core, point = values.core, values.point
    width = (core.box.upper - core.box.lower)[axis]
    of = lambda y: point.drift(y, jax.grad(table.of)(y))[axis]  # noqa: E731
    outward = (2.0 * side - 1.0) * jax.vmap(of)(y) / (width * values.rate)
    free = point.names[axis] not in point.flow.spreads
    mirror = isinstance(values.sides[axis][side], Reflecting)
    real = values.real(axis, side)
    bad = jnp.mean((~(outward <= _SLACK)).astype(float))
    # where a state diffuses across an edge that is the box's alone, mass may come and go
    watched = jnp.asarray(free) | (real & (not mirror))
    beyond = core.beyond[side, axis]
    held = real & (beyond > 0) & (core.found > 0) & free
    return {f"outward:{label}": jnp.where(watched, bad, 0.0), f"held:{label}": jnp.where(held, beyond, 0.0)}


def _density(values: ValueEquation, densities: DensityEquation, table: NetTable) -> dict[str, Array]:
    where, names = values.where, values.point.names
    box, count = values.core.inner, _COUNTS[len(names)]
    mass = quadrature(table, count).reshape(-1)
    shares = jnp.stack(jnp.meshgrid(*[jnp.linspace(0.0, 1.0, count)] * len(names), indexing="ij"), axis=-1)
    y = jax.vmap(box.at)(shares.reshape(-1, len(names)))
    drift = jax.vmap(lambda y: values.point.drift(y, jax.grad(table.of)(y)))(y)
    # a mirror pushes back what comes: mean drifts are zero together with half the spread times the density there
    pushed = jax.vmap(values.point.spread)(y) * (count - 1) / (box.upper - box.lower)[None, :]
    ends = (shares.reshape(-1, len(names)) == 1.0).astype(float) - (shares.reshape(-1, len(names)) == 0.0).astype(float)
    mean, size = mass @ (drift - pushed * ends), jnp.sqrt(mass @ drift**2)
    top = jnp.max(jax.vmap(table.log_density)(y))
    left = levenberg.residuals(
        densities.groups(densities.refresh(table.density), jnp.zeros((), jnp.int32))[:1], table.density
    )
    grid, fine = quadrature(table, count), quadrature(table, count // 2 + 1)
    of = lambda mass, axis: jnp.sum(  # noqa: E731
        jnp.sum(mass, axis=tuple(other for other in range(mass.ndim) if other != axis))
        * jnp.linspace(-1.0, 1.0, mass.shape[axis])
    )
    off = jnp.abs(raw_mass(table, count) - 1) if not table.form.whole else jnp.zeros(())
    found = {
        "forward": jnp.sqrt(jnp.mean(left**2)),
        "quadrature": off
        + jnp.max(jnp.stack([jnp.abs(of(grid, axis) - of(fine, axis)) for axis in range(len(names))])),
    }
    for axis, name in enumerate(names):
        found[f"mean_drift:{name}"] = jnp.abs(mean[axis]) / jnp.where(size[axis] > 0, size[axis], 1.0)
        free = name not in values.point.flow.spreads
        for side, y in enumerate(where.edges[axis]):
            at = jnp.exp(jnp.max(jax.vmap(table.log_density)(y)) - top)
            found[f"piled:{SIDES[side]}:{name}"] = jnp.where(free, at, 0.0)
    return found


def worst(stats: Mapping[str, Array], what: str) -> tuple[str, Array]:
    """The largest of a kind of numbers, and its name."""
    own = {name: value for name, value in stats.items() if name.startswith(f"{what}:")}
    if not own:
        return "", jnp.zeros(())
    name = max(own, key=lambda each: float(own[each]))
    return name.removeprefix(f"{what}:"), own[name]


def _largest(stats: Mapping[str, Array], what: str) -> Array:
    own = [value for name, value in stats.items() if name.startswith(f"{what}:")]
    return jnp.max(jnp.stack(own)) if own else jnp.zeros(())


def poor(stats: Mapping[str, Array]) -> Array:
    """Whether the density is none."""
    if "forward" not in stats:
        return jnp.asarray(True)
    wrong = ~(stats["forward"] <= FORWARD) | ~(_largest(stats, "mean_drift") <= DRIFT) | ~(stats["quadrature"] <= LOST)
    return wrong | ~(_largest(stats, "piled") <= PILED)


def code(flow: Flow, stats: Mapping[str, Array], options: Any) -> Array:
    """How a training ended."""
    wrong = (_largest(stats, "outward") > 0) | (stats["first_order_gap"] > CLOSE) | (stats["dependence"] > DEPENDENT)
    wrong = wrong | (stats["missed"] > CLOSE)
    if flow.driven:
        wrong = wrong | ~(stats["settled"] > 0)
    if options.density:
        wrong = wrong | (_largest(stats, "held") > 0) | poor(stats)
    found = jnp.where(wrong, int(Result.infeasible), int(Result.successful))
    found = jnp.where(
        stats["residual"] <= options.tolerance, found, jnp.where(wrong, found, int(Result.max_steps_reached))
    )
    return jnp.where(jnp.isfinite(stats["residual"]), found, int(Result.nonfinite)).astype(jnp.int32)


def explain(setting: Any, solution: Any) -> str:
    """Why a training failed; empty where it did not."""
    result, stats, flow = Result(int(solution.code)), solution.stats, setting.flow
    if result == Result.successful:
        return ""
    told = lambda what: worst(stats, what)  # noqa: E731
    residual = float(stats["residual"])
    if result == Result.nonfinite:
        return (
            "V is no number somewhere. Likely causes: a reward, a drift or a closed form that is no number at some "
            "state of the core, or at the marginal value there."
        )
    if result == Result.max_steps_reached:
        return (
            f"V is not found after {int(stats['steps'])} steps: its residual at other points than those of the "
            f"training is {residual:.3g}, and tolerance={setting.options.tolerance:g}. Give more finish=, wider "
            "hidden=, or more points=."
        )
    if not float(stats["settled"]) > 0 and flow.driven:
        return (
            "no steady state without noise was found to which states return, from which nets are scaled and the branch "
            "of the equation is selected. Likely causes: states that grow for ever, or that a constraint holds; use "
            "bx.solvers.FiniteDifference()."
        )
    side, far = told("held")
    if float(far) > 0:
        which, name = side.split(":")
        return (
            f"the steady state of {name!r} is beyond its {which} edge, by {float(far):.3g} of the width of its domain: "
            "mass gathers at the edge, or is held there as an atom, which no density has. Use "
            "bx.solvers.FiniteDifference(), which reports atoms, or move the bound."
        )
    return _wrong(setting, stats, told)


def _wrong(setting: Any, stats: Mapping[str, Array], told: Any) -> str:
    side, share = told("outward")
    if float(share) > 0:
        which, name = side.split(":")
        return (
            f"the drift of {name!r} leads outward at {100 * float(share):.3g} % of its {which} edge: this is a wrong "
            "branch of the equation, or a state that cannot be kept. A small residual says nothing here. Give more "
            "rounds=, or compare with bx.solvers.FiniteDifference()."
        )
    if float(stats["dependence"]) > DEPENDENT:
        return (
            f"the points of the training have dimensions of rank correlation {float(stats['dependence']):.3g}: they "
            "were drawn with one key, and the equation was asked on a line alone. Draw every dimension by itself."
        )
    if float(stats["first_order_gap"]) == math.inf:
        return (
            f"the closed forms of {sorted(setting.flow.policy)} lead beyond the bounds of an action at some state, to "
            "none of its values where it is discrete, or to the worst action and not the best. Write bounds into "
            "policy=, and check its signs."
        )
    if not float(stats["first_order_gap"]) <= CLOSE:
        return (
            f"the closed forms of {sorted(setting.flow.policy)} leave the first-order condition by "
            f"{float(stats['first_order_gap']):.3g} of its terms at some state, marginal values held fixed. Check "
            "signs, powers and bounds of policy=."
        )
    if not float(stats["missed"]) <= CLOSE:
        return (
            f"other actions than the closed forms of {sorted(setting.flow.policy)} are better, by "
            f"{float(stats['missed']):.3g} of what flows at some state, marginal values held fixed: there are "
            "several hills, and this is not the highest. Check policy=; or leave it out, give actions bounds, and "
            "use bx.solvers.FiniteDifference(maximiser=bx.maximise.Golden())."
        )
    name, drift = told("mean_drift")
    if not float(drift) <= DRIFT:
        return (
            f"the mean drift of {name!r} is {float(drift):.3g} of its size under the density, and zero in a population "
            "that does not move: V is on a wrong branch of the equation, or there is no density. density=False solves "
            "for V alone."
        )
    side, at = told("piled")
    if not float(at) <= PILED:
        which, name = side.split(":")
        return (
            f"the density of {name!r} is {float(at):.3g} of its largest at the {which} edge, along which nothing "
            "diffuses: mass is held there as an atom, which no density has. Use bx.solvers.FiniteDifference(); "
            "density=False solves for V alone."
        )
    return (
        f"the density is not found: the forward equation leaves {float(stats['forward']):.3g}, and the quadrature of "
        f"its mass moves by {float(stats['quadrature']):.3g} between two sets of nodes. Likely causes: no noise, or "
        "states that it does not reach; density=False solves for V alone."
    )
