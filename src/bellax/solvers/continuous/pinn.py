"""`PINN`: value and density as nets, trained on the residuals of a model's equations, without a grid.

What is trained and why it finds the right branch of the Hamilton-Jacobi-Bellman equation is in trained.py, what is
looked at afterwards in flagged.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.errors import ModelError, check_count, check_folder, check_positive, check_widths, listed, named_options
from bellax.learning import levenberg, nets, polynomials, sampling, training
from bellax.learning.checkpoints import Checkpoint
from bellax.learning.levenberg import Fit
from bellax.learning.nets import Shape
from bellax.learning.training import Method, Watch
from bellax.model.diffusion import Boundary, DiffusionModel
from bellax.model.fingerprint import fingerprint, hashed
from bellax.model.quantity import Quantity
from bellax.numerics import grids
from bellax.numerics.grids import Line
from bellax.numerics.once import once
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.problem.flow import Arguments
from bellax.solution.flowing import Drawn, FlowSetting, FlowSolution, quantity_at
from bellax.solution.table import Mass
from bellax.solvers.continuous import flagged, poisson
from bellax.solvers.continuous.checked import CheckedFlow
from bellax.solvers.continuous.core import Core, core
from bellax.solvers.continuous.notebook import Notebook
from bellax.solvers.continuous.pointwise import Pointwise, moving
from bellax.solvers.continuous.served import check_served
from bellax.solvers.continuous.trained import AroundNormal, DensityEquation, Form, NetTable, ValueEquation, points
from bellax.solvers.progress import report
from bellax.solvers.solver import Solver

_NODES = {1: 801, 2: 101, 3: 31}
_NEAREST = 4.0  # standard deviations: what is wrong at the edge shrinks inwards by exp(-reach^2 / 2)
_WHAT = "what PINN finds"
_BLOCK = 10  # steps between reports and checkpoints
_DEGREES = {1: (20, 12), 2: (20, 12), 3: (10, 6)}
"""Of the polynomials beside nets, along a state that does not diffuse, and along one that does."""
_WHERE = {1: (256, 1), 2: (1024, 32), 3: (3000, 128)}  # points inside, and at each edge
_ASKED = {1: 257, 2: 33, 3: 13}  # nodes of the domain along each state at which numbers are checked
_OWN = ("density", "reach", "rounds", "budget", "finish")  # options of the training that a recipe stands in for


@named_options
@dataclass(frozen=True, kw_only=True)
class PINN(Solver):
    """Solves a `DiffusionModel` of one to three continuous states by nets, trained by Levenberg-Marquardt.

    Nets live on the *core*, where the population of the linear approximation is within `reach` standard deviations;
    outside V is not a number, and nets are trained a standard deviation beyond it: near an edge that the domain goes on
    beyond, nothing but smoothness says what V is. A net is a sum of tanh layers and a polynomial. Derivatives in
    parameters are those of least squares at the weights that were found: on the core of the gallery's firm within 1e-5
    of V's, and 1e-3 of an action's (of its largest where it is nearly zero). The solution is `successful` only if what
    flagged.py looks at holds.

    Args:
        hidden: widths of the hidden layers of V.
        density: whether a density is trained, too; without one, `bx.stationary` refuses.
        reach: standard deviations of the core, four at least.
        points: inside the core; by default 256, 1024, 3000 for one, two, three states.
        rounds: of Howard's iteration, each of `budget` steps at most.
        budget: see `rounds`.
        finish: steps at most on the equation itself.
        tolerance: root mean square of the residual of V at other points than those of the training, relative to the
            discount times how far V moves over the box in the linear approximation (a tenth of V where that is more),
            beyond which the solve has failed.
        seed: of weights and points.
        checkpoint: a folder; a solve that was killed goes on there, and ends as if it had not been.
        recipe: another training than the one described here.
    Raises:
        ModelError: for a model that it does not solve, which says what, and for options that make none.
    Source: Raissi, Perdikaris & Karniadakis (2019); Howard (1960) for the branch; Marquardt (1963).
    """

    flows: ClassVar[bool] = True

    hidden: tuple[int, ...] = (12, 12)
    density: bool = True
    reach: float = 4.5
    points: int | None = None
    rounds: int = 8
    budget: int = 25
    finish: int = 300
    tolerance: float = 5e-3
    seed: int = 0
    checkpoint: str | Path | None = None
    recipe: Notebook | None = None

    def __post_init__(self) -> None:
        for name in ("rounds", "budget", "finish"):
            check_count(getattr(self, name), f"PINN: {name}")
        for name in ("reach", "tolerance"):
            check_positive(getattr(self, name), f"PINN: {name}")
        check_widths(self.hidden, "PINN: hidden")
        check_folder(self.checkpoint, "PINN: checkpoint")
        if self.points is not None:
            check_count(self.points, "PINN: points")
        if self.reach < _NEAREST:
            raise ModelError(
                f"PINN: reach is {self.reach:g} standard deviations, and at least {_NEAREST:g}: what V does at an edge "
                "of the core that the domain goes on beyond is not known, and is felt where states are if it is nearer."
            )
        if self.recipe is not None:
            self._check_alone()

    def _check_alone(self) -> None:
        """Raises ModelError for options that mean nothing beside a recipe."""
        default = {each.name: each.default for each in fields(self)}
        given = [name for name in _OWN if getattr(self, name) != default[name]]
        if given:
            raise ModelError(
                f"PINN: {listed(given)} of the training described here, and recipe= is another one, which trains both "
                "nets on the whole domain. Leave one of them out."
            )

    @classmethod
    def notebook(cls, seed: int = 0, **changes: Any) -> "PINN":
        """The recipe of the notebook that the firm with irreversible investment is from; see notebook.py."""
        return cls(hidden=(32, 32), seed=seed, recipe=Notebook(**changes))

    def prepare(self, model: Any) -> "PreparedNets":
        check_served(model)
        name = ("prepared", self)
        if name not in model.programs:
            model.programs[name] = PreparedNets(model, self)
        return model.programs[name]


class Both(NamedTuple):
    """A running training of V, and then of the density."""

    value: Fit
    density: Fit


class Training(Method):
    """The training of V and, at the V that was found, of the density; see learning/training.py."""

    def __init__(self, prepared: "PreparedNets", arguments: Arguments, where: Core) -> None:
        options = prepared.options
        self.value = prepared.equation(arguments, where)
        self.values = self.value.fit(options.rounds, options.budget, options.finish)
        self.prepared, self.seed = prepared, options.seed
        self.wanted, self.form = options.density, prepared.form

    def init(self) -> Both:
        """Where it begins."""
        weights, thin = nets.flat(self.prepared.shape, self.seed), nets.flat(self.prepared.thin, self.seed + 1)
        density = self._densities(weights)
        return Both(
            self.values.init(weights, self.value.start()), density.fit(*_DENSITY).init(thin, density.refresh(thin))
        )

    def step(self, state: Both) -> Both:
        def onwards(state: Both) -> Both:
            return state._replace(value=self.values.step(state.value))

        def densities(state: Both) -> Both:
            method = self._densities(state.value.weights).fit(*_DENSITY)
            return state._replace(density=method.step(state.density))

        if not self.wanted:
            return onwards(state)
        return lax.cond(self.values.done(state.value), densities, onwards, state)

    def done(self, state: Both) -> Array:
        over = self.values.done(state.value)
        return over & (state.density.round >= _DENSITY[0]) if self.wanted else over

    def told(self, state: Both) -> tuple[Array, Array]:
        over = self.values.done(state.value)
        loss = jnp.where(over & self.wanted, state.density.loss, state.value.loss)
        return state.value.total + state.density.total, loss

    def dependence(self) -> float:
        """The rank correlation of the dimensions of the points."""
        return sampling.dependence(sampling.points(self.prepared.counts[0], self.prepared.shape.inputs, self.seed))

    def _densities(self, weights: Array) -> DensityEquation:
        return DensityEquation(self.value, weights, self.prepared.thin, self.form)


_DENSITY = (3, 30)
"""Rounds, and steps of each."""


def _degrees(diffusing: Sequence[bool], points: int) -> tuple[int, ...]:
    """The highest degrees along each state, lower ones where there are fewer than three points for each polynomial."""
    top = tuple(_DEGREES[len(diffusing)][free] for free in diffusing)
    while len(polynomials.powers(top)) > points / 3 and max(top) > 1:
        top = tuple(max(degree - 1, 1) for degree in top)
    return top


class PreparedNets(FlowSetting):
    """A model under `PINN`."""

    endogenous = False

    def __init__(self, model: DiffusionModel, options: PINN) -> None:
        super().__init__(model, options, {})
        count = len(self.flow.continuous)
        degrees: tuple[int, ...] = ()
        self.counts = (options.points or _WHERE[count][0], _WHERE[count][1])
        if options.recipe is None:
            degrees = _degrees([name in self.flow.spreads for name in self.flow.continuous], self.counts[0])
        self.shape, self.thin = Shape(count, options.hidden, degrees=degrees), Shape(count, (12, 12), degrees=degrees)
        self.form: Form = AroundNormal() if options.recipe is None else options.recipe.form
        # numbers are asked for at nodes of the whole domain, since where the core is follows from them
        nodes = {name: grids.Scaled(_ASKED[count]) for name in self.flow.continuous}
        self.domain = CheckedFlow(model, options, nodes)

    # -- before a solve

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""
        self.domain.check(arguments)

    # -- a solve

    def core(self, arguments: Arguments) -> Core:
        """Where nets are trained, inside a compiled program."""
        still = lax.stop_gradient(arguments)
        found = core(Pointwise(self.flow, still), float(self.options.reach), self.options.seed)
        return found if self.options.recipe is None else self.options.recipe.where(found)

    def training(self, arguments: Arguments, where: Core) -> Any:
        """What trains nets there; see learning/training.py."""
        if self.options.recipe is None:
            return Training(self, arguments, where)
        return self.options.recipe.training(self.equation(arguments, where), self.options.seed, self.thin)

    def equation(self, arguments: Arguments, where: Core) -> ValueEquation:
        return ValueEquation(self, arguments, where, points(where, *self.counts, self.options.seed), self.shape)

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> FlowSolution:
        """Solves; `final` and `ticket` are of discrete time."""
        if not all_concrete(arguments):
            if self.options.checkpoint is not None:
                raise ModelError("PINN: checkpoint= keeps a solve with numbers; under a transformation leave it out.")
            run = self.program("solve", lambda: Shared(self._whole))
            return self._solution(arguments, run(arguments), well)
        tell = (
            None
            if ticket is None
            else lambda steps, loss: report(jnp.asarray(ticket))(jnp.asarray(steps), jnp.asarray(loss))
        )
        begin = self.program("begin", lambda: Shared(self._begin))
        where, state = begin(arguments)
        if not self._hopeless(where):
            blocks = self.program("block", lambda: Shared(self._block))
            watch = Watch(_BLOCK, tell, self.kept(arguments))
            state = training.watched(lambda state: blocks(arguments, where, state), state, watch)
        finish = self.program("finish", lambda: Shared(self._finish))
        return self._solution(arguments, finish(arguments, where, state), well)

    def _hopeless(self, where: Core) -> bool:
        """Whether it is known before a training what is wrong."""
        free = jnp.asarray([name not in self.flow.spreads for name in self.flow.continuous])
        held = jnp.any((where.beyond > 0) & free[None, :]) & (where.found > 0) & self.options.density
        return bool(held | ((where.found <= 0) & bool(self.flow.driven)))

    def solve_from(self, arguments: Arguments, start: Any) -> FlowSolution:
        """Solves inside a compiled program; nets begin anew, so that a price has one answer whatever was asked before.

        Weights of another price belong to another box and scale, where the last round makes a wrong branch of them; and
        of a near one they wander a little with every solve, along directions that tell nothing.
        """
        return self._solution(arguments, self._whole(arguments))

    def unknown(self, arguments: Arguments) -> NetTable:
        """A V of which nothing is known: numbers that are none."""
        where, last = jax.eval_shape(self._begin, arguments)
        none = lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype)  # noqa: E731
        number, weights = none(where.found), (none(last.value.weights), none(last.density.weights))
        core = jax.tree.map(none, where)
        return NetTable(*weights, number, number, core, self.shape, self.thin, self.form)

    def _begin(self, arguments: Arguments) -> tuple[Core, Any]:
        where = self.core(arguments)
        return where, self.training(arguments, where).init()

    def _block(self, arguments: Arguments, where: Core, state: Any) -> Any:
        return training.block(self.training(arguments, where), state, _BLOCK)

    def _whole(self, arguments: Arguments) -> tuple[NetTable, Array, dict[str, Array]]:
        """Inside a compiled program, with derivatives: V and the density move as least squares say."""
        still = lax.stop_gradient(arguments)
        where = self.core(still)
        method = self.training(still, where)
        last = lax.stop_gradient(training.run(method, method.init()))
        table, code, stats = self._finish(still, where, last)
        values = self.equation(once(arguments, _WHAT), where)
        near = values.start()
        weights = levenberg.moved(values.groups(near, jnp.asarray(False)), table.value)
        table = replace(table, value=once(weights, _WHAT))
        if self.options.density:
            density = DensityEquation(values, weights, self.thin, self.form)
            counts = density.refresh(table.density)
            moved = levenberg.moved(density.groups(counts, jnp.zeros((), jnp.int32)), table.density)
            table = replace(table, density=once(moved, _WHAT))
        return table, code, stats

    def _finish(self, arguments: Arguments, where: Core, last: Any) -> tuple[NetTable, Array, dict[str, Array]]:
        values = self.equation(arguments, where)
        table = NetTable(
            last.value.weights, last.density.weights, values.level, values.unit, where, self.shape, self.thin, self.form
        )
        stats = flagged.stats(values, DensityEquation(values, table.value, self.thin, self.form), table, self.options)
        dependence = jnp.asarray(self.training(arguments, where).dependence())
        stats = {"dependence": dependence, "steps": last.value.total + last.density.total, **stats}
        return table, flagged.code(self.flow, stats, self.options), stats

    def _solution(self, arguments: Arguments, found: Any, unchecked: bool = False) -> FlowSolution:
        table, code, stats = found
        return FlowSolution(arguments, table, self.domain.checked(arguments, code, unchecked), stats, self)

    def kept(self, arguments: Arguments) -> Checkpoint | None:
        """What was kept of the training of this model under these numbers and options; None if nothing is to be."""
        folder = self.options.checkpoint
        if folder is None:
            return None
        numbers = {name: [float(x) for x in jnp.ravel(value)] for name, value in sorted(arguments.items())}
        what = f"{fingerprint(self.model)} {hashed(replace(self.options, checkpoint=None))} {numbers}"
        return Checkpoint(folder, what)

    # -- what is asked of a solution

    def lines(self, arguments: Arguments) -> dict[str, Line]:
        """Nodes of the core, where V is told."""
        run = self.program("core", lambda: Shared(self.core))
        return self._lines(run(arguments))

    def nodes_of(self, solution: FlowSolution) -> dict[str, Array]:
        table: Any = solution.values
        return {name: line.nodes for name, line in self._lines(table.core).items()}

    def _lines(self, where: Core) -> dict[str, Line]:
        """Equally spaced in the coordinates: for a density that vanishes at the edges no quadrature is better."""
        count, lower = _NODES[len(self.flow.continuous)], where.inner.lower
        step, found = (where.inner.upper - lower) / (count - 1), {}
        for axis, name in enumerate(self.flow.continuous):
            space: Any = self.flow.spaces[name]
            found[name] = Line(space.scale, count, lower[axis], step[axis])
        return found

    def box(self, arguments: Arguments) -> dict[str, tuple[Array, Array]]:
        return {name: (line.nodes[0], line.nodes[-1]) for name, line in self.lines(arguments).items()}

    def edges_of(self, solution: FlowSolution) -> dict[str, tuple[Boundary, Boundary]]:
        """Where the core ends before the domain does, nets draw the edge."""
        table: Any = solution.values
        inner, domain, found = table.core.inner, table.core.domain, {}
        for axis, name in enumerate(self.flow.continuous):
            own = (inner.lower[axis] <= domain.lower[axis], inner.upper[axis] >= domain.upper[axis])
            lower, upper = (side if bool(real) else Drawn() for side, real in zip(self.sides(name), own, strict=True))
            found[name] = (lower, upper)
        return found

    def wider(self, arguments: Arguments, edges: Any, share: float) -> Any:
        raise ModelError("PINN has no wider box by itself; solve with a larger reach=, and compare.")

    def mass(self, solution: FlowSolution, check: bool = True) -> Mass:
        """The mass at nodes: the net's, which sums to one."""
        if not self.options.density:
            raise ModelError("this PINN was told density=False, and trained none; leave it out.")
        table: Any = solution.values
        mass = flagged.quadrature(table, _NODES[len(self.flow.continuous)])
        poor = flagged.poor(solution.stats)
        return Mass(mass, jnp.zeros(mass.shape, bool), jnp.where(poor, jnp.inf, 0.0))

    def mean(self, solution: FlowSolution, mass: Array, what: Quantity) -> Array:
        """By the Poisson equation, which sees the policy alone."""
        shares = self.program("shares", lambda: Shared(self._shares))
        y, share = shares(solution.arguments, solution.values)
        asked, point = quantity_at(solution, what), Pointwise(self.flow, solution.arguments)
        return share @ jax.vmap(lambda y: asked(point.states(y)))(y)

    def _shares(self, arguments: Arguments, table: NetTable) -> tuple[Array, Array]:
        """Points, and what each counts for in a mean."""
        values, point = self.equation(arguments, table.core), Pointwise(self.flow, arguments)
        top = lax.stop_gradient(jnp.max(jax.vmap(table.log_density)(values.where.inside)))
        weight = lambda y: jnp.exp(0.5 * jnp.minimum(table.log_density(y) - top, 0.0)) + 0.01  # noqa: E731
        how = lambda y: moving(point, table.of, y)  # noqa: E731
        return values.where.inside, poisson.shares(values.edges, how, lambda y: lax.stop_gradient(weight(y)))

    def explain(self, solution: FlowSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""
        return flagged.explain(self, solution)
