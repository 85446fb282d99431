"""One period of a discrete-time model: its mesh, the expectation, and one file per maximiser.

Everything here is pointwise: the objective of one state and one action, the maximum at one state. `sweep` lays it over
a mesh by nested `vmap`, under which each quantity lives on the smallest set of axes that it depends on.
"""
