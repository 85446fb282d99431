"""`DDPG`: an actor that learns from what it has seen, by the slopes of a critic. The model is only simulated.

See agent.py for the equations. What is found is judged by the model's own expectations, and V is what the policy is
worth.
"""

from dataclasses import dataclass
from typing import Any

from bellax.errors import named_options
from bellax.solvers.neural.options import check_smooth
from bellax.solvers.neural.trained_agents import AgentSolver, PreparedAgent


@named_options
@dataclass(frozen=True, kw_only=True)
class DDPG(AgentSolver):
    """Solves models of continuous actions from simulated periods alone, by a deterministic policy gradient.

    Its options are those of `AgentSolver`.

    Raises:
        ModelError: for discrete actions, `stop`, models without continuous actions, and constraints on these.
    Source: Lillicrap, Hunt, Pritzel, Heess, Erez, Tassa, Silver & Wierstra (2016), "Continuous control with deep
        reinforcement learning", ICLR. Departs from it in: see agent.py.
    """

    def prepare(self, model: Any) -> PreparedAgent:
        return self.kept(model, _prepared)


def _prepared(model: Any, options: DDPG) -> PreparedAgent:
    prepared = PreparedAgent(model, options)
    check_smooth(prepared.plan, "DDPG", "use bx.solvers.ActorCritic()")
    return prepared
