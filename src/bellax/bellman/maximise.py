"""Maximisers: each solves one period at one state. Public as `bx.maximise`."""

from bellax.bellman.enumeration import Enumerate
from bellax.bellman.golden import Golden
from bellax.bellman.maximum import Maximiser
from bellax.bellman.newton import Newton

__all__ = ["Enumerate", "Golden", "Maximiser", "Newton"]
