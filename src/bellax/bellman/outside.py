"""What is answered where a state lies outside its grid, as an option of a solver: `outside=bx.outside.Nan()`."""

from dataclasses import dataclass

__all__ = ["Extrapolate", "Nan"]


@dataclass(frozen=True)
class Extrapolate:
    """V of tomorrow is extrapolated as the interpolant says, without a word; no certificate covers what is answered.

    Where nothing is said, it is extrapolated, too, but a query warns, and a simulation does not start there.
    """


@dataclass(frozen=True)
class Nan:
    """Value and policy are NaN, under a transformation as well, and so is a simulated path from there on.

    Solving itself extrapolates as the interpolant says: this is about what is asked of the solution. After the last
    decision a value that the model states as a function is exact everywhere, and is answered everywhere.
    """
