"""Both sides of the optimal value of linear-quadratic control with bounds: a quadratic penalty, path by path.

Let x' = m + e with m = A x + B a + c known when a is chosen, and e of mean zero. For any h_t and H_t

    pi_t = (h_{t+1} + H_{t+1} m)'e + (e'H_{t+1} e - tr H_{t+1} E[e e']) / 2

has mean zero given the past: it is V(x') - E V(x') of a quadratic V. The best sum of rewards less discounted pi along a
path that is known to its end is above the optimal value in the mean; that of a policy is what this earns, with the same
numbers as a control variate. pi is linear in states and actions, so that every path is a concave quadratic programme,
all with one Hessian. h and H may be any numbers: those of V's derivatives along the path without noise, of V without
bounds (a Riccati equation), or in the middle of both, whichever bounds a few other paths best.

Source: Brown & Smith (2014), "Information relaxations, duality, and convex stochastic dynamic programs", Operations
Research 62.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import over_batch
from bellax.certify.linear_quadratic import TOLERANCE, Matrices, linear, matrices, off, quadratic, standard, states_of
from bellax.certify.pointwise import within
from bellax.certify.programme import Programme
from bellax.certify.relaxed import Sides
from bellax.problem.averages import Averages
from bellax.problem.period import in_a_row
from bellax.solution.gridless import GridlessPolicy, GridlessSetting

_WORK = 2e11  # multiplications of the search, about
_STEPS = 120  # of it
_PILOTS = 48  # paths on which a penalty is chosen, whose noise is of their own
_FEWEST = 200  # paths of the upper bound
_ROUNDING = 1e-6  # of what paths earn, by which matrices may miss that


class _Followed(NamedTuple):
    """A path, or many along a first axis.

    Attributes:
        x, a: states and actions in a row, shapes (t + 1, n) and (t, m).
        rewards: the model's own, shape (t + 1,); the last is the terminal value.
        fine: whether the actions are allowed.
        off: by how much laws and rewards differ from matrices.
    """

    x: Any
    a: Any
    rewards: Any
    fine: Any
    off: Any


class _Penalty(NamedTuple):
    """h and H of the periods 1 to the horizon, along a first axis; symmetric."""

    slope: np.ndarray
    curvature: np.ndarray


def sides(
    setting: GridlessSetting, policy: GridlessPolicy, starts: Mapping[str, np.ndarray], seed: int
) -> tuple[Sides | None, str]:
    """The sides of paths from given states; or why there is no penalty.

    Fewer paths are solved for the best where that is much work. Where starts differ, both sides are those of the same
    paths, drawn among all: of different starts they would be sides of different values.

    Args:
        starts: one row a path.
    """
    centre = {name: np.asarray(np.mean(array, axis=0)) for name, array in starts.items()}
    known, missing = matrices(setting, policy.arguments, centre)
    if known is None:
        return None, missing
    count = len(next(iter(starts.values())))
    noise = np.random.default_rng([seed, 5]).standard_normal((count, *known.noise.shape[::2]))
    shocks = np.einsum("tnk,ptk->ptn", known.noise, noise)
    first = np.concatenate([starts[name].reshape(count, -1) for name in setting.plan.states], axis=1)
    problem = _Stacked(known)
    if problem.programme is None:
        return None, "the sum of rewards is not strictly concave in the actions"
    own = _penalty(setting, policy, known, first.mean(axis=0))
    penalty = _best_penalty(problem, own, first, seed)
    most = int(_WORK / max(1, _STEPS * len(problem.rows) ** 2))
    some = min(count, max(_FEWEST, most))
    differ = bool((first != first[:1]).any())
    rows = np.random.default_rng([seed, 7]).permutation(count)[:some] if differ else np.arange(some)
    upper = problem.best(penalty, first[rows], shocks[rows])
    run = setting.program("followed", lambda: jax.jit(_following(setting)))
    path = _Followed(*(np.asarray(leaf) for leaf in run(policy, known, first, noise)))
    plain, fees = path.rewards @ _factors(known), _fees(known, penalty, path.x, shocks)
    wrong = _apart(plain, _earned(known, path.x, path.a), path.off)
    if wrong:
        return None, wrong
    shared = rows if differ else np.arange(count)
    return Sides(upper, (plain - fees)[shared], plain[shared], path.fine), ""


def _apart(own: np.ndarray, said: np.ndarray, off: np.ndarray) -> str:
    """Why matrices do not stand for a model on simulated paths; empty where they do.

    Args:
        own, said: what the policy earns on each path, by the model and by the matrices.
        off: by how much its laws and rewards differ from them, relative to their terms.
    """
    size = np.mean(np.abs(own)) + np.std(own)
    if np.all(off <= TOLERANCE) and np.all(np.abs(own - said) <= _ROUNDING * size):
        return ""
    return "laws or rewards on simulated paths are not those of the matrices, by more than rounding"


def _penalty(setting: GridlessSetting, policy: GridlessPolicy, known: Matrices, first: np.ndarray) -> _Penalty:
    """From V along the path without noise; zero in periods in which V has no finite derivatives."""
    run = setting.program("penalty", lambda: jax.jit(_derivatives(setting)))
    slope, curvature = (np.asarray(leaf) for leaf in run(policy, known, first))
    curvature = 0.5 * (curvature + np.swapaxes(curvature, 1, 2))
    fine = np.isfinite(slope).all(axis=1) & np.isfinite(curvature).all(axis=(1, 2))
    return _Penalty(np.where(fine[:, None], slope, 0.0), np.where(fine[:, None, None], curvature, 0.0))


def _best_penalty(problem: "_Stacked", own: _Penalty, first: np.ndarray, seed: int) -> _Penalty:
    """The penalty that bounds a few paths best, whose noise is independent of that of all others."""
    plain = _riccati(problem.known)
    if plain is None:
        return own
    middle = _Penalty(*(0.5 * (a + b) for a, b in zip(own, plain, strict=True)))
    noise = np.random.default_rng([seed, 6]).standard_normal((_PILOTS, *problem.known.noise.shape[::2]))
    shocks = np.einsum("tnk,ptk->ptn", problem.known.noise, noise)
    starts = first[np.linspace(0, len(first) - 1, _PILOTS).round().astype(int)]
    tried = [own, plain, middle]
    return tried[int(np.argmin([problem.best(penalty, starts, shocks).mean() for penalty in tried]))]


def _riccati(known: Matrices) -> _Penalty | None:
    """h and H of V without bounds; None where that has no maximum."""
    curvature, slope, _ = known.last
    n, found = len(slope), []
    for t in reversed(range(len(known.discount))):
        found.append((slope, curvature))
        law, discount = known.law[t], known.discount[t]
        q = known.curvature[t] + discount * law.T @ curvature @ law
        g = known.slope[t] + discount * law.T @ (slope + curvature @ known.constant[t])
        if np.linalg.eigvalsh(q[n:, n:])[-1] >= 0:
            return None
        gain = np.linalg.solve(q[n:, n:], np.concatenate([q[n:, :n], g[n:, None]], axis=1))
        curvature, slope = q[:n, :n] - q[:n, n:] @ gain[:, :-1], g[:n] - q[:n, n:] @ gain[:, -1]
        curvature = 0.5 * (curvature + curvature.T)
    slopes, curvatures = zip(*reversed(found), strict=True)
    return _Penalty(np.stack(slopes), np.stack(curvatures))


def _derivatives(setting: GridlessSetting) -> Callable[..., Any]:
    """h and H at the states of a path without noise."""
    problem = setting.problem
    count = problem.clock.count

    def run(policy: GridlessPolicy, known: Matrices, first: Array) -> Any:
        def step(x: Array, own: Any) -> tuple[Array, Any]:
            number, law, constant = own
            chosen = policy.at(number)(states_of(setting, x))
            after = law @ jnp.concatenate([x, in_a_row(chosen.actions)]) + constant
            tomorrow = problem.period(policy.arguments, number + 1)

            def value(x: Array) -> Array:
                states = states_of(setting, x)
                later = policy.behaviour.chosen(tomorrow, number + 1, states).value
                return jnp.where(number + 1 >= count, tomorrow.terminal(states), later)

            curvature = jax.hessian(value)(after)
            return after, (jax.grad(value)(after) - curvature @ after, curvature)

        numbers = jnp.arange(count, dtype=jnp.int32)
        return jax.lax.scan(step, first, (numbers, known.law, known.constant))[1]

    return run


def _following(setting: GridlessSetting) -> Callable[..., Any]:
    """Paths by the model's own laws, of states in a row, for standard normal numbers, shape (p, t, k)."""

    def run(policy: GridlessPolicy, known: Matrices, first: Array, noise: Array) -> Any:
        problem, count = setting.problem, known.discount.shape[0]

        def path(row: tuple[Array, Array]) -> Any:
            def step(x: Array, own: Any) -> tuple[Array, Any]:
                number, matrices, w = own
                states = states_of(setting, x)
                actions = policy.at(number)(states).actions
                averages = Averages(problem, policy.arguments, number)
                found = averages.at(states, actions, standard(averages, w))
                after = in_a_row({name: found.following[name] for name in setting.plan.states})
                a = in_a_row({name: actions[name] for name in setting.plan.controls})
                fine = within(averages.today, states, actions)
                reward = found.outcome.reward
                return after, (x, a, reward, fine, _off_matrices(matrices, jnp.concatenate([x, a]), w, after, reward))

            each = known._replace(last=None)  # type: ignore[arg-type]
            numbers = jnp.arange(count, dtype=jnp.int32)
            last, (x, a, rewards, fine, off) = jax.lax.scan(step, row[0], (numbers, each, row[1]))
            end = problem.period(policy.arguments, count).terminal(states_of(setting, last))
            x, rewards = jnp.concatenate([x, last[None]]), jnp.append(rewards, end)
            return _Followed(x, a, rewards, jnp.all(fine), jnp.max(off))

        each = known.law.shape[2] ** 2 + noise.shape[1] * known.law.shape[2]
        return over_batch(path, (first, noise), each, setting.numerics.memory)

    return run


def _off_matrices(known: Matrices, z: Array, w: Array, after: Array, reward: Array) -> Array:
    """By how much a law and a reward differ from those of the matrices of a period, relative to their terms."""
    law = linear(known.constant, (known.law, z[None]), (known.noise, w[None]))
    rest = [(after[None], law), (reward[None], quadratic(known.level, known.slope, known.curvature, z[None]))]
    return jnp.max(jnp.stack([off(there, said) for there, said in rest]))


def _earned(known: Matrices, x: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The discounted sum of rewards along paths."""
    z, factors = np.concatenate([x[:, :-1], a], axis=2), _factors(known)
    rewards = known.level + np.einsum("ti,pti->pt", known.slope, z)
    rewards = rewards + 0.5 * np.einsum("pti,tij,ptj->pt", z, known.curvature, z, optimize=True)
    curvature, slope, level = known.last
    last = level + x[:, -1] @ slope + 0.5 * np.einsum("pi,pi->p", x[:, -1] @ curvature, x[:, -1])
    return rewards @ factors[:-1] + factors[-1] * last


def _fees(known: Matrices, penalty: _Penalty, x: np.ndarray, shocks: np.ndarray) -> np.ndarray:
    """The discounted sum of pi along paths."""
    turned = np.einsum("tij,ptj->pti", penalty.curvature, shocks)
    spread = np.einsum("tik,tij,tjk->t", known.noise, penalty.curvature, known.noise, optimize=True)
    own = np.einsum("ti,pti->pt", penalty.slope, shocks) + np.einsum("pti,pti->pt", x[:, 1:] - shocks, turned)
    own = own + 0.5 * (np.einsum("pti,pti->pt", shocks, turned) - spread)
    return own @ _factors(known)[1:]


def _factors(known: Matrices) -> np.ndarray:
    """Discount factors to the periods 0 to the horizon."""
    return np.concatenate([[1.0], np.cumprod(known.discount)])


class _Stacked:
    """The programme of a path in all of its actions u, one after the other: x_t = X_t u + what is left without them."""

    def __init__(self, known: Matrices) -> None:
        self.known, self.factors = known, _factors(known)
        count, n, width = known.law.shape
        m = width - n
        self.moved = [np.zeros((n, count * m))]
        self.both = []
        for t in range(count):
            chosen = np.zeros((m, count * m))
            chosen[:, t * m : (t + 1) * m] = np.eye(m)
            self.both.append(np.concatenate([self.moved[-1], chosen]))
            self.moved.append(known.law[t] @ self.both[-1])
        hessian = -self.factors[-1] * self.moved[-1].T @ known.last[0] @ self.moved[-1]
        for t, z in enumerate(self.both):
            hessian -= self.factors[t] * z.T @ known.curvature[t] @ z
        self.finite = np.isfinite(known.limits)
        rows = [known.rows[t][self.finite[t]] @ z for t, z in enumerate(self.both)]
        self.rows = np.concatenate(rows)
        self.programme = _programme(0.5 * (hessian + hessian.T), self.rows)

    def best(self, penalty: _Penalty, first: np.ndarray, shocks: np.ndarray) -> np.ndarray:
        """Above the best of each path, shape (p,)."""
        known, factors = self.known, self.factors
        n = first.shape[1]
        linear, level = np.zeros((len(first), self.rows.shape[1])), np.zeros(len(first))
        limits, x = [], first
        rest = [first]  # the states if no action moved them
        for t, z in enumerate(self.both):
            curved = x @ known.curvature[t][:n]
            linear += factors[t] * (known.slope[t] + curved) @ z
            level += factors[t] * (known.level[t] + x @ known.slope[t][:n] + 0.5 * np.sum(curved[:, :n] * x, axis=1))
            limits.append((known.limits[t] - x @ known.rows[t][:, :n].T)[:, self.finite[t]])
            x = x @ known.law[t][:, :n].T + known.constant[t] + shocks[:, t]
            rest.append(x)
            linear -= factors[t + 1] * (shocks[:, t] @ penalty.curvature[t]) @ self.moved[t + 1]
        curvature, slope, last = known.last
        linear += factors[-1] * (slope + x @ curvature) @ self.moved[-1]
        level += factors[-1] * (last + x @ slope + 0.5 * np.sum((x @ curvature) * x, axis=1))
        level -= _fees(known, penalty, np.stack(rest, axis=1), shocks)
        assert self.programme is not None
        return level + self.programme.bound(linear, np.concatenate(limits, axis=1), _STEPS)


def _programme(hessian: np.ndarray, rows: np.ndarray) -> Programme | None:
    """None where the Hessian is not positive definite."""
    least, *_, most = np.linalg.eigvalsh(hessian) if len(hessian) > 1 else (hessian[0, 0],) * 2
    return Programme(hessian, rows) if least > 1e-10 * max(abs(most), 1e-300) else None
