"""One model under one solver: the problem, its discretisation, and the programs that were compiled for them."""

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import jax

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.follow import Source, is_carried
from bellax.bellman.options import GridSolver
from bellax.model.model import Model
from bellax.model.parameters import OWNED, convert
from bellax.model.rule import Rule
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem


class Setting:
    """What a solution is of. It holds the model and compiled programs, which a problem and a discretisation do not.

    Args:
        model, options: what is solved, and how.
        source: where actions come from, if they are given and not optimal.
        statement: what has the parameters; the model, or the rule that is followed.
        problem: that of one regime, of a model with several.
    Attributes:
        problem: the model with numbers and without a grid.
        numerics: its discretisation.
        programs: what was compiled, by name.
    """

    def __init__(
        self,
        model: Model,
        options: GridSolver,
        source: Source | None = None,
        statement: Model | Rule | None = None,
        problem: Problem | None = None,
    ) -> None:
        self.model = model
        self.options = options
        self.statement = model if statement is None else statement
        self.problem = Problem(model.graph, model.clock) if problem is None else problem
        self.numerics = Discretisation(self.problem, options, source)
        self.programs: dict[Any, Any] = {}

    @property
    def plan(self) -> Plan:
        """Which stages a period has."""
        return self.problem.plan

    @property
    def follows(self) -> bool:
        """Whether actions are given, and not optimal."""
        return self.numerics.follows

    def program(self, name: Any, build: Callable[[], Any]) -> Any:
        """The compiled program of that name, built once."""
        if name not in self.programs:
            self.programs[name] = build()
        return self.programs[name]

    def arguments(self, params: Mapping[str, Any]) -> Arguments:
        """What the compiled programs take: checked parameters and the literals of the model."""
        return {**self.literals, **self.statement.parameters(params)}

    def is_parameter(self, name: str) -> bool:
        """Whether an argument is a parameter of its own, and neither a literal nor an array of the policy that is
        followed."""
        return name not in self.literals and not is_carried(name) and not name.startswith(OWNED)

    @cached_property
    def literals(self) -> Arguments:
        """Numbers and arrays that were written into slots, by name."""
        with jax.ensure_compile_time_eval():  # kept for other solves, so never a tracer of this one
            given = {**self.plan.graph.literals(), **self.statement.graphs[self.problem.regime].literals()}
            return {name: convert(self.model, name, value) for name, value in given.items()}


class Settings:
    """The settings of the regimes that may be reached from one another, by name. Static, and told apart by identity.

    Attributes:
        model: whose they are.
        options: how all of them are solved.
        regimes: the settings, each with the options as its regime sees them.
        reached: by regime, those that may be reached from it.
    """

    def __init__(
        self,
        model: Model,
        options: GridSolver,
        regimes: Mapping[str, Setting],
        reached: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        self.model = model
        self.options = options
        self.regimes = dict(regimes)
        self.reached = dict(reached)

    @property
    def deciding(self) -> dict[str, Setting]:
        """Those of regimes in which something is decided."""
        return {name: setting for name, setting in self.regimes.items() if not setting.numerics.ends}
