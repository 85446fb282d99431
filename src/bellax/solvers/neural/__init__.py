"""Models beyond the grid: policies and values as nets, trajectories with feedback, and what they are trained by."""
