"""What a solver may have more of, and by which option: lines and processes by their names, and what has no name."""

DRAWS, CANDIDATES, BOUNDS = "draws of shocks", "candidates of actions", "bounds of states"
"""What a solver has of which no single name says how many; no name of a model has a blank."""


def remedy(name: str) -> str:
    """The option that lowers what one thing contributes to the error of V."""
    known = {DRAWS: "quadrature=", CANDIDATES: "the grid= of the maximiser", BOUNDS: "wider bounds of the states"}
    return known.get(name, f"grid={{{name.partition('[')[0]!r}: n}}")
