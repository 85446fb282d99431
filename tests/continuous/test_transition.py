"""Paths after a shock: conservation, closed forms, and what is refused."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import aiyagari_ct as economy

TIMES = np.array([0.0, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0])
STILL = {name: value for name, value in economy.economy.items() if name != "productivity"}


@pytest.fixture(scope="module")
def end():
    return bx.equilibrium(economy.model, economy.economy, **economy.equilibrium, solver=economy.by(40))


def path(end, size=0.0, **changes):
    given = {
        "paths": {"productivity": 0.1 * (1 + size * np.exp(-TIMES))},
        "unknowns": ["interest"],
        "aggregates": {"assets": "assets", "labor": "skill"},
        "conditions": economy.equilibrium["conditions"],
        "times": TIMES,
    }
    return bx.transition_path(economy.model, STILL, end=end, **(given | changes))


def test_nothing_happens_without_a_shock(end):
    found = path(end)
    np.testing.assert_allclose(found.unknowns["interest"], end.unknowns["interest"], atol=1e-9)
    np.testing.assert_allclose(found.mass, np.broadcast_to(end.density.mass, found.mass.shape), atol=1e-8)
    assert "TransitionPath of 8 times until 80; what is left: capital" in str(found)


def test_a_shock_to_productivity(end):
    """Capital is what it was; mass is conserved; half of the shock does about half as much, and half of what bends."""
    base, halves = end.unknowns["interest"], []
    for size in (0.02, 0.01, 0.005):
        found = path(end, size)
        halves.append(np.asarray(found.unknowns["interest"] - base) / size)
        assert float(jnp.max(jnp.abs(found.residuals["capital"][:-1]))) < 1e-8
        np.testing.assert_allclose(found.aggregates["assets"][0], end.aggregates["assets"], rtol=1e-12)
        np.testing.assert_allclose(jnp.sum(found.mass, axis=(1, 2)), 1.0, atol=1e-12)
    # capital stands still at first, and firms pay what it produces
    np.testing.assert_allclose(halves[2][0], base + STILL["depreciation"], rtol=1e-6)
    assert 1.8 < np.max(np.abs(halves[0] - halves[1])) / np.max(np.abs(halves[1] - halves[2])) < 2.2


def test_where_it_starts(end):
    """All at the low skill: shares go to one half as implicit steps have it, whatever they save."""
    mass = end.density.mass
    poor = eqx.tree_at(lambda d: d.mass, end.density, jnp.stack([mass.sum(axis=1), 0 * mass[:, 1]], axis=1))
    found = path(end, start=poor)
    shares = np.cumprod(np.concatenate([[1.0], 1 / (1 + 2 / 3 * np.diff(TIMES))]))
    np.testing.assert_allclose(found.aggregates["labor"], 1.5 - 0.5 * shares, rtol=1e-12)
    np.testing.assert_allclose(found.at(3).mean("skill"), found.aggregates["labor"][3], rtol=1e-12)


def test_partial_equilibrium(end):
    """With an interest rate of one's own; a solve that fails is named with its time."""
    rate = float(end.unknowns["interest"])
    given = {"unknowns": (), "conditions": {}, "times": None, "duration": 40.0, "step": 10.0}
    paths = {"productivity": np.full(5, 0.1), "interest": np.full(5, rate)}
    found = path(end.solution, **given, paths=paths)
    np.testing.assert_allclose(found.aggregates["assets"], end.aggregates["assets"], rtol=1e-8)
    assert found.residuals == {} and found.times[1] == 10.0
    with pytest.raises(bx.SolveError, match="at time 10: "):
        path(end.solution, **given, paths=paths | {"interest": np.array([rate, np.nan, rate, rate, rate])})
    with pytest.raises(bx.SolveError, match="the population is not where the end has it: .* and settled=1e-05"):
        path(end.solution, **given, paths=paths | {"interest": rate - 0.002 * np.array([1, 1, 1, 1, 0])}, settled=1e-5)
    with pytest.raises(bx.ParameterError, match="'interest' is off by 0.002 at last from where the end has it"):
        path(end.solution, **given, paths=paths | {"interest": np.full(5, rate - 0.002)})


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"paths": {"productivity": np.ones(3)}}, bx.ParameterError, r"has shape \(3,\), and there are 8 times"),
        ({"paths": {"productivity": np.ones(8), "share": np.ones(8)}}, bx.ParameterError,
         "'share' has a path, and is a parameter, too"),
        ({"paths": {"productivity": np.ones(8), "skil": np.ones(8)}}, bx.ParameterError, "'skil'"),
        ({"times": None}, bx.ModelError, "lacks times"),
        ({"step": 1.0}, bx.ModelError, "has times=, and duration= or step=, too"),
        ({"times": None, "duration": 40.0, "step": 15.0}, bx.ModelError, "40 is no whole number of steps of 15"),
        ({"times": np.array([1.0, 2.0])}, bx.ParameterError, "times must increase from 0"),
        ({"unknowns": ["wages"], "conditions": {"capital": "assets"}}, bx.ModelError,
         "the unknown 'wages' is no parameter"),
        ({"conditions": {}}, bx.ModelError, "the unknown 'interest' has no condition"),
        ({"max_steps": 1}, bx.SolveError, "no path of 'interest' is found after 1 paths.*the condition 'capital' is"),
        ({"end": None}, bx.ModelError, "end is None; give"),
    ],
)  # fmt: skip
def test_what_is_no_path(end, changes, kind, words, untyped):
    with pytest.raises(kind, match=words):
        path(end, 0.02, **changes) if "end" not in changes else path(None)


def test_the_end_is_of_the_same_model(end):
    other = bx.DiffusionModel(**{n: getattr(economy.model, n) for n in ("states", "drift", "boundary")}, reward=0.0)
    with pytest.raises(bx.ModelError, match="the end is that of another model"):
        bx.transition_path(other, {}, {}, end.solution, times=TIMES)
