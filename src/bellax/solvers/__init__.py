"""Solvers: in which order periods are solved, and when to stop. Frozen configuration; loops are in `numerics.loops`."""

from bellax.solvers.backward_induction import BackwardInduction
from bellax.solvers.continuous.collocation import Collocation
from bellax.solvers.continuous.finite_difference import FiniteDifference
from bellax.solvers.continuous.pinn import PINN
from bellax.solvers.neural.euler_net import EulerNet
from bellax.solvers.policy_iteration import PolicyIteration
from bellax.solvers.quadratic.ilqg import ILQG
from bellax.solvers.regression.monte_carlo import RegressionMonteCarlo
from bellax.solvers.value_iteration import ValueIteration

__all__ = [
    "BackwardInduction",
    "Collocation",
    "EulerNet",
    "FiniteDifference",
    "ILQG",
    "PINN",
    "PolicyIteration",
    "RegressionMonteCarlo",
    "ValueIteration",
]
