"""A model with numbers and without a grid: its stages, one period pointwise, draws, and the states that users give."""
