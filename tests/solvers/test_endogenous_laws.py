"""Endogenous grids where the law of motion has kinks and steps: bunching, corners and gaps, against plain numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

DISCOUNT = 0.95


def recursion(law, steps, wealth):
    """V of three periods of log utility at some wealth: stretches between steps are scanned, then refined."""

    def best(function, resources, boxes=9):
        """The largest of log consumption and what follows, at many resources at once."""
        found = np.full(resources.shape, -np.inf)
        for begin, end in zip([0.0, *steps], [*steps, np.inf], strict=True):
            low = np.full(resources.shape, begin + 1e-13 * (begin > 0))
            high = np.minimum(end - 1e-13, resources - 1e-12)
            there = high > low
            low, high = np.where(there, low, 0.0), np.where(there, high, 0.5 * resources)
            for _ in range(boxes):  # ever smaller ones around the best
                savings = low + (high - low) * np.linspace(0.0, 1.0, 81)[:, None]
                values = np.log(resources - savings) + DISCOUNT * function(law(savings))
                place, width = np.argmax(values, axis=0)[None], (high - low) / 40
                top, at = (np.take_along_axis(x, place, axis=0)[0] for x in (values, savings))
                found = np.where(there, np.maximum(found, top), found)
                low, high = np.maximum(low, at - width), np.minimum(high, at + width)
        return found

    middle = lambda resources: best(np.log, np.ravel(resources)).reshape(np.shape(resources))  # noqa: E731
    nodes = np.linspace(0.5, 160, 1201)
    table = middle(nodes)  # from which the place of the maximum is known; its value is asked exactly
    values = []
    for resources in wealth:
        candidates = np.unique([*np.linspace(0, resources - 1e-9, 4001), *(s for s in steps if s < resources)])
        rough = np.log(resources - candidates) + DISCOUNT * np.interp(law(candidates), nodes, table)
        exact = lambda a, m=resources: np.log(m - a) + DISCOUNT * middle(law(a))  # noqa: E731
        peaks = [part[np.argmax(rough[part])] for part in np.array_split(np.arange(len(rough)), 40)]
        around = candidates[sorted(peaks, key=lambda k: -rough[k])[:4]]
        values.append(max(zoomed(exact, a, resources) for a in around))
    return np.array(values)


def zoomed(function, middle, resources):
    """The largest value near a point, by ever smaller boxes."""
    width, found = resources / 1000, float(function(np.array([middle]))[0])
    for _ in range(14):
        tried = np.clip(np.linspace(middle - width, middle + width, 9), 0.0, resources - 1e-12)
        values = function(tried)
        place = int(np.argmax(values))
        found, middle, width = max(found, values[place]), tried[place], width / 3
    return found


LAWS = {
    "a step upwards": (lambda a: a + 10.0 + 15.0 * (a >= 30.0), [30.0]),
    "an income floor": (lambda a: jnp.maximum(a, 20.0) + 1.0, [20.0]),
    "a rising return": (lambda a: a + 0.1 * jnp.maximum(a - 25.0, 0.0) + 5.0, [25.0]),
    "a falling return": (lambda a: 1.1 * a - 0.1 * jnp.maximum(a - 25.0, 0.0) + 5.0, [25.0]),
}


def saver(law, horizon=3):
    return bx.Model(
        states={"wealth": bx.Continuous(1.0, 100.0)},
        actions={"consumption": bx.Continuous(1e-6, "wealth")},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        transitions={"wealth": law},
        reward=lambda consumption: jnp.log(consumption),
        horizon=horizon,
    )


def solved(law, maximiser, horizon=3):
    solver = bx.solvers.BackwardInduction(maximiser=maximiser)
    return bx.solve(saver(law, horizon), {"discount": DISCOUNT}, solver)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.long
def test_kinks_and_steps_of_a_law_are_where_they_are(name):
    law, steps = LAWS[name]
    found = solved(lambda savings: law(savings), bx.maximise.DCEGM(grid={"savings": 60}))
    wealth = np.array([12.0, 30.0, 41.0, 58.0])
    plain = lambda a: np.asarray(law(np.asarray(a, float)))  # noqa: E731
    np.testing.assert_allclose(found.value(period=0, wealth=wealth), recursion(plain, steps, wealth), atol=2e-9)


@pytest.mark.long
def test_many_save_just_what_a_step_asks_for():
    found = solved(lambda savings: LAWS["a step upwards"][0](savings), bx.maximise.DCEGM(grid={"savings": 60}), 2)
    wealth = np.array([45.0, 47.0, 50.0])
    savings = wealth - found.policy(period=0, wealth=wealth)["consumption"]
    np.testing.assert_allclose(savings, 30.0, atol=1e-10)


@pytest.mark.long
def test_a_law_that_falls_is_refused_and_enumeration_serves():
    law = lambda savings: savings + 10.0 - 8.0 * (savings >= 30.0)  # noqa: E731
    for method in (bx.maximise.EGM(grid={"savings": 60}), bx.maximise.DCEGM(grid={"savings": 60})):
        with pytest.raises(bx.SolveError, match="'wealth' of tomorrow falls.*Newton"):
            solved(law, method, 2)
    found = solved(law, bx.maximise.Enumerate(grid={"consumption": 500}), 2)
    exact = max(np.log(45 - a) + DISCOUNT * np.log(a + 10.0 - 8.0 * (a >= 30)) for a in np.linspace(0, 29.9999, 20001))
    np.testing.assert_allclose(found.value(period=0, wealth=45.0), exact, atol=1e-4)


@pytest.mark.long
def test_egm_names_dcegm_where_the_problem_is_not_concave():
    law = lambda savings: LAWS["an income floor"][0](savings)  # noqa: E731
    with pytest.raises(bx.SolveError, match=r"EGM: the problem is not concave in period 1.*DCEGM"):
        solved(law, bx.maximise.EGM(grid={"savings": 60}))


def test_who_saves_next_to_nothing_because_its_first_unit_pays_endlessly():
    """Two periods of risk aversion of five: below half a unit, one unit of savings in ten thousand is worth having."""
    utility = lambda c: -0.25 * c**-4.0  # noqa: E731
    law = lambda a, xp: 1.2 * xp.maximum(a, 0.0) ** 0.3 + 1.5  # noqa: E731
    model = bx.Model(
        states={"wealth": bx.Continuous(0.2, 30.0)},
        actions={"consumption": bx.Continuous(1e-6, "wealth")},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        transitions={"wealth": lambda savings: law(savings, jnp)},
        reward=lambda consumption: utility(consumption),
        horizon=2,
    )
    found = bx.solve(model, {"discount": DISCOUNT}, bx.solvers.BackwardInduction(maximiser=bx.maximise.EGM()))
    wealth, share = np.array([0.4, 0.5, 0.7, 1.0, 3.0, 20.0]), np.geomspace(1e-12, 0.999, 40_001)[:, None]
    expected = np.max(utility((1 - share) * wealth) + DISCOUNT * utility(law(share * wealth, np)), axis=0)
    np.testing.assert_allclose(found.value(0, wealth=wealth), expected, rtol=2e-4)
