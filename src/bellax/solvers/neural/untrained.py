"""Why a training of `EulerNet` failed."""

from collections.abc import Mapping

from jax import Array

from bellax.solution.solution import Result


def valueless(error: float, tolerance: float) -> str:
    """What is said of a V that was found after the policy, and is wrong; empty where it is right."""
    if error <= tolerance:
        return ""
    return (
        f"V is none: its own equation is off by {error:.3g} of its spread at some state of the box, and tolerance="
        f"{tolerance:g}. The policy does not hang on it. A larger net (hidden=), more points= or costates=True may do."
    )


def untrained(result: Result, stats: Mapping[str, Array], tolerance: float, finite: bool) -> str:
    """What is said of it; empty where nothing is wrong."""
    if result == Result.successful:
        return ""
    if result == Result.nonfinite:
        return (
            "the conditions, or what is paid, are no number at some points of the box. Likely causes: a law or a "
            "reward that is none there (a negative number under a logarithm or a root); bounds that cross; a box= "
            "beyond where the model has a meaning, or one of no width, such as that of a process whose sigma is zero."
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
        jump, better = float(stats.get("jump", 0.0)), float(stats.get("better_elsewhere", 0.0))
        if jump > 0:
            return (
                "EulerNet: conditions hold, and what lies beyond a jump they do not see: a reward, a law or the last "
                f"value jumps within the box, by {jump:.3g} of its size; other actions are better by {better:.3g} of "
                f"what decisions are about, and V is itself off by {float(stats['value_error']):.3g} of its spread. "
                "Likely causes: a comparison or a rounding in a function. Take bx.solvers.NeuralValueIteration() or "
                "bx.solvers.ActorCritic(), which compare actions, or a solver on a grid with bx.maximise.Enumerate(); "
                "or state what jumps as a discrete action."
            )
        return (
            f"EulerNet: the conditions hold, but other actions are better by {float(stats['better_elsewhere']):.3g} of "
            f"what decisions are about; tolerance={tolerance:g}. Likely causes: a lesser maximum (begin on the higher "
            "hill, warm_start=), or a reward or a law that jumps, which derivatives do not see: take "
            "bx.solvers.NeuralValueIteration(), which compares actions, or a solver on a grid."
        )
    mean, most = (float(stats[f"condition_{what}"]) for what in ("mean", "max"))
    along = "" if finite else f", along paths by {float(stats['path_mean']):.3g} on average"
    if "value_left" in stats:
        value, slopes = float(stats["value_left"]), float(stats["slopes_left"])
        along += f", V's own equation by {value:.3g} of its spread and its slopes by {slopes:.3g} of theirs"
    return (
        f"EulerNet: at other points than those of the training the conditions are off by {mean:.3g} on average and "
        f"{most:.3g} at most{along}, and tolerance={tolerance:g}. Likely causes: a bound that binds "
        "(shares={'action': bx.shares.Clipped()}), a box= from which paths leave, nets that are too small "
        "(hidden=) or too few steps (rounds=, finish=)."
    )
