"""Trajectories with feedback: expansions of a period to second order, along a path or at a steady state."""
