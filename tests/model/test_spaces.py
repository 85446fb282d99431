"""Spaces and horizons: what they refuse, and how ages are counted."""

import math
from enum import Enum, IntEnum

import numpy as np
import pytest

import bellax as bx


def cake(horizon):
    """A cake to eat over a horizon."""
    return bx.Model(
        states={"cake": bx.Continuous(0.0, 1.0)},
        actions={"eaten": bx.Continuous(0.0, "cake")},
        transitions={"cake": lambda cake, eaten: cake - eaten},
        reward="eaten",
        horizon=horizon,
    )


class Mood(Enum):
    low = 0
    high = 1


class Late(IntEnum):
    one = 1
    two = 2


HORIZONS = {
    "zero": (0, "horizon is 0; there is no decision in it"),
    "negative": (-3, "horizon is -3"),
    "a fraction": (2.5, "horizon is 2.5; give a whole number"),
    "a truth": (True, "horizon is True"),
    "words": ("long", "horizon is 'long'"),
}

SPACES = {
    "crossed bounds": (lambda: bx.Continuous(1.0, 0.0), "runs from 1.0 down to 0.0"),
    "crossed arrays": (lambda: bx.Continuous(np.zeros(2), np.array([1.0, -1.0]), shape=2), "swap its bounds"),
    "an empty shape": (lambda: bx.Continuous(0, 1, shape=(2, 0)), r"shape \(2, 0\)"),
    "a scale by name": (lambda: bx.Continuous(0, 1, scale="log"), "scale is 'log'; use bx.scales"),
    "a unit of zero": (lambda: bx.scales.asinh(0.0), "give a positive number"),
    "an exponent of zero": (lambda: bx.scales.power(0.0), "give a positive number"),
    "a plain Enum": (lambda: bx.Discrete(Mood), "derive Mood from enum.IntEnum.*silently False"),
    "codes from one": (lambda: bx.Discrete(Late), r"members are \[1, 2\]; write 0, 1, 2"),
    "labels": (lambda: bx.Discrete(["low", "high"]), "values must be numbers; use an IntEnum for labels"),
    "equal values": (lambda: bx.Discrete([1.0, 1.0]), "not distinct finite numbers"),
    "infinite values": (lambda: bx.Discrete([0.0, math.inf]), "not distinct finite numbers"),
    "no values": (lambda: bx.Discrete([]), "at least one category"),
    "none at all": (lambda: bx.Discrete(0), "at least one category"),
    "a matrix": (lambda: bx.Discrete([[1.0, 2.0]]), "in one dimension"),
    "a fraction": (lambda: bx.Discrete(2.5), "takes an IntEnum, a number of categories or a list"),
    "a chain without a law": (lambda: bx.MarkovChain([1, 2]), "either transition= .* or intensity="),
    "a chain with two laws": (
        lambda: bx.MarkovChain([1, 2], np.eye(2), intensity=np.eye(2)),
        "either transition=",
    ),
    "ages without a step": (lambda: bx.Ages(25, 95, step="year"), "step 'year'; write a count and Y, Q or M"),
    "ages without a length": (lambda: bx.Ages(25, 95, step="0Y"), "step '0Y'"),
    "ages backwards": (lambda: bx.Ages(95, 25), "runs from 95 to 25"),
    "ages that do not fit": (
        lambda: bx.Ages(25, 96, step="5Y"),
        "96 is no whole number of steps of 5Y after 25",
    ),
    "a number by period": (lambda: bx.by_period(3.0), "one value a period, and this is a single number"),
    "an array by age": (lambda: bx.by_age(np.ones(3)), "takes a pandas Series indexed by age"),
    "taste shocks over a string": (lambda: bx.ExtremeValue(1.0, over="work"), "needs over="),
    "taste shocks over nothing": (lambda: bx.ExtremeValue(1.0, over=()), "needs over="),
}


@pytest.mark.parametrize("case", HORIZONS)
def test_wrong_horizons_are_refused(case, untyped):
    horizon, message = HORIZONS[case]
    with pytest.raises(bx.ModelError, match=message):
        cake(horizon=horizon)


@pytest.mark.parametrize("case", SPACES)
def test_impossible_spaces_are_refused(case, untyped):
    make, message = SPACES[case]
    with pytest.raises(bx.ModelError, match=message):
        make()


def test_ages_in_quarters_and_five_years():
    assert (
        bx.Ages(25, 26, step="1Q").periods,
        bx.Ages(25, 95, step="5Y").periods,
        bx.Ages(0, 1, "6M").periods,
    ) == (5, 15, 3)
    clock = cake(horizon=bx.Ages(25, 95, step="5Y")).clock
    assert (clock.age(2), clock.period(35)) == (35, 2)
    with pytest.raises(bx.ModelError, match="age 36 is no age of this model: 25 to 95"):
        clock.period(36)
