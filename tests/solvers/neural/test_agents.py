"""`DDPG` and `ActorCritic`: what they learn with little, how they judge themselves, and what they refuse."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.errors import ModelError, SolveError
from bellax.learning.checkpoints import Checkpoint
from bellax.models import job_search, puterman, rbc
from bellax.models.references import brock_mirman
from bellax.numerics.held import held
from bellax.solution.gridless import GridlessSolution
from bellax.solvers.neural.judging import complaint
from bellax.solvers.neural.trained_agents import PreparedAgent

LITTLE = {"environments": 8, "replay": 2000, "batch": 32, "wait": 100, "averaged": 200, "worth": (6,)}
FAST = {"actor_rate": 2e-3, "critic_rate": 5e-3}
GROWTH = rbc.growth(0.5 * rbc.STEADY, 1.5 * rbc.STEADY)
CAPITAL = rbc.STEADY * np.linspace(0.55, 1.45, 10)
ALPHA, BETA = rbc.params["alpha"], rbc.params["discount"]


def noisy(**options):
    wait = min(LITTLE["wait"], options.get("steps", 30_000) // 2)
    return bx.solvers.DDPG(hidden=(16, 16), **LITTLE | FAST | {"wait": wait} | options)


# -- what they learn


def test_ddpg_learns_to_save():
    """The share alpha beta of output, and what that is worth, Brock & Mirman (1972)."""
    solver = noisy(steps=3000, batch=64, replay=5000, noise=(0.3, 0.1), tolerance=0.05, seed=0)
    solution = bx.solve(GROWTH, rbc.params, solver)
    at = {"capital": CAPITAL[:, None], "productivity": rbc.LEVELS}
    exact = brock_mirman(ALPHA, BETA, rbc.LEVELS, rbc.TRANSITION, weight=1 - BETA)
    saved, value = solution.policy(**at)["capital_next"], exact.value(CAPITAL)
    off = np.abs(np.asarray(saved) / exact.capital_next(CAPITAL) - 1)
    assert off.mean() < 0.05 and off.max() < 0.12
    np.testing.assert_allclose(solution.value(**at), value, atol=0.05 * np.std(value))
    panel = bx.simulate(solution, agents=3, periods=5, start=rbc.start, seed=0)
    assert np.all(np.isfinite(panel.frame()["capital"]))


def test_actor_critic_finds_putermans_policy():
    solver = bx.solvers.ActorCritic(hidden=(8,), steps=300, dropped=1, **LITTLE | FAST)
    solution = bx.solve(puterman.model, puterman.params, solver)
    states = np.arange(2)
    np.testing.assert_array_equal(solution.policy(state=states)["action"], [0, 1])
    np.testing.assert_allclose(solution.value(state=states), [-8.5714286, -20.0], rtol=1e-6)


@pytest.mark.long
def test_actor_critic_stops_at_the_reservation_wage():
    """Perla, Sargent & Stachurski: 47.3165."""
    solver = bx.solvers.ActorCritic(hidden=(8,), steps=300, expected=False, depth=2, **LITTLE | FAST)
    solution = bx.solve(job_search.model, job_search.params, solver)
    offers = job_search.params["wages"]
    np.testing.assert_array_equal(solution.policy(wage=offers)["stop"], offers > 47.3164998)
    exact = [job_search.reference(job_search.params, wage)["value"] for wage in offers]
    np.testing.assert_allclose(solution.value(wage=offers), exact, rtol=1e-3)


def pay(x, machine, a):
    return jnp.where(machine == 0, -((a - 0.3) ** 2), 0.5 * x - (a - 0.7) ** 2)


TWO_MACHINES = bx.Model(
    states={"x": bx.IID(bx.shocks.Uniform(lower=-1.0, upper=1.0))},
    actions={"machine": bx.Discrete(2), "a": bx.Continuous(0.0, 1.0)},
    constraints={"runs": lambda x, machine: (machine == 0) | (x < 0.5)},
    reward=pay,
    horizon=3,
    terminal=lambda x: 2.0 * x,
)


@pytest.mark.long
def test_machines_with_settings_of_their_own():
    """The second machine where it pays and runs: V_t(x) = max(x/2 [x < 1/2], 0) + beta E V_t+1, and E V_3 = 0."""
    solver = bx.solvers.ActorCritic(
        hidden=(16,), steps=1500, through=True, quadrature={"x": 32}, tolerance=0.03, **LITTLE | FAST
    )
    solution = bx.solve(TWO_MACHINES, {"discount": 0.5}, solver)
    x = np.array([-0.9, -0.4, 0.1, 0.45, 0.55, 0.9])
    runs = (x > 0) & (x < 0.5)
    expected = 0.25 * 0.125  # of max(x/2, 0) where it runs
    for period, later in ((0, 0.75 * expected), (1, 0.5 * expected), (2, 0.0)):
        found = solution.policy(period=period, x=x)
        np.testing.assert_array_equal(found["machine"], runs.astype(int))
        np.testing.assert_allclose(found["a"], np.where(runs, 0.7, 0.3), atol=0.03)
        np.testing.assert_allclose(solution.value(period=period, x=x), np.where(runs, x / 2, 0) + later, atol=0.01)
    np.testing.assert_allclose(solution.value(period=3, x=x), 2 * x)


# -- how a step is made


@pytest.fixture(scope="module")
def ready():
    """A training of the growth model, three critics of which the largest does not count, and its first states."""
    options = {"steps": 40, "wait": 0, "averaged": 100, "ensemble": 3, "dropped": 1, "through": False}
    solver = bx.solvers.ActorCritic(hidden=(4,), **LITTLE | options)
    prepared = solver.prepare(GROWTH)
    arguments = prepared.arguments(rbc.params)
    begun, state = jax.jit(lambda arguments: prepared.begin(arguments, None))(arguments)
    step = jax.jit(lambda arguments, begun, state: prepared.method(arguments, begun).step(state))
    states = [state]
    for _ in range(3):
        states.append(step(arguments, begun, states[-1]))
    return SimpleNamespace(prepared=prepared, arguments=arguments, begun=begun, states=states)


def test_copies_follow_slowly_and_the_actor_is_averaged(ready):
    for before, after in zip(ready.states[:-1], ready.states[1:], strict=True):
        for old, own, new in zip(before.copies, after.own, after.copies, strict=True):
            np.testing.assert_allclose(new, 0.95 * np.asarray(old) + 0.05 * np.asarray(own), atol=1e-12)
            assert np.max(np.abs(np.asarray(own) - np.asarray(old))) > 1e-5
    actors = [np.asarray(state.own.actor) for state in ready.states[1:]]
    np.testing.assert_allclose(ready.states[-1].actor, np.mean(actors, axis=0), atol=1e-12)


def test_the_largest_estimate_does_not_count(ready):
    q = np.random.default_rng(0).normal(size=(3, 1))
    found = ready.prepared.roles.truncated(jnp.asarray(q))
    np.testing.assert_allclose(found, np.sort(q, axis=0)[:2].mean(axis=0))


def test_targets_are_expectations(ready):
    """E[r + beta V(s')] of a row of the ring, over productivity by hand."""
    state, method = ready.states[-1], ready.prepared.method(ready.arguments, ready.begun)
    row = jax.tree.map(lambda leaf: leaf[5], state.replay.rows)

    def both(row, saved):
        target = method.target(state.copies, row, jax.random.key(0))
        worth = lambda z: method.later(state.copies, row.number, {"capital": saved, "productivity": z}, None, 0)  # noqa: E731
        return target, jax.vmap(worth)(jnp.asarray(rbc.LEVELS))

    saved = row.following["capital"]
    target, worth = jax.jit(both)(row, saved)
    place = int(np.argmin(np.abs(rbc.LEVELS - float(row.states["productivity"]))))
    expected = float(row.reward) + BETA * rbc.TRANSITION[place] @ np.asarray(worth)
    np.testing.assert_allclose(target, expected, rtol=1e-9)


def test_an_actor_begins_with_what_is_known():
    rule = {"capital_next": lambda capital, productivity, alpha: 0.2 * productivity * capital**alpha}
    prepared = noisy(steps=40, warm_start=rule).prepare(GROWTH)
    arguments = prepared.arguments(rbc.params)
    _, state = jax.jit(prepared.begin)(arguments, prepared.prior(arguments))
    roles, seen = prepared.roles, prepared.inputs(arguments)
    for capital in (CAPITAL[0], CAPITAL[-1]):
        u = roles.see(seen, 0, {"capital": jnp.asarray(capital), "productivity": jnp.asarray(1.0)})
        np.testing.assert_allclose(roles.shares(roles.candidates(state.own.actor, u)[0]), 0.2, atol=1e-3)
    solver = bx.solvers.ActorCritic(
        hidden=(4,), steps=5, warm_start={"action": lambda state: state}, **LITTLE | {"wait": 1}
    )
    with pytest.raises(ModelError, match="ActorCritic takes no warm_start= of such a model"):
        bx.solve(puterman.model, puterman.params, solver)


def test_critics_begin_with_the_value_that_is_known():
    """Q = r + beta E V(s'), with V of Brock & Mirman: largest at the best share."""
    exact = brock_mirman(ALPHA, BETA, rbc.LEVELS, rbc.TRANSITION, weight=1 - BETA)
    slope, levels = ALPHA * (1 - BETA) / (1 - ALPHA * BETA), jnp.asarray(exact.value(np.ones(1))[0])
    rule = {
        "capital_next": lambda capital, productivity, alpha, discount: alpha * discount * productivity * capital**alpha,
        "value": lambda capital, productivity: (
            slope * jnp.log(capital) + levels[jnp.argmin(jnp.abs(jnp.asarray(rbc.LEVELS) - productivity))]
        ),
    }
    prepared = noisy(steps=40, warm_start=rule).prepare(GROWTH)
    arguments = prepared.arguments(rbc.params)
    scale, state = jax.jit(prepared.begin)(arguments, prepared.prior(arguments))
    roles, seen, shares = prepared.roles, prepared.inputs(arguments), np.linspace(0.2, 0.6, 9)
    u = roles.see(seen, 0, {"capital": jnp.asarray(CAPITAL[5]), "productivity": jnp.asarray(1.0)})
    said = jax.vmap(lambda share: roles.q(state.own.critics, u, roles.outputs_of(share)[None])[0, 0])(shares[:, None])
    said = scale.level + scale.unit * said
    output = CAPITAL[5] ** ALPHA
    later = exact.value(shares * output) @ rbc.TRANSITION[2]
    true = (1 - BETA) * np.log(output * (1 - shares)) + BETA * later
    np.testing.assert_allclose(said, true, atol=0.25 * np.ptp(true))
    assert abs(shares[np.argmax(said)] - ALPHA * BETA) < 0.1


# -- how they judge themselves


@pytest.fixture(scope="module")
def judge():
    """What comes of a growth model whose actor saves a given share of output everywhere."""
    prepared = noisy(steps=40, worth=(4,)).prepare(GROWTH)
    arguments = prepared.arguments(rbc.params)
    begun, state = jax.jit(lambda arguments: prepared.begin(arguments, None))(arguments)
    finish = jax.jit(prepared.finish)
    shape = prepared.roles.actor
    bias = shape.weights - shape.outputs - shape.inputs * shape.outputs  # before the straight line

    def of(share, **doctored):
        actor = jnp.zeros(shape.weights).at[bias].set(np.log(share / (1 - share)))
        values, code, stats = finish(arguments, begun, state._replace(actor=actor, **doctored))
        found = GridlessSolution(arguments=arguments, values=values, code=code, stats=stats, setting=prepared)
        return found, prepared.explain(found)

    return of


def worth_of(share, capital, productivity):
    """V of saving a share of output for ever: A(z) + B log k."""
    slope = (1 - BETA) * ALPHA / (1 - ALPHA * BETA)
    now = (1 - BETA) * (np.log(1 - share) + np.log(rbc.LEVELS))
    later = BETA * slope * (np.log(share) + np.log(rbc.LEVELS))
    level = np.linalg.solve(np.eye(5) - BETA * rbc.TRANSITION, now + later)
    return level[productivity] + slope * np.log(capital)


@pytest.mark.parametrize("share", [ALPHA * BETA, 0.29])
def test_v_is_what_the_policy_is_worth(judge, share):
    """Whatever it is; only the best is called successful."""
    found, wrong = judge(share)
    best = share == ALPHA * BETA
    assert (wrong == "") == best
    run = jax.jit(lambda k, z: found.pointwise.at(0)({"capital": k, "productivity": z}))
    for place in (0, 3):
        for capital in (CAPITAL[0], CAPITAL[-1]):
            chosen = run(jnp.asarray(capital), jnp.asarray(rbc.LEVELS[place]))
            assert float(chosen.value) == pytest.approx(worth_of(share, capital, place), abs=1e-6)
    # a share that is off by d loses (1 - beta) (d / s)^2 / (2 (1 - s)) a period near the optimum, to second order
    if not best:
        lost = worth_of(ALPHA * BETA, rbc.STEADY, 2) - worth_of(share, rbc.STEADY, 2)
        spread = np.std([worth_of(share, k, z) for k in CAPITAL for z in range(5)])
        assert float(found.stats["gain"]) == pytest.approx(lost / spread, rel=0.5)
        assert "has not converged" in wrong and "tolerance=0.01" in wrong


def test_a_trap_is_named(judge):
    _, wrong = judge(0.999)
    assert "DDPG" in wrong and "trap" in wrong and "100% of its actions lie at a bound" in wrong


def test_weights_that_diverged_are_named(judge):
    found, wrong = judge(np.nan, diverged=jnp.asarray(7, jnp.int32))
    assert found.result == bx.Result.nonfinite
    assert "diverged in step 7" in wrong and "critic_rate" in wrong


def test_paths_that_leave_are_named():
    stats = {"residual": 0.1, "gain": 0.0, "leaving": 0.2, "at_bound": 0.0}
    assert "Paths leave the box" in complaint("DDPG", np.asarray(1), stats, 0.01)


def test_what_may_not_be_done_is_named():
    model = bx.Model(
        states={"x": bx.IID(bx.shocks.Uniform())},
        actions={"machine": bx.Discrete(2)},
        constraints={"runs": lambda x, machine: (machine == 0) & (x < 0.5)},
        reward=lambda x, machine: x - machine,
    )
    solver = bx.solvers.ActorCritic(hidden=(4,), steps=5, **LITTLE | {"wait": 1})
    with pytest.raises(SolveError, match="nothing may be done"):
        bx.solve(model, {"discount": 0.5}, solver)


def test_no_number_is_named_with_its_step():
    """A root of what walks below zero: in the step in which a list of numbers says it does."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"a": bx.Continuous(0.0, 1.0)},
        transitions={"x": lambda x: x + 0.05},
        reward=lambda x, a: jnp.sqrt(0.45 - x) * a,
    )
    options = LITTLE | {"environments": 1, "batch": 4, "restarts": 0.0, "steps": 101}
    solver = bx.solvers.DDPG(hidden=(4,), box={"x": (0.0, 0.3)}, **options)
    prepared = solver.prepare(model)
    arguments = prepared.arguments({"discount": 0.5})
    _, state = jax.jit(lambda arguments: prepared.begin(arguments, None))(arguments)
    x, steps = float(state.at.states["x"][0]), 0
    while x <= 0.45:
        x, steps = x + 0.05, steps + 1
    assert steps > 1
    with pytest.raises(SolveError, match=f"no number in step {steps} of the training"):
        bx.solve(model, {"discount": 0.5}, solver)


# -- what goes on


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr(PreparedAgent, "block", 10)
    folder, told = tmp_path / "kept", []
    solver = noisy(steps=40, checkpoint=folder)
    whole = bx.solve(GROWTH, rbc.params, solver, throw=False, progress=lambda *found: told.append(found[0]))
    assert told == [10, 20, 30, 40]
    folder.rename(tmp_path / "elsewhere")
    save = Checkpoint.save

    def killed(self, step, state):
        save(self, step, state)
        if step == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            bx.solve(GROWTH, rbc.params, solver, throw=False)
    resumed = bx.solve(GROWTH, rbc.params, solver, throw=False, progress=lambda *found: told.append(found[0]))
    assert told[4:] == [30, 40]
    for one, other in zip(jax.tree.leaves(whole.values), jax.tree.leaves(resumed.values), strict=True):
        np.testing.assert_array_equal(one, other)


# -- what they refuse


@pytest.mark.parametrize("what", ["value", "policy"])
def test_derivatives_in_parameters_are_refused(what):
    def asked(discount):
        solution = bx.compile(GROWTH, noisy(steps=40))(rbc.params | {"discount": discount})
        found = getattr(solution, what)(capital=rbc.STEADY, productivity=1.0)
        return found if what == "value" else found["capital_next"]

    with pytest.raises(ModelError, match="does not move with parameters"):
        jax.eval_shape(jax.grad(asked), 0.95)


def test_what_is_held_moves_with_all_else():
    at = lambda p, s: held(jnp.sin(s) * jax.lax.stop_gradient(p), {"p": p}, "no")  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.grad(lambda s: at(2.0, s)))(0.3), 2 * np.cos(0.3), rtol=1e-12)
    with pytest.raises(ModelError, match="^no"):
        jax.grad(lambda p: at(p, 0.3))(2.0)


@pytest.mark.parametrize(
    ("solver", "options", "says"),
    [
        ("DDPG", {"decay": 2.0}, "decay is 2.0"),
        ("DDPG", {"restarts": -0.1}, "restarts is -0.1"),
        ("DDPG", {"noise": (0.3, 0.0)}, "noise is"),
        ("DDPG", {"replay": 10}, "replay=10"),
        ("DDPG", {"steps": 0}, "steps"),
        ("DDPG", {"batch": 1.5}, "batch"),
        ("DDPG", {"critic_rate": -1.0}, "critic_rate"),
        ("DDPG", {"worth": (0,)}, "worth"),
        ("DDPG", {"ensemble": 2}, "ensemble"),
        ("ActorCritic", {"dropped": 2}, "dropped=2 leaves none of ensemble=2"),
        ("ActorCritic", {"depth": 0}, "depth"),
        ("ActorCritic", {"through": True, "expected": False}, "a draw of a category has no slope"),
    ],
)
def test_options_that_mean_nothing(solver, options, says):
    with pytest.raises(ModelError, match=says):
        getattr(bx.solvers, solver)(**options)


def test_models_that_they_do_not_solve():
    bought = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"a": bx.Continuous(0.0, 1.0), "b": bx.Continuous(0.0, 1.0)},
        constraints={"budget": lambda x, a, b: a + b <= x},
        transitions={"x": lambda a: a},
        reward=lambda a, b: a - b,
    )
    idle = bx.Model(states={"x": bx.IID(bx.shocks.Uniform())}, reward=lambda x: x)
    for model, solver, says in (
        (puterman.model, bx.solvers.DDPG(), "takes actions that are numbers"),
        (job_search.model, bx.solvers.DDPG(), "does not stop"),
        (bought, bx.solvers.DDPG(), "the constraint 'budget' is on 'a', 'b'"),
        (idle, bx.solvers.ActorCritic(), "nothing is decided"),
        (idle, bx.solvers.DDPG(), "nothing is decided"),
    ):
        with pytest.raises(ModelError, match=says):
            bx.solve(model, {"discount": 0.5}, solver)
