"""The one driver of solvers: what a run starts from, a step of it, when it is over, and what comes out."""

import abc
from typing import Any, Generic, NamedTuple, TypeVar

import jax.numpy as jnp
from jax import Array

from bellax.numerics import loops
from bellax.solvers.progress import Report

State = TypeVar("State")


class Run(NamedTuple):
    """What a solver's program returns: V, the code of a `Result`, and numbers about the run; by regime where there are
    several."""

    values: Any
    code: Any
    stats: dict[str, Any]


class Iteration(abc.ABC, Generic[State]):
    """One run of a solver. It is made and driven inside a compiled program; a state is a pytree of arrays.

    Attributes:
        length: how many steps there are, where they go back from the last period; then what each keeps is kept, and
            the run can be differentiated in both modes. None where a run goes on until it is `done`.
    """

    length: int | None = None

    @abc.abstractmethod
    def init(self) -> State:
        """What it starts from."""

    @abc.abstractmethod
    def step(self, state: State, number: Array) -> tuple[State, Any]:
        """The state after one more step, and what is kept of it.

        Args:
            number: the period, where the length is known.
        """

    def done(self, state: State) -> Array:
        """Whether it is over, where the length is not known."""
        raise NotImplementedError

    @abc.abstractmethod
    def told(self, state: State, number: Array) -> tuple[Any, Any]:
        """For progress: a count of steps done, and a residual."""

    @abc.abstractmethod
    def result(self, state: State, kept: Any) -> Run:
        """What comes out.

        Args:
            kept: what the steps kept, in the order of time; None where the length is not known.
        """


def drive(iteration: Iteration[State], report: Report | None) -> Run:
    """Runs to the end.

    Args:
        report: for progress; None compiles it away.
    """

    def step(state: State, number: Array) -> tuple[State, Any]:
        following, kept = iteration.step(state, number)
        if report is not None:
            report(*(jnp.asarray(entry) for entry in iteration.told(following, number)))
        return following, kept

    start = iteration.init()
    if iteration.length is not None:
        return iteration.result(*loops.backward(step, start, iteration.length))
    nowhere = jnp.zeros((), jnp.int32)
    return iteration.result(loops.until(iteration.done, lambda state: step(state, nowhere)[0], start), None)
