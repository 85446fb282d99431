"""Solvers: in which order periods are solved, and when to stop. Frozen configuration; loops are in `numerics.loops`."""

from bellax.solvers.backward_induction import BackwardInduction
from bellax.solvers.continuous.collocation import Collocation
from bellax.solvers.continuous.finite_difference import FiniteDifference
from bellax.solvers.continuous.pinn import PINN
from bellax.solvers.neural.actor_critic import ActorCritic
from bellax.solvers.neural.ddpg import DDPG
from bellax.solvers.neural.euler_net import EulerNet
from bellax.solvers.neural.policy_gradient import PolicyGradient
from bellax.solvers.neural.trainers import Gradients, LeastSquares, Quadratic
from bellax.solvers.neural.value_iteration import NeuralValueIteration
from bellax.solvers.policy_iteration import PolicyIteration
from bellax.solvers.quadratic.ilqg import ILQG
from bellax.solvers.regression.monte_carlo import RegressionMonteCarlo
from bellax.solvers.value_iteration import ValueIteration

__all__ = [
    "ActorCritic",
    "BackwardInduction",
    "Collocation",
    "DDPG",
    "EulerNet",
    "FiniteDifference",
    "ILQG",
    "Gradients",
    "LeastSquares",
    "NeuralValueIteration",
    "PINN",
    "PolicyGradient",
    "PolicyIteration",
    "Quadratic",
    "RegressionMonteCarlo",
    "ValueIteration",
]
