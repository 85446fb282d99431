"""What an endogenous grid cannot do, as a number that its pieces carry."""

import enum


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
