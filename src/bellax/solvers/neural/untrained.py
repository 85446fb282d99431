"""Why a training of `EulerNet` failed."""

from collections.abc import Mapping

from jax import Array

from bellax.solution.solution import Result


def untrained(result: Result, stats: Mapping[str, Array], tolerance: float, finite: bool) -> str:
    """What is said of it; empty where nothing is wrong."""
    if result == Result.successful:
        return ""
    if result == Result.nonfinite:
        return (
            "the conditions are no number at some points of the box. Likely causes: a law or a reward that is none "
            "there (a negative number under a logarithm or a root); bounds that cross; a box= beyond where the "
            "model has a meaning, or one of no width, such as that of a process whose sigma is zero."
        )
    if result == Result.escaped:
        return (
            f"{float(stats['path_leaving']):.1%} of the simulated states leave the box. Conditions that "
            "hold in the box are then no optimum: what lies beyond is a guess, and a path that grows for ever may "
            "meet them, too. Widen the box=, or begin with what is stable (warm_start=)."
        )
    if result == Result.not_concave:
        return (
            f"the conditions hold where Q is least: at {float(stats['convex']):.1%} of the states it "
            "rises to both sides of an action. Take bx.solvers.NeuralValueIteration(), which compares actions, or "
            "begin on the hill (warm_start=)."
        )
    if result == Result.trapped:
        jump, gain = float(stats["jump"]), float(stats["better_elsewhere"])
        what = (
            f"a reward, a law or the terminal value jumps within the box, by {jump:.3g} of its size, and "
            if jump > 0
            else ""
        )
        return (
            f"EulerNet: conditions hold, and what lies beyond a kink or a jump they do not see: {what}other actions "
            f"are better by {gain:.3g} times the spread of V, which is itself off by {float(stats['value_error']):.3g} "
            "of it. Likely causes: a comparison, a rounding, a minimum or a maximum in a function. Take "
            "bx.solvers.NeuralValueIteration() or bx.solvers.ActorCritic(), which compare actions, or "
            "bx.solvers.ValueIteration() or bx.solvers.BackwardInduction() with bx.maximise.Enumerate(); or state what "
            "jumps as a discrete action."
        )
    mean, most = (float(stats[f"condition_{what}"]) for what in ("mean", "max"))
    along = "" if finite else f", along paths by {float(stats['path_mean']):.3g} on average"
    return (
        f"EulerNet: at other points than those of the training the conditions are off by {mean:.3g} on average and "
        f"{most:.3g} at most{along}, and tolerance={tolerance:g}. Likely causes: a bound that binds "
        "(shares={'action': bx.shares.Clipped()}), a box= from which paths leave, nets that are too small "
        "(hidden=) or too few steps (rounds=, finish=)."
    )
