"""A model under a solver that is trained: in blocks from Python where numbers are known, else in one program.

A solver by nets says how a training begins, by which method it goes on, and what comes out. Where parameters are traced
the whole of it is one program, and what comes out moves with them as the solver says.
"""

import abc
import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.bellman.checks import check_arguments, sound
from bellax.errors import ModelError, check_names
from bellax.learning import sampling, training
from bellax.learning.checkpoints import Checkpoint
from bellax.learning.nets import Shape
from bellax.learning.training import Method, Watch
from bellax.model.fingerprint import fingerprint, hashed
from bellax.model.model import Model
from bellax.model.spaces import AR1, IID, VAR
from bellax.numerics.programs import all_concrete, quickly
from bellax.numerics.shared import Shared
from bellax.problem.averages import Rules
from bellax.problem.problem import Arguments
from bellax.solution.gridless import Behaviour, GridlessSetting, GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.neural import warm
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.euler import Euler, is_static, sizes, unit_free
from bellax.solvers.neural.floors import TINY
from bellax.solvers.neural.heads import Head
from bellax.solvers.neural.inputs import Layout, check_box, inputs
from bellax.solvers.neural.single import of_one_term, single
from bellax.solvers.neural.warm import Prior
from bellax.solvers.progress import report

_LOG = logging.getLogger("bellax")
_BLOCK = 10  # steps between reports and checkpoints
Condition = Callable[[Array, Any], Array]
_ASKED = 512  # points at which what is known before is asked


class Found(NamedTuple):
    """What a training found.

    Attributes:
        behaviour: policy and value.
        code: of a `Result`.
        stats: numbers about it, by name.
    """

    behaviour: Behaviour
    code: Array
    stats: dict[str, Array]


class PreparedNets(GridlessSetting):
    """A model under a solver by nets.

    Attributes:
        layout: of its states, as nets see them.
        hasty: whether there is so little to do in `finish` that its code need not be good.
        plain: the same without what a training begins with and where it is kept: what has the programs.
    """

    block: int = _BLOCK
    hasty = True
    warms = False  # whether `begin` takes what is known before

    def __init__(self, model: Model, options: Any) -> None:
        super().__init__(model, options)
        drawn = (name for name, space in self.plan.states.items() if isinstance(space, AR1 | VAR | IID))
        check_names(options.quadrature, [*self.plan.graph.regime.shocks, *drawn], "quadrature: shock or process")
        self.layout = Layout(self.problem)
        self.plain = self

    def beginning_with(self, options: Any) -> "PreparedNets":
        """This model under a solver that differs by `warm_start` and `checkpoint` alone, with programs in common."""
        own = copy.copy(self)
        own.options = options
        return own

    # -- what a solver says

    @abc.abstractmethod
    def method(self, arguments: Arguments, begun: Any) -> Method:
        """By which the training goes on, made inside a compiled program.

        Args:
            begun: what `begin` gave beside the first state.
        """

    @abc.abstractmethod
    def begin(self, arguments: Arguments, prior: Any) -> tuple[Any, Any]:
        """What stays as it is during the training, and its first state, inside a compiled program.

        Args:
            prior: see `prior`.
        """

    @abc.abstractmethod
    def finish(self, arguments: Arguments, begun: Any, state: Any, moves: bool = True) -> Found:
        """What comes out, inside a compiled program.

        Args:
            moves: whether it is to move with arguments, of which `state` does not know.
        """

    def prior(self, arguments: Arguments) -> Prior | None:
        """What is known before, from the solver's `warm_start`; with numbers only."""
        given, what = self.options.warm_start, type(self.options).__name__
        if given is None:
            return None
        if not self.warms:
            raise ModelError(f"{what} takes no warm_start= of such a model; leave it out.")
        plain = self.plain
        run = plain.program("prior points", lambda: quickly(plain._where_known, True))
        return warm.prior(self.model, self.problem, arguments, given, run(arguments), what)

    def _where_known(self, arguments: Arguments) -> Any:
        """Points at which a prior is asked."""
        seen = inputs(self.layout, arguments, self.options.box)
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(_ASKED, self.layout.columns, 0))
        return jax.vmap(seen.state)(shares)

    def from_prior(self, arguments: Arguments, prior: Prior | None, head: Head, shape: Shape, weights: Array) -> Array:
        """Weights of the policy to begin with, inside a compiled program: those that are given, or the prior's.

        Args:
            head, shape: of the net.
        """
        if prior is None or not prior.actions:
            return weights
        seen = inputs(self.layout, arguments, self.options.box)

        def outputs(states: Any, number: Array, actions: Any) -> Array:
            return head.outputs(self.problem.period(arguments, number), states, actions)

        targets = jax.vmap(outputs)(prior.states, prior.periods, prior.actions)
        return warm.distilled(shape, weights, jax.vmap(seen.of)(prior.periods, prior.states), targets)

    @property
    def rules(self) -> Rules:
        return self.options.quadrature, self.options.degrees[1]

    def conditions(self, arguments: Arguments, behaviour: Behaviour, rules: Rules | None = None) -> Condition | None:
        """The Euler equations at what nets do, with slopes of V where these have to stand in them."""
        if not isinstance(behaviour, NetBehaviour) or self.plan.choices or self.plan.evaluate_stop is not None:
            return None
        own = behaviour
        euler = Euler(self.problem, arguments, own.head, *(self.rules if rules is None else rules))
        alone = single(self.plan)

        def without(number: Array, states: Any) -> Array:
            terms = euler.first_order(number, states, own.outputs)
            if not alone.any():
                return unit_free(terms, None)
            change = of_one_term(terms, euler.bends(number, states, own.outputs)) + TINY * own.unit / terms.width
            return unit_free(terms, jnp.where(alone, 0.5 * sizes(terms) + change, jnp.abs(terms.now)))

        if is_static(self.plan):
            return without

        def with_slopes(number: Array, states: Any) -> Array:
            terms, _, _ = euler.all(number, states, own.outputs, own.worth)
            change = of_one_term(terms, euler.bends(number, states, own.outputs, own.worth))
            return unit_free(terms, 0.5 * sizes(terms) + change + TINY * own.unit / terms.width)

        return with_slopes

    def worth_of_prior(
        self, arguments: Arguments, prior: Prior | None, level: Array, unit: Array, shape: Shape, weights: Array
    ) -> Array:
        """Weights of V to begin with, as `from_prior`; V is the net times the unit, beside the level."""
        if prior is None or prior.values is None:
            return weights
        seen = inputs(self.layout, arguments, self.options.box)
        targets = ((prior.values - level) / unit)[:, None]
        return warm.distilled(shape, weights, jax.vmap(seen.of)(prior.periods, prior.states), targets)

    def begun(self, begun: Any) -> None:
        """Raises ModelError for what shows only now, with numbers, to be no model for this solver."""

    def blocks(self, method: Method, state: Any) -> Any:
        """Some steps of a training."""
        return training.block(method, state, self.block)

    # -- what the front door asks

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model, and ModelError for states without a box."""
        check_arguments(self.plain, arguments)
        plain = self.plain  # the program is kept, and who began elsewhere is not
        seen = lambda arguments: inputs(plain.layout, arguments, plain.options.box)  # noqa: E731
        run = plain.program("box of nets", lambda: quickly(seen, True))
        check_box(run(arguments), type(self.options).__name__)

    def solve(self, arguments: Arguments, final: None, ticket: Any = None, well: bool = False) -> GridlessSolution:
        """Solves; `final` is of grids."""
        kept, plain = self.options.checkpoint, self.plain
        if not all_concrete(arguments):
            if kept is not None or self.options.warm_start is not None:
                raise ModelError(
                    f"{type(self.options).__name__}: checkpoint= and warm_start= are for a solve with numbers; under a "
                    "transformation leave them out."
                )
            run = plain.program("whole", lambda: Shared(plain._whole))
            return plain._solution(arguments, run(arguments))
        prior = self.prior(arguments)
        watch = Watch(
            self.block, _teller(ticket), None if kept is None else Checkpoint(kept, self._described(arguments, prior))
        )
        return plain._trained(arguments, prior, watch)

    def _trained(self, arguments: Arguments, prior: Prior | None, watch: Watch) -> GridlessSolution:
        """Solves with numbers."""
        begin = self.program("begin", lambda: quickly(self._begin, True))
        begun, state = begin(arguments, prior)
        self.begun(begun)
        blocks = self.program("blocks", lambda: Shared(self._blocks))
        state = training.watched(lambda state: blocks(arguments, begun, state), state, watch)
        finish = self.program(
            "finish", lambda: quickly(lambda a, begun, state: self.finish(a, begun, state, False), self.hasty)
        )
        solution = self._solution(arguments, finish(arguments, begun, state))
        if self.remark(solution):
            _LOG.warning("%s: %s", type(self.options).__name__, self.remark(solution))
        return solution

    def _begin(self, arguments: Arguments, prior: Any) -> Any:
        # a number of Python's would have a type of its own in the first block, and one program more
        return jax.tree.map(lambda leaf: lax.convert_element_type(leaf, leaf.dtype), self.begin(arguments, prior))

    def _blocks(self, arguments: Arguments, begun: Any, state: Any) -> Any:
        return self.blocks(self.method(arguments, begun), state)

    def _whole(self, arguments: Arguments) -> Found:
        still = lax.stop_gradient(arguments)
        begun, state = self.begin(still, None)
        last = lax.stop_gradient(training.run(self.method(still, begun), state))
        found = self.finish(arguments, begun, last)
        sane = sound(self.numerics, still)
        return found._replace(code=jnp.where(sane, found.code, int(Result.nonfinite)).astype(jnp.int32))

    def _solution(self, arguments: Arguments, found: Found) -> GridlessSolution:
        values, code, stats = found
        return GridlessSolution(arguments=arguments, values=values, code=code, stats=stats, setting=self)

    def _described(self, arguments: Arguments, prior: Prior | None) -> str:
        """What a checkpoint is of; what was known before counts by what it says."""
        numbers = {name: np.asarray(value).ravel().tolist() for name, value in sorted(flat(arguments).items())}
        return f"{fingerprint(self.model)} {hashed(self.stored)} {hashed(prior)} {numbers}"

    @property
    def stored(self) -> Any:
        """The solver without where it began, and where it kept what it had."""
        return replace(self.options, checkpoint=None, warm_start=None)

    def structure(self, arguments: Arguments) -> Behaviour:
        return jax.eval_shape(self._whole, arguments).behaviour

    @abc.abstractmethod
    def explain(self, solution: GridlessSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""


def flat(arguments: Arguments) -> dict[str, Any]:
    """The arrays of arguments by name; of parameters by period their values."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(arguments)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _teller(ticket: Any) -> Callable[[int, float], None] | None:
    if ticket is None:
        return None
    return lambda steps, loss: report(jnp.asarray(ticket))(jnp.asarray(steps), jnp.asarray(loss))
