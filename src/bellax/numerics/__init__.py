"""Arrays only: scales, grids, interpolation, quadrature, Markov chains, fixed points. No model, no names."""
