"""What every solver is to the front door: frozen configuration that makes something of a model."""

import abc
from typing import Any


class Solver(abc.ABC):
    """A solver. What `prepare` makes says what is wrong with numbers, solves, and explains failures."""

    @abc.abstractmethod
    def prepare(self, model: Any) -> Any:
        """A model under this solver, made once for equal configurations and kept on the model.

        Raises:
            ModelError: if this solver does not solve such a model.
        """
