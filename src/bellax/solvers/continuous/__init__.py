"""Solvers of models in continuous time: finite differences on nodes, polynomials, and nets.

`FiniteDifference` has a monotone scheme and Newton's method on its tangents; what says where it failed is in
complaints.py. `Collocation` begins with it and is exact to many digits where V is smooth, doubts.py being what is asked
of it afterwards. `PINN` trains nets on the same equations without a grid, judged by flagged.py. All of them refuse
numbers that make no model alike (checked.py).
"""
