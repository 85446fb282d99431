"""`EulerNet`: a policy as a net, trained on first-order and envelope conditions that autodiff derives from the model.

Points are a low-discrepancy sequence in the box; after the first rounds a share of them is where simulated paths lead.
Steps are Levenberg and Marquardt's. Where V is not needed for the conditions (euler.py) it is found afterwards, by
least squares on V = E[r + b V(s')] with the policy held fixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.errors import (
    ModelError,
    check_count,
    check_flag,
    check_mapping,
    check_positive,
    check_several,
    check_share,
    named_options,
)
from bellax.learning import levenberg, nets, sampling, training
from bellax.learning.levenberg import Fit, Groups, LevenbergMarquardt
from bellax.learning.nets import Shape
from bellax.numerics.programs import concrete, quickly
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.ergodic import visited
from bellax.solvers.neural.euler import Euler, is_static
from bellax.solvers.neural.euler_training import STEPS, TOGETHER, Begun, Rows, Training
from bellax.solvers.neural.euler_verdict import judged
from bellax.solvers.neural.evaluation import Evaluation, Rule, Scale, measure
from bellax.solvers.neural.exchanged import asymmetry
from bellax.solvers.neural.framed import Frame, around, folded, plain
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import Inputs, inputs
from bellax.solvers.neural.options import NetSolver, check_smooth, check_unconstrained
from bellax.solvers.neural.prepared import Found, PreparedNets
from bellax.solvers.neural.stated import Stated, check_outputs
from bellax.solvers.neural.untrained import untrained, valueless
from bellax.solvers.neural.wiring import Shared, wired

_GAIN = 2.5  # see nets.initial
_COMPARED = 32  # points at which members change places
_ASYMMETRIC = 1e-4  # relative: rules of quadrature are not the same in all directions
_EVALUATION = 60  # steps of the least squares for V


@named_options
@dataclass(frozen=True, kw_only=True)
class EulerNet(NetSolver):
    """Solves models that are differentiable in continuous states and actions by nets on their Euler equations.

    Besides what all solvers by nets take (`NetSolver`):

    Args:
        rounds: of training before the last one, each of `budget` steps at most; in all of them but the first points
            are taken anew.
        budget: see `rounds`.
        finish: steps at most of the last round.
        visited: the share of the points, after the first round, that lies where simulated paths lead, where the
            horizon has no end; half of them by default.
            Where all of them do (1.0), from the first round on, and nets see states in coordinates in which these are
            of one size (framed.py): far better there, and nothing that is known elsewhere.
        wider: by how much these are drawn apart; by a quarter by default.
        degree: of the monomial rule, as of all solvers by nets; or two of them, such as `(3, 5)`: the training
            averages over the first, and is corrected between its rounds by what the second expects besides. Conditions
            hold by the second then, are judged by it, and move with parameters by it. A V that is found afterwards is
            by the first.
        outputs: by action, a function of states, parameters, functions of these, and `output` that says which action an
            output of the net means: `{"capital_next": lambda capital, output: capital * jnp.exp(0.01 * output)}`. A
            training begins near zero, where paths should come back from wherever they are; the nearer what theory says
            is to the policy there, the better. What lies beyond a bound is cut off, so that bounds may bind. Who loads
            such a solution gives the solver, too.
        combined: how many combinations of its conditions, drawn at random, are asked for at each point; all conditions
            by default. With many actions, two of them at five times as many points cost the same, and tell more.
        symmetric: vector states and actions whose first axis counts members who are exchangeable, such as countries:
            one net decides for each of them, by its own numbers and by means and second moments of all (wiring.py).
        costates: whether V is trained together with the policy, as its slopes stand in the conditions; by default only
            where they have to. Its own equation, and that its slopes are those of Q, are asked to hold to `tolerance`
            then, like the conditions. Else V is found afterwards. In both cases it is NaN where its own equation does
            not hold to `tolerance` everywhere, in units of its spread.
    Raises:
        ModelError: for discrete actions, `stop`, constraints, models without continuous actions, members who are not
            exchangeable, `symmetric=` beside a warm start, and `costates=False` where conditions need V.
    Assumes: one hill where all points are visited ones (`visited=1`), beside which nobody knows V: `bx.certify` says
        whether another is higher. Else shares all over the way between bounds are tried, and a policy to which others
        are better by more than V's own error ends as `trapped`.
    Source: Maliar, Maliar & Winant (2021), "Deep learning for solving dynamic economic models", Journal of Monetary
        Economics 122. Departs from it in: exact expectations, and least squares by Levenberg and Marquardt.
    """

    rounds: int = 3
    budget: int = 25
    finish: int = 150
    visited: float | None = None
    wider: float | None = None
    degree: int | tuple[int, int] | None = None
    outputs: Mapping[str, Stated] = field(default_factory=dict)
    combined: int | None = None
    symmetric: tuple[str, ...] = ()
    costates: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rounds", "budget", "finish"):
            check_count(getattr(self, name), f"EulerNet: {name}")
        if self.combined is not None:
            check_count(self.combined, "EulerNet: combined")
        if self.visited is not None:
            check_share(self.visited, "EulerNet: visited", "the points")
        if self.wider is not None:
            check_positive(self.wider, "EulerNet: wider", "1.25")
        check_several(self.symmetric, "EulerNet: symmetric", "('capital', 'capital_next')")
        if self.costates is not None:
            check_flag(self.costates, "EulerNet: costates")
        check_mapping(self.outputs, "EulerNet: outputs", "{'action': lambda state, output: state + output}")
        if self.symmetric and self.warm_start is not None:
            raise ModelError(
                "EulerNet: warm_start= is fitted by a net for all members together, and symmetric= has one for each of "
                "them; give one of the two."
            )

    @property
    def drawn(self) -> tuple[float, float]:
        """The share of the points that lies where paths lead, and by how much these are drawn apart."""
        return 0.5 if self.visited is None else self.visited, 1.25 if self.wider is None else self.wider

    def check_degree(self) -> None:
        if not isinstance(self.degree, tuple | list):
            return super().check_degree()
        known = isinstance(self.degree, tuple) and all(each in (0, 3, 5) for each in self.degree)
        if not known or len(self.degree) != 2 or self.degree[0] == self.degree[1]:
            raise ModelError(
                f"EulerNet: degree is {self.degree!r}; give one degree, or two that differ: that of the training, and "
                "that by which it is corrected, (3, 5)."
            )
        return None

    def prepare(self, model: Any) -> "PreparedEuler":
        return self.kept(model, PreparedEuler)


class PreparedEuler(PreparedNets):
    """A model under `EulerNet`."""

    warms = True

    def __init__(self, model: Any, options: EulerNet) -> None:
        super().__init__(model, options)
        check_smooth(self.plan, "EulerNet", "use bx.solvers.NeuralValueIteration() or bx.solvers.ActorCritic()")
        check_unconstrained(self.plan, "EulerNet")
        own = check_outputs(self.plan, options.outputs, options.shares)
        self.head = Head(self.plan, check_shares(self.plan, options.shares), own)
        if options.costates is False and not is_static(self.plan):
            raise ModelError(
                "EulerNet: costates=False, and the conditions of this model need the slopes of V: tomorrow sees a "
                "state that actions move by itself, an action is not paid for today, or chances or the discount move "
                "with what is decided. Leave costates= out."
            )
        self.static = is_static(self.plan) and not options.costates
        wiring = wired(self.plan, self.layout.numbers, self.layout.size, options.symmetric)
        size, outputs = self.layout.size, self.head.size
        if isinstance(wiring, Shared):
            size, outputs = wiring.size, outputs // wiring.members
        self.wiring, self.shapes = wiring, (Shape(size, options.hidden, outputs), Shape(size, options.hidden))
        weights = self.shapes[0].weights + (0 if self.static else self.shapes[1].weights)
        equations = self.head.size if self.static else self.head.size + 1 + len(self.plan.lines)
        asked = options.combined or equations
        if asked > equations:
            raise ModelError(f"EulerNet: combined is {asked}, and a point has {equations} conditions; ask for fewer.")
        self.count = options.points or max(256, 4 * weights // asked)
        for name in ("visited", "wider"):
            if self.problem.finite and getattr(options, name):
                raise ModelError(
                    f"EulerNet: {name} is {getattr(options, name)!r}, and the horizon has an end: points are taken all "
                    "over the box, in every period; leave it out."
                )
        self.framed = options.visited == 1
        self.corrected = isinstance(options.degree, tuple)

    # -- parts

    def inputs(self, arguments: Arguments) -> Inputs:
        return inputs(self.layout, arguments, self.options.box)

    def euler(self, arguments: Arguments, better: bool = False) -> Euler:
        """The conditions.

        Args:
            better: averaged over the second of two rules.
        """
        degree = self.options.degrees[1 if better else 0]
        return Euler(self.problem, arguments, self.head, self.options.quadrature, degree)

    def outputs(self, seen: Inputs, weights: Array) -> Any:
        """Outputs of the policy net, as euler.py takes them."""
        layers = nets.layers(self.shapes[0], weights)
        return lambda number, states: self.wiring.outputs(layers, seen.of(number, states))

    def worth(self, seen: Inputs, weights: Array, begun: Begun) -> Any:
        """V, as euler.py takes it."""
        layers = nets.layers(self.shapes[1], weights)
        return lambda number, states: begun.level + begun.unit * self.wiring.worth(layers, seen.of(number, states))

    def split(self, begun: Begun, weights: Array) -> tuple[Array, Array]:
        """Weights of the policy, for inputs as they are, and of V where that is trained with it."""
        actor, critic = weights[: self.shapes[0].weights], weights[self.shapes[0].weights :]
        return folded(self.shapes[0], actor, begun.frame) if self.framed else actor, critic

    def points(self, seen: Inputs, seed: int, count: int) -> tuple[dict[str, Array], Array]:
        """States and periods all over the box."""
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(count, self.layout.columns, seed))
        return jax.vmap(seen.state)(shares)

    # -- the training

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Begun, Fit]:
        seen = self.inputs(arguments)
        states, periods = self.points(seen, self.options.seed, self.count)
        frame = self._frame(arguments, seen, states) if self.framed and prior is None else plain(self.shapes[0].inputs)
        actor = nets.flat(self.shapes[0], self.options.seed, 1.0 if self.framed else _GAIN)
        actor = self.from_prior(arguments, prior, self.head, self.shapes[0], actor)
        euler = self.euler(arguments)
        (level, unit), _ = measure(euler, self.rule(euler, seen, folded(self.shapes[0], actor, frame)), states, periods)
        begun = Begun(states, periods, level, unit, frame, self._asymmetry(euler, states, periods))
        weights = actor
        if not self.static:
            critic = nets.flat(self.shapes[1], self.options.seed + 1, _GAIN)
            critic = self.worth_of_prior(arguments, prior, level, unit, self.shapes[1], critic)
            weights = jnp.concatenate([actor, critic])
        method = self.method(arguments, begun)
        key = jax.random.key_data(jax.random.key(self.options.seed))
        size = jnp.ones((self.count, self.head.size + len(self.plan.lines) + 1))
        more = jnp.zeros((self.count, self.head.size)) if self.static else jnp.zeros_like(size)
        ways = jnp.zeros((self.count, self.options.combined or 0, more.shape[1]))
        rows = Rows(states, periods, size, key, weights, more, ways)
        rows = method.refresh(weights, rows) if self.framed else method.sized(weights, method.combined(rows))
        return begun, method.init(weights, rows)

    def _frame(self, arguments: Arguments, seen: Inputs, states: dict[str, Array]) -> Frame:
        """Of where paths lead before anything is learnt."""
        euler, nothing = self.euler(arguments), jnp.zeros(self.head.size)
        rule = lambda number, states: euler.acted(number, states, nothing).actions  # noqa: E731
        key = jax.random.key(self.options.seed)
        found = visited(self.problem, arguments, seen, rule, states, key, STEPS, 1.0).points
        rows = jax.vmap(lambda states, number: self.wiring.seen(seen.of(number, states)))(*found)
        return around(rows.reshape(-1, rows.shape[-1]))

    def _asymmetry(self, euler: Euler, states: dict[str, Array], periods: Array) -> Array:
        """By how much members of a group are not exchangeable, at some points and outputs of any kind."""
        if not isinstance(self.wiring, Shared):
            return jnp.zeros(())
        few = jax.tree.map(lambda leaf: leaf[:_COMPARED], (states, periods))
        with jax.ensure_compile_time_eval():
            outputs = 2 * jnp.asarray(sampling.points(few[1].shape[0], self.head.size, self.options.seed)) - 1
        return asymmetry(euler, self.options.symmetric, self.wiring.members, few, outputs)

    def begun(self, begun: Begun) -> None:
        found = float(begun.asymmetry)
        if not found <= _ASYMMETRIC:
            raise ModelError(
                f"symmetric: members of {', '.join(self.options.symmetric)} are not exchangeable: where they change "
                f"places, what a period brings differs by {found:.2g} of its size. Likely causes: parameters that are "
                "not the same for all, a law or a bound that names one of them, a vector state or parameter that is "
                "left out of symmetric=, a box= that is not the same for all."
            )

    def check(self, arguments: Arguments) -> None:
        super().check(arguments)
        plain: Any = self.plain
        run = plain.program("crossed bounds", lambda: quickly(plain._crossed, True))
        crossed, low, high, states = jax.tree.map(np.asarray, run(arguments))
        if crossed.any():
            row, number = np.argwhere(crossed)[0]
            name = self.plan.coordinates[number].name
            at = ", ".join(f"{state} = {np.array2string(value[row], precision=6)}" for state, value in states.items())
            raise ModelError(
                f"EulerNet: nothing may be done at {at}: the lower bound of {name!r} is {low[row, number]:g}, above "
                f"the upper one, {high[row, number]:g}. Give bounds that do not cross, or a box= in which they do not."
            )

    def _crossed(self, arguments: Arguments) -> tuple[Array, Array, Array, dict[str, Array]]:
        """Where lower bounds of actions are above upper ones, with outputs of zero."""
        states, periods = self.points(self.inputs(arguments), self.options.seed, self.count)

        def at(states: Any, number: Array) -> Any:
            acted = self.head.act(self.problem.period(arguments, number), states, jnp.zeros(self.head.size))
            return acted.lower, acted.upper

        low, high = jax.vmap(at)(states, periods)
        return low > high + 1e-9 * jnp.abs(high), low, high, states

    def method(self, arguments: Arguments, begun: Begun) -> "Training":
        return Training(self, arguments, begun)

    # -- what comes out

    def finish(self, arguments: Arguments, begun: Begun, state: Fit, moves: bool = True) -> Found:
        weights, rows = state.weights, lax.stop_gradient(state.frozen)
        if moves:
            # by the better rule: what it expects besides moves with arguments, too
            rows = Training(self, lax.stop_gradient(arguments), begun, True).sized(weights, rows)
            rows, method = rows._replace(more=jnp.zeros_like(rows.more)), Training(self, arguments, begun, True)
            groups = method.groups(rows, jnp.asarray(len(method.budgets) - 1))
            weights = levenberg.moved(groups, weights, together=TOGETHER if self.corrected else None)
        actor, critic = self.split(begun, weights)
        if self.static:
            begun = self._rescaled(lax.stop_gradient(arguments), begun, lax.stop_gradient(actor))
            critic = self._evaluated(arguments, begun, actor, rows, moves)
        seen = self.inputs(arguments)
        behaviour = NetBehaviour(actor, critic, begun.level, begun.unit, seen, self.head, self.shapes, self.wiring)
        still = lax.stop_gradient((arguments, behaviour, state._replace(weights=weights)))
        code, stats = judged(self, still[0], begun, *still[1:])
        # the policy does not hang on it: a V that is wrong is none
        level = jnp.where(stats["value_error"] <= self.options.tolerance, begun.level, jnp.nan)
        return Found(replace(behaviour, level=level), code, stats)

    def _evaluated(self, arguments: Arguments, begun: Begun, actor: Array, rows: Rows, moves: bool) -> Array:
        """V of the policy, by least squares on V = E[r + b V(s')]."""
        still = self.equations(lax.stop_gradient(arguments), begun, lax.stop_gradient(actor), rows)
        keep = lambda weights, frozen: frozen  # noqa: E731
        method = LevenbergMarquardt(lambda frozen, number: still, keep, (_EVALUATION,))
        start = method.init(nets.flat(self.shapes[1], self.options.seed + 1, _GAIN), None)
        last = lax.stop_gradient(training.run(method, start))
        return levenberg.moved(self.equations(arguments, begun, actor, rows), last.weights) if moves else last.weights

    def _rescaled(self, arguments: Arguments, begun: Begun, actor: Array) -> Begun:
        """With the level and the unit of what the policy is paid: what it began with may be paid no number."""
        seen, euler = self.inputs(arguments), self.euler(arguments)
        (level, unit), _ = measure(euler, self.rule(euler, seen, actor), begun.states, begun.periods)
        return begun._replace(level=level, unit=unit)

    def equations(self, arguments: Arguments, begun: Begun, actor: Array, rows: Rows) -> Groups:
        """The residuals of V under the policy."""
        seen, euler = self.inputs(arguments), self.euler(arguments)
        evaluation = Evaluation(euler, seen, self.shapes[1], Scale(begun.level, begun.unit), self.wiring)
        rule = self.rule(euler, seen, actor)
        look = lambda states, number: evaluation.look(states, number, rule(number, states))  # noqa: E731
        return [(evaluation.residual, jax.vmap(look)(rows.states, rows.periods))]

    def rule(self, euler: Euler, seen: Inputs, actor: Array) -> Rule:
        outputs = self.outputs(seen, actor)
        return lambda number, states: euler.acted(number, states, outputs(number, states)).actions

    def doubts(self, solution: GridlessSolution) -> str:
        off = solution.stats["value_error"]
        return valueless(float(off), self.options.tolerance) if self.static and concrete(off) and not off.ndim else ""

    def explain(self, solution: GridlessSolution) -> str:
        result = Result(int(solution.code))
        return untrained(result, solution.stats, self.options.tolerance, self.problem.finite)
