"""Training runs: data, model, loop, metrics and records."""
