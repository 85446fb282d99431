"""Maximisers: each solves one period at one state. Public as `bx.maximise`."""

from bellax.bellman.maximisers.by_structure import ByStructure
from bellax.bellman.maximisers.egm import DCEGM, EGM
from bellax.bellman.maximisers.enumeration import Enumerate
from bellax.bellman.maximisers.golden import Golden
from bellax.bellman.maximisers.maximum import Maximiser
from bellax.bellman.maximisers.negm import NEGM
from bellax.bellman.maximisers.newton import Newton

__all__ = ["ByStructure", "DCEGM", "EGM", "NEGM", "Enumerate", "Golden", "Maximiser", "Newton"]
