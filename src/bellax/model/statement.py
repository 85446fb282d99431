"""What every kind of statement has, whoever it is written for: graphs of names, and a clock."""

import abc
from collections.abc import Mapping

from bellax.model.graph import Graph
from bellax.model.time import Clock


class Statement(abc.ABC):
    """What has parameters: a model, a diffusion, conditions."""

    @property
    @abc.abstractmethod
    def graphs(self) -> Mapping[str, Graph]:
        """The graph of every regime; of one, named '', where there are no regimes."""

    @property
    @abc.abstractmethod
    def clock(self) -> Clock:
        """Periods and ages."""
