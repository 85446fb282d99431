"""What is looked at before an actor and a critic are called a solution: at other points, where paths lead, and whether
other actions are better.

V's own equation counts for as many periods as something is paid for: (V - T V) times their number, in units of V's
spread among the points, or of what decisions are about where that is less (stakes.py). States outside the box, to which
paths lead, are judged as well: there a critic is asked what it was not taught.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.numerics import loops
from bellax.numerics.scalar import take
from bellax.problem.draws import Laws
from bellax.solution.solution import Result
from bellax.solvers.neural.bellman import Bellman, inside
from bellax.solvers.neural.candidates import Candidates
from bellax.solvers.neural.conditions import condition_sizes
from bellax.solvers.neural.euler import unit_free
from bellax.solvers.neural.floors import TINY
from bellax.solvers.neural.points import Points
from bellax.solvers.neural.stakes import decisive, mean_of_finite

_EDGE = 1e-2  # of the way between bounds: what counts as at one of them
_LEVEL = 0.01  # of V itself, which counts as spread, too: V may be the same everywhere
_PATH = 20  # periods of a path without end
_WILD = 10.0  # times all that is ever paid: where V is said to diverge
_TRAPPED = 0.99  # of all actions at a bound: what is a trap where their conditions do not hold


class Looks(NamedTuple):
    """What is left at one state.

    Attributes:
        value: of V's equation.
        paid: at once.
        condition: the largest of the conditions of the actions, with the critic's V.
        euler: the same with V by one look ahead.
        bound: the share of the actions that are at a bound.
        outside: whether tomorrow may lie outside the box.
        feasible: whether anything may be done.
    """

    value: Array
    paid: Array
    condition: Array
    euler: Array
    bound: Array
    outside: Array
    feasible: Array


class Judge:
    """Looks at an actor and a critic; made inside a compiled program.

    Args:
        left: for how many periods something is paid for.
        actor, critic: weights.
        points: other ones than those of the training.
    """

    def __init__(self, bellman: Bellman, left: Array, actor: Array, critic: Array, points: Points) -> None:
        self.bellman, self.critic, self.points = bellman, critic, points
        self.outputs, self.ahead = bellman.outputs(actor), bellman.ahead(actor, critic)
        worth = bellman.evaluation.worth(critic)
        value = jax.vmap(lambda states, number: worth(number, states))(*points)
        self.left, self.level = left, jnp.sqrt(jnp.mean(value**2))
        self.least = TINY * bellman.evaluation.scale.unit
        self.spread = (jnp.std(value) + _LEVEL * self.level + self.least) / left
        self.unit = self.spread

    def looks(self, points: Points) -> Looks:
        """What is left at points."""
        if not self.bellman.head.size:
            nothing = jnp.ones((points.periods.shape[0], self.bellman.shapes[0].outputs, 0))
            return jax.vmap(self.look)(*points, nothing)
        outputs = jax.vmap(lambda states, number: self.outputs(number, states))(*points)
        size = condition_sizes(self.bellman, points, outputs, self.critic)
        return jax.vmap(self.look)(*points, size)

    def look(self, states: Any, number: Array, size: Array) -> Looks:
        """What is left at one state."""
        bellman = self.bellman
        outputs = self.outputs(number, states)
        found = bellman.greedy(number, states, outputs, self.critic)
        own = bellman.evaluation.worth(self.critic)(number, states)
        left, euler, bound = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
        if bellman.head.size:
            terms = bellman.terms(number, states, found.place, take(outputs, found.place), self.critic)
            size = take(size, found.place)
            left = jnp.max(jnp.abs(unit_free(terms, size)))
            euler = jnp.max(jnp.abs(unit_free(bellman.euler(number, states, found, self.ahead), size)))
            acted = found.option.acted
            both = jnp.isfinite(acted.lower) & jnp.isfinite(acted.upper)
            bound = jnp.mean((both & ((acted.share < _EDGE) | (acted.share > 1 - _EDGE))).astype(float))
        return Looks(
            (own - found.value) / self.unit,
            jnp.abs(found.row.reward) + jnp.abs(found.row.last) / self.left,
            jnp.where(found.stop, 0.0, left),
            jnp.where(found.stop, 0.0, euler),
            jnp.where(found.stop, 0.0, bound),
            ~found.stop & ~inside(bellman.excess(found.row)),
            found.value != -jnp.inf,
        )

    def gain(self, candidates: Candidates | None, states: Any, number: Array) -> tuple[Array, Array]:
        """What the best candidate brings beyond the actor's choice at one state, and the best of all beyond a mean."""
        outputs = self.outputs(number, states)
        found = self.bellman.greedy(number, states, outputs, self.critic)
        known = found.choice_values > -jnp.inf
        payoff = self.bellman.problem.period(self.bellman.arguments, number).payoff(states)
        every = jnp.append(found.choice_values, payoff)
        stake = found.value - mean_of_finite(every)
        if candidates is None:
            return jnp.zeros(()), stake
        better = candidates.better(number, states, outputs, self.critic)
        best = jnp.max(jnp.where(known, found.choice_values + better.gain, -jnp.inf))
        return jnp.maximum(best - found.value, 0.0), jnp.maximum(stake, better.stake)

    def led(self, points: Points, key: Array) -> Points:
        """Where paths lead from points: some periods on without end, else the next one."""
        bellman, problem = self.bellman, self.bellman.problem
        keys = jax.random.split(key, points.periods.shape[0])

        def one(states: Any, number: Array, own: Array, step: Array) -> Any:
            choice = bellman.greedy(number, states, self.outputs(number, states), self.critic)
            laws = Laws(problem, bellman.arguments, number)
            moved = laws.advance(states, choice.option.acted.actions, jax.random.fold_in(own, step)).following
            return jax.tree.map(lambda new, old: jnp.where(choice.stop, old, new), moved, dict(states))

        def step(state: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
            states, periods, count = state
            following = jnp.minimum(periods + 1, problem.clock.count - 1) if problem.finite else periods
            moved = jax.vmap(lambda s, n, k: one(s, n, k, count))(states, periods, keys)
            last = following == periods if problem.finite else jnp.zeros(periods.shape, bool)
            kept = jax.vmap(lambda last, new, old: jax.tree.map(lambda a, b: jnp.where(last, b, a), new, old))
            return kept(last, moved, states), following, count + 1

        count = 1 if problem.finite else _PATH
        states, periods, _ = loops.repeat(count, step, (points.states, points.periods, jnp.zeros((), jnp.int32)))
        return Points(states, periods)

    def stats(self, candidates: Candidates | None, key: Array) -> dict[str, Array]:
        """Numbers about all of it."""
        gain, stake = jax.vmap(lambda s, n: self.gain(candidates, s, n))(*self.points)
        self.unit = decisive(self.spread, stake)
        looks, led = self.looks(self.points), self.looks(self.led(self.points, key))
        gain = jnp.max(gain) / self.unit
        left_paid = self.left * jnp.maximum(jnp.max(looks.paid), jnp.max(led.paid))
        return {
            "value_error": _root(looks.value),
            "value_error_on_paths": _root(led.value),
            "condition": _root(looks.condition),
            "condition_on_paths": _root(led.condition),
            "euler_error": _root(looks.euler),
            "euler_error_on_paths": _root(led.euler),
            "euler_error_mean": jnp.mean(looks.euler),
            "euler_error_max": jnp.max(looks.euler),
            "value_to_all_paid": self.level / (left_paid + self.least),
            "better_elsewhere": gain,
            "at_a_bound": jnp.mean(looks.bound),
            "leaving_the_box": jnp.mean(looks.outside.astype(float)),
            "infeasible": jnp.mean(1 - looks.feasible.astype(float)),
        }


def outcome(stats: dict[str, Array], sane: Array, tolerance: float) -> Array:
    """The code of the `Result`.

    Args:
        sane: whether what is paid was a number in the beginning.
    """
    errors = jnp.stack([stats[name] for name in _ERRORS])
    conditions = jnp.maximum(stats["condition"], stats["condition_on_paths"])
    code = jnp.where(jnp.max(errors) <= tolerance, int(Result.successful), int(Result.max_steps_reached))
    stuck = (stats["at_a_bound"] > _TRAPPED) & (conditions > tolerance)
    code = jnp.where(stuck | (stats["better_elsewhere"] > tolerance), int(Result.trapped), code)
    wild = (stats["value_to_all_paid"] > _WILD) & (code != int(Result.successful))
    code = jnp.where(wild | ~jnp.all(jnp.isfinite(errors)), int(Result.diverged), code)
    code = jnp.where(stats["infeasible"] > 0, int(Result.infeasible), code)
    return jnp.where(sane, code, int(Result.nonfinite)).astype(jnp.int32)


_ERRORS = (
    "value_error",
    "value_error_on_paths",
    "condition",
    "condition_on_paths",
    "euler_error",
    "euler_error_on_paths",
    "better_elsewhere",
)


def _root(x: Array) -> Array:
    return jnp.sqrt(jnp.mean(x**2))


def explained(result: Result, stats: Any, tolerance: float, what: str) -> str:
    """Why a training failed."""
    told = {name: f"{float(value):.3g}" for name, value in stats.items()}
    if result == Result.nonfinite:
        return (
            "what is paid is no number at some points of the box. Likely causes: a law or a reward that is none there "
            "(a negative number under a logarithm or a root); a box= beyond where the model has a meaning."
        )
    if result == Result.infeasible:
        return (
            f"nothing may be done at the share {told['infeasible']} of the points: bounds cross, or constraints leave "
            "no combination. Likely causes: a box= beyond where the model has a meaning; bounds that name each other."
        )
    if result == Result.diverged:
        return (
            f"{what}: the critic diverges: V is {told['value_to_all_paid']} times all that is ever paid, and V = T V "
            f"is off by {told['value_error']} times its spread. Likely causes: following the policy leads out of the "
            f"box (leaving_the_box: {told['leaving_the_box']} of the points), where V is a guess; rewards that grow "
            "faster than they are discounted; a rate of learning that is too large (trainer=)."
        )
    if result == Result.trapped and float(stats["better_elsewhere"]) > tolerance:
        return (
            f"{what}: the actor sits on a lesser maximum: other actions are better by {told['better_elsewhere']} times "
            f"the spread of V, or what decisions are about where that is less, and tolerance={tolerance:g}. Likely "
            "causes: an optimum that jumps, which no net does (state what jumps as a discrete action); an optimum at a "
            "bound (shares={'action': bx.shares.Clipped()}); too few candidates "
            "(trainer=bx.solvers.LeastSquares(candidates=)); an unlucky seed=."
        )
    if result == Result.trapped:
        return (
            f"{what}: the share {told['at_a_bound']} of the actions is at a bound, and their conditions are off by "
            f"{told['condition']}. Likely causes: bounds that bind (shares={{'action': bx.shares.Clipped()}}); bounds "
            "so wide that all of a policy is next to one of them; an unlucky seed=."
        )
    return (
        f"{what}: the training ended before its equations hold: Euler errors are {told['euler_error']} in the box and "
        f"{told['euler_error_on_paths']} where paths lead, V = T V is off by {told['value_error']} and "
        f"{told['value_error_on_paths']} of V's spread, or of what decisions are about where that is less, and "
        f"tolerance={tolerance:g}. Likely causes: too few steps "
        "(trainer=), nets that are too small (hidden=), kinks, a bound that binds (shares={'action': "
        f"bx.shares.Clipped()}}), or a box= that paths leave ({told['leaving_the_box']} of the points lead out of it)."
    )
