"""The solution of a model with several regimes: value and policy by regime, each a `Solution` of its own."""

import os
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NoReturn

import equinox as eqx
import jax
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.setting import Settings
from bellax.errors import ModelError, listed, nearest
from bellax.numerics import archive
from bellax.problem.problem import Arguments
from bellax.solution.policy import Queried
from bellax.solution.record import record_regimes
from bellax.solution.refinement import Refinement
from bellax.solution.result import Result, check_single
from bellax.solution.solution import FOLLOWED, Solution
from bellax.solution.tabulated import Interpolating, Tabulated


class QueriedRegimes(eqx.Module):
    """What a user asks of several regimes: a policy for each, and whose they are. The names of regimes are its keys.

    Attributes:
        arguments: parameters and literals, by regime.
        settings: the model and its numerics.
    """

    arguments: eqx.AbstractVar[dict[str, Arguments]]
    settings: eqx.AbstractVar[Settings]

    @property
    def model(self) -> Any:
        """The model that was solved."""
        return self.settings.model

    @property
    def regimes(self) -> list[str]:
        """Names of the regimes."""
        return list(self.settings.regimes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.regimes)

    def __len__(self) -> int:
        return len(self.regimes)

    def __contains__(self, regime: object) -> bool:
        return regime in self.settings.regimes

    def __getitem__(self, regime: str) -> Any:
        """What is asked of one regime."""
        if regime not in self.settings.regimes:
            raise ModelError(
                f"there is no regime {regime!r}.{nearest(str(regime), self.settings.regimes)} There are "
                f"{listed(self.settings.regimes)}."
            )
        return self.of(regime)

    @abstractmethod
    def of(self, regime: str) -> Queried:
        """What is asked of one regime that there is."""

    @abstractmethod
    def check_one(self) -> None:
        """Raises ModelError for a batch of them."""

    def value(self, *_: Any, **__: Any) -> NoReturn:
        """Of one regime: `solution["retired"].value(...)`."""
        self._which("value")

    def policy(self, *_: Any, **__: Any) -> NoReturn:
        """Of one regime: `solution["retired"].policy(...)`."""
        self._which("policy")

    def choice_values(self, *_: Any, **__: Any) -> NoReturn:
        """Of one regime: `solution["retired"].choice_values(...)`."""
        self._which("choice_values")

    def choice_probabilities(self, *_: Any, **__: Any) -> NoReturn:
        """Of one regime: `solution["retired"].choice_probabilities(...)`."""
        self._which("choice_probabilities")

    def action_probabilities(self, *_: Any, **__: Any) -> NoReturn:
        """Of one regime: `solution["retired"].action_probabilities(...)`."""
        self._which("action_probabilities")

    def _which(self, what: str) -> NoReturn:
        first = next(iter(self.settings.deciding))
        raise ModelError(
            f"{what} is of one regime: solution[{first!r}].{what}(...). There are {listed(self.settings.regimes)}."
        )


class RegimeTable(QueriedRegimes):
    """Policies kept at the nodes of the grids of regimes; see `Tabulated`.

    Attributes:
        tables: of each regime in which something is decided.
    """

    arguments: dict[str, Arguments]
    tables: dict[str, Interpolating]
    settings: Settings = eqx.field(static=True)

    def of(self, regime: str) -> Tabulated:
        """The table of one regime."""
        if regime not in self.tables:
            raise ModelError(f"the regime {regime!r} ends the problem: nothing is decided in it.")
        return Tabulated(table=self.tables[regime], setting=self.settings.regimes[regime])

    def check_one(self) -> None:
        """Tables are made of one solution."""


class RegimeSolution(QueriedRegimes):
    """Value and policy of every regime: `solution["retired"].policy(age=70, wealth=10.0)`.

    Attributes:
        arguments: parameters and literals that were solved for, by regime.
        values: V at the nodes, by regime, one a period along the first axis; NaN where a regime is not active. A regime
            that ends is a function, and has none.
        codes: how it ended, by regime; see `result`.
        stats: numbers about the solve, by regime.
        settings: the model and its numerics.
        refinement: the rounds of a solve with `accuracy=`; a file does not keep them.
    """

    arguments: dict[str, Arguments]
    values: dict[str, Value]
    codes: dict[str, Array]
    stats: dict[str, Any]
    settings: Settings = eqx.field(static=True)
    refinement: Refinement | None = None

    @property
    def code(self) -> Array:
        """How the solve ended: of the regimes the worst."""
        found = list(self.codes.values())
        worst = found[0]
        for code in found[1:]:
            worst = jax.numpy.maximum(worst, code)
        return worst

    @property
    def result(self) -> Result | Array:
        """How the solve ended; under a transformation the code of it."""
        code = self.code
        return code if isinstance(code, jax.core.Tracer) or code.ndim else Result(int(code))

    def of(self, regime: str) -> Solution:
        """The solution of one regime."""
        code = self.codes.get(regime, jax.numpy.zeros((), jax.numpy.int32))
        return Solution(
            arguments=self.arguments,
            values=self.values,
            code=code,
            stats=self.stats.get(regime, {}),
            setting=self.settings.regimes[regime],
        )

    def leaving(self) -> str:
        """Sentences on the nodes whose optimal next state leaves the grid; empty where there are none."""
        found = [(name, self[name].leaving()) for name in self.values]
        return "".join(f" Regime {name!r}:{words}" for name, words in found if words)

    def __str__(self) -> str:
        result = self.result.name if isinstance(self.result, Result) else "traced"
        result = f"a batch of shape {self.code.shape}" if self.code.ndim else result
        parts = [
            f"  {name}: {'ends, a function of its states' if name not in self.values else str(self[name])}"
            for name in self.regimes
        ]
        refined = [] if self.refinement is None else [str(self.refinement)]
        return "\n".join([f"Solution of {len(parts)} regimes: {result}.", *parts, *refined])

    def tabulate(self) -> RegimeTable:
        """The policies at the nodes, interpolated between them: much faster to query, exact only at the nodes."""
        tables = {name: self.of(name).tabulate().table for name in self.values}
        return RegimeTable(arguments=self.arguments, tables=tables, settings=self.settings)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the solution of all regimes to one NetCDF file; see `Solution.save`."""
        self.check_one()
        if any(setting.follows for setting in self.settings.deciding.values()):
            raise ModelError(FOLLOWED)
        parts = self.arguments, self.values, self.codes, self.stats
        archive.write(path, record_regimes(self.settings, *parts))

    def check_one(self) -> None:
        """Raises ModelError for a batch of solutions."""
        check_single(self.code, "solution['name']")
