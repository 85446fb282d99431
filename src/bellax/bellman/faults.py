"""What an endogenous grid cannot do, as a number that its pieces carry, and where a model is looked at for it."""

import enum

import numpy as np

SHARES = np.linspace(0.0, 1.0, 17)  # of the way between bounds, where a structure is looked at


class Fault(enum.IntEnum):
    """Why an endogenous grid is none, as far as it shows at the nodes; the largest is told."""

    none = 0
    nonfinite = 1
    folded = 2
    floor = 3
    jump = 4
    falling = 5
    limit = 6
    savings = 7
    utility = 8


def looked(axes: int) -> np.ndarray:
    """Where a structure is looked at, in shares of the way along each axis: all axes together, each by itself, and all
    but one."""
    together = np.repeat(SHARES[:, None], axes, axis=1)
    if axes == 1:
        return together
    alone = np.concatenate([share * np.eye(axes) for share in (0.5, 1.0)])
    return np.concatenate([together, alone, 1.0 - alone])
