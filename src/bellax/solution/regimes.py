"""The solution of a model with several regimes: value and policy by regime."""

import os
from typing import Any, NoReturn

import equinox as eqx
import jax
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.setting import Settings
from bellax.errors import ModelError, listed, nearest
from bellax.numerics import archive
from bellax.problem.problem import Arguments
from bellax.solution.record import record_regimes
from bellax.solution.solution import Result, Solution


class RegimeSolution(eqx.Module):
    """Value and policy of every regime: `solution["retired"].policy(age=70, wealth=10.0)`.

    Attributes:
        arguments: parameters and literals that were solved for, by regime.
        values: V at the nodes, by regime, one a period along the first axis; NaN where a regime is not active. A regime
            that ends is a function, and has none.
        codes: how it ended, by regime; see `result`.
        stats: numbers about the solve, by regime.
        settings: the model and its numerics.
    """

    arguments: dict[str, Arguments]
    values: dict[str, Value]
    codes: dict[str, Array]
    stats: dict[str, Any]
    settings: Settings = eqx.field(static=True)

    @property
    def model(self) -> Any:
        """The model that was solved."""
        return self.settings.model

    @property
    def regimes(self) -> list[str]:
        """Names of the regimes."""
        return list(self.settings.regimes)

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

    def __getitem__(self, regime: str) -> Solution:
        """The solution of one regime."""
        if regime not in self.settings.regimes:
            raise ModelError(
                f"there is no regime {regime!r}.{nearest(str(regime), self.settings.regimes)} There are "
                f"{listed(self.settings.regimes)}."
            )
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
        parts = [
            f"  {name}: {'ends, a function of its states' if name not in self.values else str(self[name])}"
            for name in self.regimes
        ]
        return "\n".join([f"Solution of {len(parts)} regimes: {result}.", *parts])

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

    def tabulate(self) -> NoReturn:
        """Of one regime: `solution["retired"].tabulate()`."""
        self._which("tabulate")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the solution of all regimes to one NetCDF file; see `Solution.save`."""
        self.check_one()
        parts = self.arguments, self.values, self.codes, self.stats
        archive.write(path, record_regimes(self.settings, *parts))

    def check_one(self) -> None:
        """Raises ModelError for a batch of solutions."""
        if self.code.ndim:
            raise ModelError(
                f"this is a batch of solutions, shape {self.code.shape}, as jax.vmap returns. Ask them together: "
                "jax.vmap(lambda solution: solution['name'].value(...))(solutions); or take one: "
                "jax.tree.map(lambda leaf: leaf[0], solutions)."
            )

    def _which(self, what: str) -> NoReturn:
        first = self.regimes[0]
        raise ModelError(
            f"{what} is of one regime: solution[{first!r}].{what}(...). There are {listed(self.settings.regimes)}."
        )
