"""Optima of several actions on kinks that run across them, which a search in one action after another does not find."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.bellman.maximisers.maximum import Best
from bellax.bellman.maximisers.ridge import along

AWAY = lambda x: -((x[0] - 0.3) ** 2) - 2 * (x[1] - 0.6) ** 2  # noqa: E731


def curve() -> list[float]:
    """The optimum of `AWAY` on u1 = .5 - u0^2, by bisection."""
    low, high = 0.0, 0.5
    for _ in range(80):
        u = 0.5 * (low + high)
        rises = -2 * (u - 0.3) + 8 * u * (0.5 - u * u - 0.6) > 0
        low, high = (u, high) if rises else (low, u)
    return [low, 0.5 - low * low]


PARABOLAS = (
    (0.3, 0.5, 1.0, 0.04), (0.7, 0.5, 1.0, 0.04), (0.5, 0.2, 2.0, 0.09), (0.5, 0.9, 2.0, 0.16), (0.1, 0.9, 3.0, 0.64)
)  # fmt: skip
"""Middles, curvatures and heights of which the first four, and the last one, are zero at (.5, .5)."""

CASES: dict[str, tuple[Callable, list[float]]] = {
    "oblique": (lambda x: AWAY(x) - 3 * jnp.abs(x[0] + x[1] - 0.7), [1 / 6, 0.7 - 1 / 6]),
    "curved": (lambda x: AWAY(x) - 3 * jnp.abs(x[0] ** 2 + x[1] - 0.5), curve()),
    "three planes": (
        lambda x: jnp.minimum(jnp.minimum(x[0] - 0.2 * x[1], 1 - x[0] - 0.3 * x[1]), x[1]),
        [0.48, 0.4],
    ),
    "a bound": (lambda x: jnp.minimum(x[0] + x[1], 1.0) - 0.1 * x[0] - 0.2 * x[1], [1.0, 0.0]),
    "beside a pole": (  # of a parabola there nothing is to be learnt here
        lambda x: 0.1 * jnp.log(x[0] + 1e-6) + 0.5 * jnp.log(x[1] + 1e-6) - jnp.abs(x[0] - 2 * x[1] + 0.5),
        [1.0, 0.75],
    ),
    "five parabolas": (
        lambda x: jnp.min(jnp.stack([h - c * (x[0] - a) ** 2 - (x[1] - b) ** 2 for a, b, c, h in PARABOLAS])),
        [0.5, 0.5],
    ),
    "smooth": (lambda x: AWAY(x) + 0.5 * x[0] * x[1], [0.46451612903, 0.65806451613]),
}


@pytest.mark.parametrize("case", CASES)
def test_from_anywhere_the_optimum_is_found(case: str) -> None:
    q, optimum = CASES[case]
    starts = jnp.asarray(np.random.default_rng(0).random((20, 2)))
    run = lambda u: along(q, None, Best(q(u), u, jnp.zeros(())), 60, 1e-11)  # noqa: E731
    found = jax.jit(jax.vmap(run))(starts)
    assert np.all(np.abs(np.asarray(found.value) - float(q(jnp.asarray(optimum)))) < 1e-9)
    assert np.all(np.abs(np.asarray(found.u) - np.asarray(optimum)) < 1e-5)


def zoomed(q: Callable, start: np.ndarray) -> float:
    """The maximum of a concave function on the unit square, by lattices that shrink around their best point."""
    shape = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 33)]), axis=-1).reshape(-1, 2)
    best, width, level = start, 1.0, -np.inf
    for _ in range(60):
        places = np.clip(best + width * shape, 0, 1)
        levels = np.asarray(q(places.T))
        best, level, width = places[levels.argmax()], max(level, levels.max()), 0.7 * width
    return float(level)


def test_random_logarithms_with_two_absolute_values() -> None:
    """With poles close to the bounds: what is seen there says nothing of elsewhere."""
    draws = np.random.default_rng(3).uniform(-1, 1, (100, 8))

    def q(x: object, k: object) -> jax.Array:
        smooth = (0.1 + abs(k[0])) * jnp.log(x[0] + 1e-9) + (0.1 + abs(k[1])) * jnp.log(x[1] + 1e-9)
        folds = [abs(k[2 + 3 * j]) * 3 * jnp.abs(x[0] + 2 * k[3 + 3 * j] * x[1] - k[4 + 3 * j]) for j in range(2)]
        return smooth - folds[0] - folds[1]

    lattice = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, 15)]), axis=-1).reshape(-1, 2)

    def found(k: jax.Array) -> tuple[jax.Array, jax.Array]:
        levels = jax.vmap(lambda u: q(u, k))(jnp.asarray(lattice))
        u = jnp.asarray(lattice)[jnp.argmax(levels)]
        best = along(lambda u: q(u, k), None, Best(q(u, k), u, jnp.zeros(())), 60, 1e-11)
        return best.value, best.u

    values, u = map(np.asarray, jax.jit(jax.vmap(found))(jnp.asarray(draws)))
    for k, value, at in zip(draws, values, u, strict=True):
        truth = max(zoomed(lambda x, k=k: q(x, k), at), zoomed(lambda x, k=k: q(x, k), np.array([0.5, 0.5])))
        assert value > truth - 1e-6


PARAMS = {"bond": 1.0, "store": 1.15, "cap": 0.4, "discount": 0.95}


def saver(oblique: bool, budget: bool, horizon: int) -> bx.Model:
    """Wealth that is not eaten goes into bonds, and into a store that pays more, up to a cap."""

    def wealth(wealth: object, food: object, stored: object, bond: object, store: object, cap: object) -> object:
        kept = jnp.minimum(stored, cap + 0.3 * food if oblique else cap)
        return bond * (wealth - food - stored) + store * kept + 0.5

    if budget:
        actions = {"food": bx.Continuous(1e-3, 5.0), "stored": bx.Continuous(0.0, 5.0)}
        more = {"constraints": {"budget": bx.nonnegative(lambda wealth, food, stored: wealth - food - stored)}}
    else:
        actions = {
            "food": bx.Continuous(1e-3, lambda wealth: 0.6 * wealth),
            "stored": bx.Continuous(0.0, lambda wealth: 0.4 * wealth),
        }
        more = {}
    return bx.Model(
        states={"wealth": bx.Continuous(0.2, 5.0)},
        actions=actions,
        transitions={"wealth": wealth},
        reward=lambda food: jnp.log(food),
        horizon=horizon,
        **more,
    )


@pytest.mark.parametrize(
    ("oblique", "budget"),
    [
        (True, True),
        pytest.param(False, True, marks=pytest.mark.long),
        pytest.param(True, False, marks=pytest.mark.long),
    ],
)
def test_a_store_that_is_full(oblique: bool, budget: bool) -> None:
    """The search stopped on the ridge: 6e-3 were missed by default, and it said `successful`."""
    solution = bx.solve(saver(oblique, budget, 3), PARAMS)
    assert bx.certify(solution, points=300, agents=50).missed < 1e-6


@pytest.mark.long
def test_two_periods_in_closed_form() -> None:
    """Beyond the cap: c = (w - cap + store cap + .5) / 1.95 of log c + .95 log w', and every derivative of V."""

    def value(wealth: object, cap: object, bond: object) -> jax.Array:
        solution = bx.solve(saver(False, False, 2), PARAMS | {"cap": cap, "bond": bond})
        return solution.value(period=0, wealth=wealth)

    def exact(wealth: float, cap: float, bond: float) -> tuple[float, np.ndarray]:
        """V of the last period is log(.6 w), as 60 % may be eaten at most."""
        total = wealth - cap + (1.15 * cap + 0.5) / bond
        food = total / 1.95
        after = bond * (total - food)
        moved = [bond, -bond + 1.15, wealth - cap - food]
        return np.log(food) + 0.95 * np.log(0.6 * after), 0.95 / after * np.asarray(moved)

    at = (4.0, 0.4, 1.0)
    level, slopes = exact(*at)
    assert abs(float(value(*at)) - level) < 1e-6
    for jacobian in (jax.jacfwd, jax.jacrev):
        found = np.asarray(jacobian(value, argnums=(0, 1, 2))(*at))
        assert np.all(np.abs(found - slopes) < 1e-4)
