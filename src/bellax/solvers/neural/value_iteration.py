"""`NeuralValueIteration`: an actor and a critic, with exact expectations over chains and quadrature.

What the Bellman operator of nets is says bellman.py, how nets are trained alternation.py (least squares in turn),
descent.py (gradients with target nets) and advantage.py (a quadratic advantage), and what is looked at before a
solution is called successful judged.py.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.errors import ModelError, named_options
from bellax.learning import nets, sampling
from bellax.learning.nets import Shape
from bellax.problem.period import combinations
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.bellman import ActorCritic, Bellman
from bellax.solvers.neural.candidates import Candidates
from bellax.solvers.neural.choosing import ChoosingBehaviour
from bellax.solvers.neural.euler import Euler
from bellax.solvers.neural.evaluation import Scale, measure
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import inputs
from bellax.solvers.neural.judged import Judge, explained, outcome
from bellax.solvers.neural.options import NetSolver, check_smooth
from bellax.solvers.neural.points import Points
from bellax.solvers.neural.prepared import Found, PreparedNets
from bellax.solvers.neural.trainers import Gradients, LeastSquares, Quadratic, Trainer

_GAIN = 1.0  # see nets.initial
_TESTED = 512  # other points, at which a solution is judged
_CANDIDATES = 41  # shares of every action that are tried there


@named_options
@dataclass(frozen=True, kw_only=True)
class NeuralValueIteration(NetSolver):
    """Solves models of continuous and discrete actions, and of stopping, by an actor and a critic.

    Besides what all solvers by nets take (`NetSolver`):

    Args:
        advantage: `bx.solvers.Quadratic()` for Q as a parabola in actions around the policy (NAF), in place of the
            trainer; by default Q is what a look ahead with the critic gives.
        trainer: `bx.solvers.LeastSquares()`, the default, or `bx.solvers.Gradients()`, with which equations hold to
            about 1e-3, so that they may want tolerance=1e-2.
    Raises:
        ModelError: for constraints on continuous actions, and models in which nothing is decided.
    Source: Maliar, Maliar & Winant (2021), "Deep learning for solving dynamic economic models", Journal of Monetary
        Economics 122, for the equations; Howard (1960) for the order. Departs from it in: exact expectations, and least
        squares by Levenberg and Marquardt.
    """

    advantage: Quadratic | None = None
    trainer: Trainer = field(default_factory=LeastSquares)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.trainer, LeastSquares | Gradients):
            raise ModelError(
                f"NeuralValueIteration: trainer is {self.trainer!r}; give bx.solvers.LeastSquares() or "
                "bx.solvers.Gradients()."
            )
        if not isinstance(self.advantage, Quadratic | None):
            raise ModelError(
                f"NeuralValueIteration: advantage is {self.advantage!r}; give bx.solvers.Quadratic(), or leave it out."
            )
        if self.advantage is not None and self.trainer != LeastSquares():
            raise ModelError(
                f"NeuralValueIteration: advantage={self.advantage!r} is trained by least squares of its own; leave "
                "trainer= out."
            )

    def prepare(self, model: Any) -> "PreparedValueIteration":
        return self.kept(model, PreparedValueIteration)


class Begun(NamedTuple):
    """What stays during a training.

    Attributes:
        points: where equations hold.
        scale: of V.
        left: for how many periods something is paid for.
    """

    points: Points
    scale: Scale
    left: Float[Array, ""]


class PreparedValueIteration(PreparedNets):
    """A model under `NeuralValueIteration`."""

    def __init__(self, model: Any, options: NeuralValueIteration) -> None:
        super().__init__(model, options)
        self._check()
        self.trainer: Trainer = options.trainer if options.advantage is None else options.advantage
        self.block = self.trainer.block
        self.head = Head(self.plan, check_shares(self.plan, options.shares))
        self.warms = self.head.size > 0 and not self.plan.choices
        size = self.layout.size
        outputs = max(self.head.size, 1) * len(combinations(self.plan))
        self.shapes = (Shape(size, options.hidden, outputs), Shape(size, options.hidden))
        self.count = options.points or max(256, 4 * max(shape.weights for shape in self.shapes))

    def _check(self) -> None:
        """Raises ModelError for what the nets cannot decide."""
        plan = self.plan
        if not plan.actions and plan.evaluate_stop is None:
            raise ModelError("NeuralValueIteration: nothing is decided in this model; use bx.solvers.ValueIteration().")
        if self.options.advantage is not None:
            check_smooth(plan, "NeuralValueIteration(advantage=)", "leave advantage= out")
        for node in plan.constraints:
            named = [name for name in plan.controls if name in plan.graph.leaves(node, "action")]
            if named:
                raise ModelError(
                    f"NeuralValueIteration keeps continuous actions within bounds, and the constraint "
                    f"{node.partition(':')[2]!r} is on {named[0]!r}. State it as a bound of the action, or use "
                    "bx.solvers.PolicyIteration(maximiser=bx.maximise.Newton())."
                )

    # -- parts

    def bellman(self, arguments: Arguments, scale: Scale) -> Bellman:
        """The operator, inside a compiled program."""
        euler = Euler(self.problem, arguments, self.head, self.options.quadrature, self.options.degree)
        return Bellman(euler, inputs(self.layout, arguments, self.options.box), self.shapes, scale)

    def points(self, bellman: Bellman, seed: int, count: int) -> Points:
        """A sequence of low discrepancy in the box."""
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(count, self.layout.columns, seed))
        return Points(*jax.vmap(bellman.seen.state)(shares))

    # -- the training

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Begun, Any]:
        bellman = self.bellman(arguments, Scale(jnp.zeros(()), jnp.ones(())))
        points = self.points(bellman, self.options.seed, self.count)
        actor, critic = (nets.flat(shape, self.options.seed + k, _GAIN) for k, shape in enumerate(self.shapes))

        def rule(number: Array, states: Any) -> dict[str, Array]:
            outputs = bellman.outputs(actor)(number, states)
            return bellman.greedy(number, states, outputs, jnp.zeros_like(critic)).option.acted.actions

        scale, left = measure(bellman.conditions, rule, *points)
        begun = lax.stop_gradient(Begun(points, scale, left))  # a root of zero has no derivative
        if self.warms:
            actor = self.from_prior(arguments, prior, self.head, self.shapes[0], actor)
            critic = self.worth_of_prior(arguments, prior, *begun.scale, self.shapes[1], critic)
        return begun, self.method(arguments, begun).begin(actor, critic)

    def method(self, arguments: Arguments, begun: Begun) -> ActorCritic:
        options = self.options
        bellman = self.bellman(arguments, begun.scale)
        return self.trainer.method(bellman, begun.points, begun.left, options.tolerance, options.seed)

    # -- what comes out

    def finish(self, arguments: Arguments, begun: Begun, state: Any, moves: bool = True) -> Found:
        still = lax.stop_gradient(arguments)
        actor, critic = weights = self.method(still, begun).weights(state)
        code, stats = self._judged(still, begun, actor, critic)
        if moves:
            moved = lambda arguments: self.bellman(arguments, begun.scale)  # noqa: E731
            actor, critic = self.trainer.moved(moved, arguments, begun.points, weights)
        behaviour = self._behaviour(arguments, begun, actor, critic)
        return Found(behaviour, code, self.trainer.told(state) | stats)

    def _behaviour(self, arguments: Arguments, begun: Begun, actor: Array, critic: Array) -> Any:
        if self.plan.choices or self.plan.evaluate_stop is not None:
            return ChoosingBehaviour(actor, critic, *begun.scale, arguments, self)
        seen = self.bellman(arguments, begun.scale).seen
        return NetBehaviour(actor, critic, *begun.scale, seen, self.head, self.shapes)

    def _judged(self, arguments: Arguments, begun: Begun, actor: Array, critic: Array) -> tuple[Array, Any]:
        """How the training ended, by what is left at other points."""
        bellman, seed = self.bellman(arguments, begun.scale), self.options.seed + 1000
        candidates = Candidates(bellman, _CANDIDATES, seed) if self.head.size else None
        points = self.points(bellman, seed, _TESTED)
        stats = Judge(bellman, begun.left, actor, critic, points).stats(candidates, jax.random.key(seed))
        sane = jnp.isfinite(begun.scale.level) & jnp.isfinite(begun.scale.unit)
        return outcome(stats, sane, self.options.tolerance), stats

    def explain(self, solution: GridlessSolution) -> str:
        result = Result(int(solution.code))
        if result == Result.successful:
            return ""
        return explained(result, solution.stats, self.options.tolerance, type(self.options).__name__)
