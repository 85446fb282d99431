"""WHAT: the model language. Functions of names, spaces, shocks, regimes; no grid, no tolerance."""
