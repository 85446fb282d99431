"""What nets of every kind need: nets with bounded outputs, sampling, Levenberg-Marquardt, Adam, and checkpoints."""
