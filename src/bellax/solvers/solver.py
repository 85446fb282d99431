"""What every solver is to the front door: frozen configuration that makes something of a model."""

import abc
from typing import Any, ClassVar


class Solver(abc.ABC):
    """A solver. What `prepare` makes says what is wrong with numbers, solves, and explains failures."""

    flows: ClassVar[bool] = False
    """Whether it solves models in continuous time; else those in discrete time."""

    @abc.abstractmethod
    def prepare(self, model: Any) -> Any:
        """A model under this solver, made once for equal configurations and kept on the model.

        Raises:
            ModelError: if this solver does not solve such a model.
        """
