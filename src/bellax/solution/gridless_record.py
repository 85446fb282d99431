"""What a file holds of a solution without a grid: the arrays of its behaviour, by the paths under which it has them."""

from typing import Any

import numpy as np

from bellax.numerics.archive import Archive, Variable
from bellax.solution.flow_record import leaves_of
from bellax.solution.record import attributes, check_concrete, parameter, plain


def record_gridless(solution: Any) -> Archive:
    """The archive of a `GridlessSolution`.

    Raises:
        ModelError: if the solution is being traced.
    """
    check_concrete((solution.arguments, solution.values, solution.code))
    variables = {"code": Variable((), np.asarray(solution.code))}
    for label, leaf in leaves_of(solution.values).items():
        array = np.asarray(leaf)
        if array.size:  # NetCDF 3 takes an axis of length zero for one without end
            variables[label] = plain(label, array)
    variables |= {f"stat:{name}": plain(f"stat:{name}", number) for name, number in solution.stats.items()}
    variables |= {f"parameter:{name}": parameter(name, value) for name, value in solution.params.items()}
    return Archive(variables, {}, attributes(solution.setting.model, solution.setting.stored))
