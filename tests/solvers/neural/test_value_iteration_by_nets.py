"""Actors and critics beside closed forms and enumeration; derivatives, and checkpoints."""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.learning.checkpoints import Checkpoint
from bellax.models import puterman
from bellax.solvers.neural.value_iteration import NeuralValueIteration

SMALL: dict[str, Any] = {"hidden": (8,), "points": 160}
PARAMS = {"alpha": 0.3, "discount": 0.9}


def growth() -> bx.Model:
    """Brock & Mirman's model with two productivities: k' = alpha beta z k^alpha."""
    return bx.Model(
        states={
            "capital": bx.Continuous(0.05, 0.3, scale=bx.scales.log),
            "productivity": bx.MarkovChain(np.array([0.9, 1.1]), np.array([[0.8, 0.2], [0.3, 0.7]])),
        },
        actions={"saved": bx.Continuous(0.0, "output")},
        functions={"output": lambda productivity, capital, alpha: productivity * capital**alpha},
        transitions={"capital": lambda saved: saved},
        reward=lambda output, saved: jnp.log(output - saved),
    )


MODEL = growth()
AT: dict[str, Any] = {"capital": np.linspace(0.06, 0.29, 24)[:, None], "productivity": np.array([0.9, 1.1])}


def saved(alpha: float, discount: float) -> np.ndarray:
    return alpha * discount * AT["productivity"] * AT["capital"] ** alpha


def value(alpha: float, discount: float) -> np.ndarray:
    """V = A(z) + B log k by hand: A = r + beta P A, r what is left of consumption and tomorrow's log k."""
    slope = alpha / (1 - alpha * discount)
    kept = alpha * discount
    z = np.array([0.9, 1.1])
    paid = np.log(1 - kept) + np.log(z) + discount * slope * (np.log(kept) + np.log(z))
    levels = np.linalg.solve(np.eye(2) - discount * np.array([[0.8, 0.2], [0.3, 0.7]]), paid)
    return levels + slope * np.log(AT["capital"])


@pytest.fixture(scope="module")
def told() -> list[tuple[int, float]]:
    return []


@pytest.fixture(scope="module")
def solution(told: list[tuple[int, float]]) -> Any:
    solver = NeuralValueIteration(**SMALL)
    return bx.solve(MODEL, PARAMS, solver, progress=lambda steps, left: told.append((steps, left)))


def test_least_squares_find_the_closed_form(solution: Any) -> None:
    assert np.max(np.abs(np.asarray(solution.policy(**AT)["saved"]) / saved(0.3, 0.9) - 1)) < 1e-4
    assert np.max(np.abs(np.asarray(solution.value(**AT)) - value(0.3, 0.9))) < 1e-4
    assert float(solution.stats["euler_error_mean"]) < 1e-5


def test_progress_tells_steps_and_what_is_left(solution: Any, told: list[tuple[int, float]]) -> None:
    steps, left = zip(*told, strict=True)
    assert list(steps) == sorted(steps)
    assert steps[-1] == int(solution.stats["steps"])
    assert np.all(np.isfinite(left))
    assert left[-1] < 1e-5


def test_paths_are_simulated(solution: Any) -> None:
    panel = bx.simulate(solution, agents=50, periods=60, start={"capital": 0.1, "productivity": 1.1}, seed=1)
    frame = panel.frame()
    share = frame["saved"] / (frame["productivity"] * frame["capital"] ** 0.3)
    assert np.max(np.abs(share / 0.27 - 1)) < 1e-3


@pytest.mark.long
def test_what_is_known_before_is_begun_with() -> None:
    prior = {
        "saved": lambda productivity, capital, alpha, discount: alpha * discount * productivity * capital**alpha,
        "value": lambda capital, productivity: 4.1 * jnp.log(productivity) + 0.3 / 0.73 * jnp.log(capital) - 13.2,
    }
    few = bx.solvers.LeastSquares(alternations=1, evaluation=3, improvement=1, candidates=3)
    options = {**SMALL, "trainer": few, "tolerance": 0.1}
    cold = bx.solve(MODEL, PARAMS, NeuralValueIteration(**options), throw=False)
    warm = bx.solve(MODEL, PARAMS, NeuralValueIteration(**options, warm_start=prior), throw=False)
    assert float(warm.stats["euler_error_mean"]) < 0.1 * float(cold.stats["euler_error_mean"])
    with pytest.raises(bx.ModelError, match="takes no warm_start= of such a model"):
        bx.solve(puterman.model, puterman.params, NeuralValueIteration(hidden=(3,), points=32, warm_start=prior))


@pytest.mark.long
def test_derivatives_are_those_of_the_closed_form() -> None:
    solver = NeuralValueIteration(**SMALL, trainer=bx.solvers.LeastSquares(alternations=8))

    def asked(params: dict[str, Any]) -> jax.Array:
        found = bx.solve(MODEL, params, solver)
        return jnp.stack([found.policy(**AT)["saved"], found.value(**AT)])

    # forward mode passes the weights once for each parameter
    slopes = jax.jacfwd(asked)({name: jnp.asarray(number) for name, number in PARAMS.items()})
    for name, number in PARAMS.items():
        step = 1e-6
        above, below = ({**PARAMS, name: number + h} for h in (step, -step))
        for place, exact in enumerate((saved, value)):
            differences = (exact(**above) - exact(**below)) / (2 * step)
            gap = np.abs(np.asarray(slopes[name][place]) - differences)
            assert np.max(gap) < 1e-3 * np.max(np.abs(differences)), (name, place)


def test_a_training_that_is_stopped_goes_on_to_the_same_bits(
    solution: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    solver = NeuralValueIteration(**SMALL, checkpoint=tmp_path / "kept")
    save, count = Checkpoint.save, []

    def stopped(self: Checkpoint, step: int, state: Any) -> None:
        save(self, step, state)
        count.append(step)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        bx.solve(MODEL, PARAMS, solver)
    monkeypatch.setattr(Checkpoint, "save", save)
    resumed = bx.solve(MODEL, PARAMS, solver)
    assert float(solution.stats["steps"]) == float(resumed.stats["steps"])
    for ours, other in zip(jax.tree.leaves(solution.values), jax.tree.leaves(resumed.values), strict=True):
        assert np.array_equal(ours, other)


@pytest.fixture(scope="module")
def descended() -> NeuralValueIteration:
    trainer = bx.solvers.Gradients(steps=5000, batch=32, rate=1e-2)
    return NeuralValueIteration(hidden=(8,), trainer=trainer, tolerance=3e-2)


def test_gradients_come_near_the_closed_form(descended: NeuralValueIteration) -> None:
    found = bx.solve(MODEL, PARAMS, descended)
    assert float(found.stats["euler_error_mean"]) < 3e-3
    assert np.mean(np.abs(np.asarray(found.policy(**AT)["saved"]) / saved(0.3, 0.9) - 1)) < 3e-3


def test_what_gradients_found_has_no_derivative() -> None:
    solver = NeuralValueIteration(hidden=(4,), trainer=bx.solvers.Gradients(steps=2, batch=4))
    with pytest.raises(bx.ModelError, match=r"no derivative in parameters.*LeastSquares"):
        jax.grad(lambda alpha: bx.solve(MODEL, PARAMS | {"alpha": alpha}, solver).value(capital=0.1, productivity=0.9))(
            0.3
        )


@pytest.mark.long
def test_a_quadratic_advantage_finds_the_closed_form() -> None:
    found = bx.solve(MODEL, PARAMS, NeuralValueIteration(**SMALL, advantage=bx.solvers.Quadratic(hidden=(4,))))
    assert np.max(np.abs(np.asarray(found.policy(**AT)["saved"]) / saved(0.3, 0.9) - 1)) < 1e-4
    assert np.max(np.abs(np.asarray(found.value(**AT)) - value(0.3, 0.9))) < 1e-4


def test_discrete_states_and_actions_are_exact() -> None:
    found = bx.solve(puterman.model, puterman.params, NeuralValueIteration(hidden=(3,), points=32))
    states = np.array([0, 1])
    discount = puterman.params["discount"]
    exact = [(5 - 5.5 * discount) / ((1 - discount / 2) * (1 - discount)), -1 / (1 - discount)]
    assert np.max(np.abs(np.asarray(found.value(state=states)) - exact)) < 1e-9
    assert np.array_equal(np.asarray(found.policy(state=states)["action"]), [0, 1])


@pytest.mark.long
def test_tomorrows_bounds_are_tomorrows_and_the_last_value_is_the_models() -> None:
    """A cake of three periods: V_t = sum of beta^k log c_k, and c is the share 1 / (1 + beta + ...) of what is left."""
    model = bx.Model(
        states={"cake": bx.Continuous(0.1, 2.0, scale=bx.scales.log)},
        actions={"eaten": bx.Continuous(0.0, "cake")},
        transitions={"cake": lambda cake, eaten: cake - eaten},
        reward=lambda eaten: jnp.log(eaten),
        terminal=lambda cake: jnp.log(cake),
        horizon=2,
    )
    found = bx.solve(model, {"discount": 0.9}, NeuralValueIteration(**SMALL, box={"cake": (0.05, 2.0)}))
    cake = np.array([0.5, 1.0, 1.9])
    for period, left in ((0, 1 + 0.9 + 0.81), (1, 1 + 0.9)):
        eaten = np.asarray(found.policy(period=period, cake=cake)["eaten"])
        assert np.max(np.abs(eaten * left / cake - 1)) < 1e-4
    plan = [1 / 2.71, (1 - 1 / 2.71) / 1.9, (1 - 1 / 2.71) * 0.9 / 1.9]
    exact = sum(0.9**k * np.log(cake * share) for k, share in enumerate(plan))
    assert np.max(np.abs(np.asarray(found.value(period=0, cake=cake)) - exact)) < 1e-4


class Machine(enum.IntEnum):
    old = 0
    new = 1


@pytest.mark.long
def test_combinations_have_actions_of_their_own() -> None:
    """Output of the old machine is concave in effort, the new one has a price: which is better is a matter of z."""
    model = bx.Model(
        states={"z": bx.MarkovChain(np.array([0.5, 2.0]), np.array([[0.6, 0.4], [0.3, 0.7]]))},
        actions={"machine": bx.Discrete(Machine), "effort": bx.Continuous(0.0, 6.0)},
        reward=lambda z, machine, effort: (
            jnp.where(machine == Machine.new, 2.0, 1.0) * z * effort - effort**2 / 2 - 1.0 * (machine == Machine.new)
        ),
    )
    found = bx.solve(model, {"discount": 0.8}, NeuralValueIteration(hidden=(3,), points=32))
    z = np.array([0.5, 2.0])
    efforts = np.stack([z, 2 * z])
    paid = np.stack([z * efforts[0] - efforts[0] ** 2 / 2, 2 * z * efforts[1] - efforts[1] ** 2 / 2 - 1])
    best = np.argmax(paid, axis=0)
    exact = np.linalg.solve(np.eye(2) - 0.8 * np.array([[0.6, 0.4], [0.3, 0.7]]), np.max(paid, axis=0))
    policy = found.policy(z=z)
    assert np.array_equal(np.asarray(policy["machine"]), best)
    assert np.max(np.abs(np.asarray(policy["effort"]) - efforts[best, [0, 1]])) < 1e-4
    assert np.max(np.abs(np.asarray(found.value(z=z)) - exact)) < 1e-4


def test_stopping_is_weighed() -> None:
    """McCall's searcher with a chain of offers: stop for w / (1 - beta), or wait for c and another offer."""
    offers, row = np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.4, 0.3, 0.2, 0.1])
    model = bx.Model(
        states={"offer": bx.MarkovChain(offers, np.tile(row, (4, 1)))},
        reward="benefit",
        stop=lambda offer, discount: offer / (1 - discount),
    )
    found = bx.solve(model, {"discount": 0.9, "benefit": 0.6}, NeuralValueIteration(hidden=(3,), points=32))
    exact = offers / 0.1
    for _ in range(2000):
        exact = np.maximum(offers / 0.1, 0.6 + 0.9 * row @ exact)
    assert np.max(np.abs(np.asarray(found.value(offer=offers)) - exact)) < 1e-8
    assert np.array_equal(np.asarray(found.policy(offer=offers)["stop"]), offers / 0.1 >= 0.6 + 0.9 * row @ exact)
