"""What a solver is, and the bookkeeping that all of them share."""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.options import GridSolver
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import TALLY, Step
from bellax.solution import Result, unless_failed
from bellax.solvers.progress import Report


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


def tallied(step: Step) -> Array:
    """The tally of one Bellman step over all nodes, in the order of `TALLY`."""
    return jnp.sum(step.tally.reshape(-1, len(TALLY)), axis=0)


def latest(total: Array, tally: Array) -> Array:
    """Evaluations so far; of nodes only those of the latest step, since those before were the same nodes."""
    return tally.at[0].add(total[0])


def faulty(tally: Array) -> Array:
    """Whether a node is infeasible or no number, so that going on makes no sense."""
    return (tally[1] > 0) | (tally[2] > 0)


def stats(tally: Array) -> dict[str, Array]:
    """The tally by name."""
    return dict(zip(TALLY, tally, strict=True))


def outcome(tally: Array, converged: Array) -> Array:
    """The code of the `Result`: not a number, then infeasible, then not converged, then successful."""
    code = jnp.where(converged, int(Result.successful), int(Result.max_steps_reached))
    code = jnp.where(tally[1] > 0, int(Result.infeasible), code)
    return jnp.where(tally[2] > 0, int(Result.nonfinite), code).astype(jnp.int32)


def blanked(value: Value, code: Array) -> Value:
    """V, or NaN everywhere after a failure: under a transformation nothing raises, and nothing wrong is returned."""
    return jax.tree.map(lambda leaf: leaf * unless_failed(code), value)


def tell(report: Report | None, done: Any, residual: Any) -> None:
    """Tells whoever listens."""
    if report is not None:
        report(jnp.asarray(done), jnp.asarray(residual))
