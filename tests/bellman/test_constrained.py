"""Optima on the edges of smooth constraints: choices, chains, edges that bend, meet or say what bounds say already."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

W = np.array([0.5, 1.0, 2.0])


def solved(reward, actions, constraints, params=None, **slots):
    """A single decision at states w, by Newton."""
    slots = {"states": {"w": bx.Continuous(0.1, 3.0)}, "transitions": {"w": bx.fixed}, "discount": 0.9, **slots}
    model = bx.Model(actions=actions, constraints=constraints, reward=reward, horizon=1, **slots)
    solver = bx.solvers.BackwardInduction(grid={"w": 4}, interpolant=bx.interpolants.Linear())
    return bx.solve(model, params or {}, solver)


def goods(upper=10.0):
    return {"c": bx.Continuous(0.0, upper), "h": bx.Continuous(0.0, upper)}


def test_an_edge_that_bends():
    """max c + 2h on a disc of radius w: (1, 2) w / sqrt 5, from candidates of a box of which the disc is a corner."""
    disc = bx.nonnegative(lambda w, c, h: w**2 - c**2 - h**2)
    found = solved(lambda c, h: c + 2 * h, goods(50.0), {"disc": disc})
    chosen = found.policy(period=0, w=W)
    np.testing.assert_allclose(chosen["c"], W / 5**0.5, rtol=1e-8)
    np.testing.assert_allclose(found.value(period=0, w=W), 5**0.5 * W, rtol=1e-12)
    steep = jax.vmap(jax.grad(lambda w: found.value(period=0, w=w) + found.policy(period=0, w=w)["h"]))(W)
    np.testing.assert_allclose(steep, 5**0.5 + 2 / 5**0.5, rtol=1e-8)


@pytest.mark.long
def test_where_edges_meet_and_where_they_say_the_same():
    """On the disc no more h than c: the corner of both edges. A copy of a constraint, and one that the bounds of the
    actions say already, change nothing."""
    disc = bx.nonnegative(lambda w, c, h: w**2 - c**2 - h**2)
    others = {
        "meeting": bx.nonnegative(lambda c, h: c - h),
        "copy": bx.nonnegative(lambda w, c, h: 3 * w**2 - 3 * c**2 - 3 * h**2),
        "bounds": bx.nonnegative(lambda c, h: c + h),
    }
    found = solved(lambda c, h: c + 2 * h, goods(), {"disc": disc, **others})
    np.testing.assert_allclose(found.policy(period=0, w=W)["h"], W / 2**0.5, rtol=1e-10)
    steep = jax.vmap(jax.grad(lambda w: found.value(period=0, w=w) + found.policy(period=0, w=w)["c"]))(W)
    np.testing.assert_allclose(steep, 3 / 2**0.5 + 1 / 2**0.5, rtol=1e-10)


def test_a_constraint_that_the_bound_of_one_action_says_already():
    """c at most w by its bound and by the constraint; and h, whose bounds are equal."""
    actions = {"c": bx.Continuous(1e-3, "w"), "h": bx.Continuous(0.2, 0.2)}
    found = solved(lambda c, h: jnp.log(c) + h, actions, {"budget": bx.nonnegative(lambda w, c, h: w - c + 0 * h)})
    np.testing.assert_array_equal(found.policy(period=0, w=W)["h"], 0.2)
    np.testing.assert_allclose(found.policy(period=0, w=W)["c"], W, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(jax.grad(lambda w: found.value(period=0, w=w)))(W), 1 / W, rtol=1e-12)


@pytest.mark.long
def test_choices_and_chains_move_the_edge():
    """k = 2 costs two and pays three: nothing is left where w < 2, and it loses there. What is free is spent by z."""
    z = bx.MarkovChain([0.5, 1.0], [[0.5, 0.5], [0.5, 0.5]])
    actions = {"k": bx.Discrete(3), "c": bx.Continuous(0.0, 5.0), "h": bx.Continuous(0.0, 5.0)}

    def reward(c, h, k):
        return 1.5 * k + 2 * jnp.sqrt(c + 1) + 2 * jnp.sqrt(h + 1)

    budget = {"budget": bx.nonnegative(lambda w, c, h, k, z: z * (w - k) - c - h)}
    found = solved(reward, actions, budget, states={"w": bx.Continuous(0.1, 3.0), "z": z})
    w, z = (grid.ravel() for grid in np.meshgrid([0.5, 1.7, 2.6], [0.5, 1.0]))
    chosen = found.policy(period=0, w=w, z=z)
    k = np.arange(3)
    rest = z[:, None] * (w[:, None] - k)
    worth = np.where(rest >= 0, 1.5 * k + 4 * np.sqrt(np.maximum(rest, 0) / 2 + 1), -np.inf)
    np.testing.assert_array_equal(chosen["k"], worth.argmax(axis=1))
    np.testing.assert_allclose(chosen["c"], rest[np.arange(6), worth.argmax(axis=1)] / 2, atol=1e-9)
    np.testing.assert_allclose(found.choice_values(period=0, w=w, z=z), worth, rtol=1e-10)
    # what other choices are worth moves with the state as their own edges do
    steep = jax.vmap(jax.jacfwd(lambda w, z: found.choice_values(period=0, w=w, z=z)))(w, z)
    expected = z[:, None] / np.sqrt(np.maximum(rest, 0) / 2 + 1)
    np.testing.assert_allclose(steep, np.where(rest > 0, expected, 0.0), rtol=1e-9)


def test_little_room_that_no_candidate_hits():
    """Between .2003 + .53 h and 1e-4 more, c pays."""
    least = bx.nonnegative(lambda c, h: c - 0.53 * h - 0.2003)
    most = bx.nonnegative(lambda w, c, h: 0.2003 + 1e-4 * w - c + 0.53 * h)
    found = solved(lambda c, h: c - h**2, goods(1.0), {"least": least, "most": most})
    np.testing.assert_allclose(found.policy(period=0, w=W)["h"], 0.265, rtol=1e-9)
    np.testing.assert_allclose(found.policy(period=0, w=W)["c"], 0.2003 + 1e-4 * W + 0.53 * 0.265, rtol=1e-11)


def test_an_equation_by_two_constraints():
    """c + 2 h = w: the point of that line that is nearest to (1, 1)."""
    both = {
        "at_least": bx.nonnegative(lambda w, c, h: c + 2 * h - w),
        "at_most": bx.nonnegative(lambda w, c, h: w - c - 2 * h),
    }
    found = solved(lambda c, h: -((c - 1) ** 2) - (h - 1) ** 2, goods(), both)
    np.testing.assert_allclose(found.policy(period=0, w=W)["c"], 1 + (W - 3) / 5, atol=1e-9)
    np.testing.assert_allclose(found.policy(period=0, w=W)["h"], 1 + 2 * (W - 3) / 5, atol=1e-9)
    steep = jax.jacrev(lambda w: jnp.stack([found.value(0, w=w), found.policy(0, w=w)["c"]]))(1.7)
    np.testing.assert_allclose(steep, [2 * (3 - 1.7) / 5, 1 / 5], rtol=1e-9)


def test_a_state_in_which_nothing_is_allowed_is_named():
    least = {"least": bx.nonnegative(lambda w, c, h: w - 0.5 - c - h)}
    with pytest.raises(bx.SolveError, match="no action is feasible at w = 0.1 in period 0.*constraints: least"):
        solved(lambda c, h: c + h, goods(), least)


def test_a_kink_has_no_derivative_and_an_edge_has_one():
    """c pays up to one, and costs beyond: with less than that all is spent, and then c stays at the kink."""
    budget = {"budget": bx.nonnegative(lambda w, c: w - c)}
    found = solved(lambda c: c - 3 * jnp.maximum(c - 1.0, 0.0), {"c": bx.Continuous(0.0, 10.0)}, budget)
    chosen = jax.vmap(jax.value_and_grad(lambda w: found.policy(period=0, w=w)["c"]))(W[::2])
    np.testing.assert_allclose(chosen[0], [0.5, 1.0], atol=1e-9)
    # on the edge as the edge moves; at the kink no number, or none but the right one, which is zero
    np.testing.assert_allclose(chosen[1], [1.0, 0.0] if chosen[1][1] == 0 else [1.0, np.nan])


@pytest.mark.long
def test_what_an_edge_is_worth_at_a_kink():
    """2 min(c, 1) + .1 max(c - 1, 0) + log h, c + h = w: c = 1 for w in [1.5, 11]; V = 2 + log(w - 1)."""
    found = solved(
        lambda c, h: 2 * jnp.minimum(c, 1.0) + 0.1 * jnp.maximum(c - 1, 0.0) + jnp.log(h),
        {"c": bx.Continuous(0.0, 5.0), "h": bx.Continuous(0.01, 5.0)},
        {"budget": bx.nonnegative(lambda w, c, h: w - c - h)},
        states={"w": bx.Continuous(2.0, 4.0)},
    )
    w = np.array([2.3, 3.1])
    np.testing.assert_allclose(found.value(period=0, w=w), 2 + np.log(w - 1), rtol=1e-8)
    steep = jax.vmap(jax.grad(lambda w: found.value(period=0, w=w)))(w)
    np.testing.assert_allclose(steep, 1 / (w - 1), rtol=1e-6)
