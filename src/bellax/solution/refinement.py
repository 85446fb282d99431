"""What it took to solve a model to an accuracy: the rounds of refinement, as a table."""

from typing import Any

import equinox as eqx
import numpy as np
from jax import Array
from jaxtyping import Bool, Float


class Refinement(eqx.Module):
    """The rounds in which nodes were added until V stayed. Changes are over max(1, |V|), the largest that was found.

    Attributes:
        accuracy: what was asked for.
        reached: whether it was reached.
        nodes: by axis, draws and candidates, how many there were in each round's finer solve, shape (r,).
        change: by how much V differs between the two solves of a round, shape (r,).
        sources: by what has nodes, what twice as many of it alone change; NaN in rounds in which it was not asked.
        overlooked: by how much V is off by Bellman's equation, on account of what both solves overlook: what the
            maximiser missed, what lies between nodes or beyond bounds, errors that add up; NaN where it was not asked.
        seconds: since the first solve began, shape (r,).
    """

    accuracy: Float[Array, ""]
    reached: Bool[Array, ""]
    nodes: dict[str, Float[Array, "r"]]
    change: Float[Array, "r"]
    sources: dict[str, Float[Array, "r"]]
    overlooked: Float[Array, "r"]
    seconds: Float[Array, "r"]

    @property
    def error(self) -> float:
        """Estimate of the largest |V - V*| over max(1, |V|) of the solution that is returned; NaN of no round."""
        if not len(self.change):
            return float("nan")
        return float(np.fmax(self.change[-1], self.overlooked[-1]))

    def table(self) -> Any:
        """A pandas DataFrame, one row a round."""
        import pandas as pd  # costs .4 s at import

        columns = {"round": np.arange(1, len(self.change) + 1)}
        columns |= {f"nodes: {name}": np.asarray(own).astype(int) for name, own in self.nodes.items()}
        columns |= {"change of V": np.asarray(self.change)}
        columns |= {f"of it by {name}": np.asarray(own) for name, own in self.sources.items()}
        columns |= {"overlooked": np.asarray(self.overlooked), "seconds": np.asarray(self.seconds)}
        return pd.DataFrame(columns)

    def __str__(self) -> str:
        count = len(self.change)
        ended = "reached" if self.reached else "not reached"
        lines = [f"Accuracy {float(self.accuracy):.3g} {ended} after {count} round{'' if count == 1 else 's'}."]
        for k in range(count):
            nodes = ", ".join(f"{name} {int(own[k])}" for name, own in self.nodes.items())
            parts = [f"{name} {float(own[k]):.2g}" for name, own in self.sources.items() if np.isfinite(own[k])]
            most = f" (twice as many of one alone: {', '.join(parts)})" if parts else ""
            seen = float(self.overlooked[k])
            more = f", and is off by {seen:.2g} by Bellman's equation" if seen > self.accuracy else ""
            lines.append(f"  {k + 1}. {nodes}: V changes by {float(self.change[k]):.2g}{most}{more}.")
        return "\n".join(lines)
