"""Maximisers, one a file: each finds the best actions of one period, at one state or at all nodes together."""
