"""What a solver is, and the bookkeeping that all of them share."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.options import GridSolver
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import Step
from bellax.solution import Result

Report = Callable[[Array, Array], None]
"""Called on the host with a count of steps done and a residual."""


class Run(NamedTuple):
    """What a solver's program returns: V, the code of a `Result`, and numbers about the run."""

    values: Value
    code: Array
    stats: dict[str, Array]


class Solver(GridSolver, abc.ABC):
    """A solver on a grid: a pure function of arguments for each setting."""

    @abc.abstractmethod
    def check(self, setting: Setting) -> None:
        """Raises ModelError where the model is not of the solver's kind."""

    @abc.abstractmethod
    def run(self, setting: Setting, arguments: Arguments, final: Value | None, report: Report | None) -> Run:
        """Solves, inside a compiled program.

        Args:
            final: V after the last decision where it is given and not the model's own.
            report: for progress; None compiles it away.
        """


class Count(NamedTuple):
    """Running sums over Bellman steps."""

    evaluations: Array
    infeasible: Array
    not_numbers: Array
    infinite: Array

    def stats(self) -> dict[str, Array]:
        return {
            "evaluations": self.evaluations,
            "infeasible_nodes": self.infeasible,
            "nan_nodes": self.not_numbers,
            "infinite_nodes": self.infinite,
        }


def counted(step: Step) -> Count:
    """The sums of one Bellman step."""
    levels = step.value.levels
    return Count(
        jnp.sum(step.evaluations),
        jnp.sum(~step.feasible),
        jnp.sum(jnp.isnan(levels) | (levels == jnp.inf)),
        jnp.sum((levels == -jnp.inf) & step.feasible),
    )


def outcome(count: Count, converged: Array) -> Array:
    """The code of the `Result`: not a number, then infeasible, then not converged, then successful."""
    code = jnp.where(converged, int(Result.successful), int(Result.max_steps_reached))
    code = jnp.where(count.infeasible > 0, int(Result.infeasible), code)
    return jnp.where(count.not_numbers > 0, int(Result.nonfinite), code).astype(jnp.int32)


def blanked(value: Value, code: Array) -> Value:
    """V, or NaN everywhere after a failure: under a transformation nothing raises, and nothing wrong is returned."""
    failed = code != int(Result.successful)
    return jax.tree.map(lambda leaf: jnp.where(failed, jnp.nan, leaf), value)


def tell(report: Report | None, done: Any, residual: Any) -> None:
    """Calls `report` on the host, if there is one."""
    if report is not None:
        jax.debug.callback(report, jnp.asarray(done), jnp.asarray(residual))
