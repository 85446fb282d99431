"""`NeuralValueIteration`: an actor and a critic, with exact expectations over chains and quadrature.

What the Bellman operator of nets is says bellman.py, how nets are trained alternation.py (least squares in turn) and
descent.py (gradients with target nets), and what is looked at before a solution is called successful judged.py.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.errors import ModelError, named_options
from bellax.learning import levenberg, nets, sampling
from bellax.learning.nets import Shape
from bellax.problem.period import combinations
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.neural.alternation import Alternation, Points, Turns
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.euler import Euler
from bellax.solvers.neural.evaluation import Scale, measure
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import Inputs, inputs
from bellax.solvers.neural.options import NetSolver
from bellax.solvers.neural.prepared import Found, PreparedNets
from bellax.solvers.neural.trainers import LeastSquares, Trainer

@named_options
@dataclass(frozen=True, kw_only=True)
class NeuralValueIteration(NetSolver):
    """Solves models by an actor and a critic."""

    trainer: Trainer = field(default_factory=LeastSquares)

    def prepare(self, model: Any) -> "PreparedValueIteration":
        return self.kept(model, PreparedValueIteration)


class Begun(NamedTuple):
    """What stays during a training."""

    points: Points
    scale: Scale
    left: Array


class PreparedValueIteration(PreparedNets):
    """A model under `NeuralValueIteration`."""

    def __init__(self, model: Any, options: NeuralValueIteration) -> None:
        super().__init__(model, options)
        self.head = Head(self.plan, check_shares(self.plan, options.shares))
        size = self.layout.size
        outputs = max(self.head.size, 1) * len(combinations(self.plan))
        self.shapes = (Shape(size, options.hidden, outputs), Shape(size, options.hidden))
        self.count = options.points or max(256, 4 * max(shape.count for shape in self.shapes))

    def bellman(self, arguments: Arguments, scale: Scale) -> Bellman:
        euler = Euler(self.problem, arguments, self.head, self.options.quadrature, self.options.degree)
        return Bellman(euler, inputs(self.layout, arguments, self.options.box), self.shapes, scale)

    def points(self, bellman: Bellman, seed: int, count: int) -> Points:
        """A sequence of low discrepancy in the box."""
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(count, self.layout.columns, seed))
        return Points(*jax.vmap(bellman.seen.state)(shares))

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Begun, Any]:
        one = Scale(jnp.zeros(()), jnp.ones(()))
        bellman = self.bellman(arguments, one)
        points = self.points(bellman, self.options.seed, self.count)
        actor, critic = (nets.flat(shape, self.options.seed + k) for k, shape in enumerate(self.shapes))

        def rule(number: Array, states: Any) -> dict[str, Array]:
            outputs = bellman.outputs(actor)(number, states)
            return bellman.greedy(number, states, outputs, jnp.zeros_like(critic)).option.acted.actions

        scale, left = measure(bellman.euler, rule, *points)
        begun = Begun(points, scale, left)
        return begun, self.method(arguments, begun).init(actor, critic)

    def method(self, arguments: Arguments, begun: Begun) -> Alternation:
        options = self.options
        bellman = self.bellman(arguments, begun.scale)
        return Alternation(bellman, begun.points, begun.left, options.trainer, options.tolerance, options.seed)

    def finish(self, arguments: Arguments, begun: Begun, state: Turns) -> Found:
        bellman = self.bellman(arguments, begun.scale)
        behaviour = NetBehaviour(
            state.actor.weights, state.critic.weights, *begun.scale, bellman.seen, self.head, self.shapes
        )
        stats = {"steps": state.steps, "alternations": state.number, "dv": state.change[0], "da": state.change[1], "cl": state.critic.loss, "al": state.actor.loss}
        return Found(behaviour, jnp.zeros((), jnp.int32), stats)

    def explain(self, solution: GridlessSolution) -> str:
        return ""
