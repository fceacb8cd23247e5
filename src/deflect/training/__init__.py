"""Training runs: settings, loop, metrics, records. Nothing is imported here, so that reading settings stays quick."""
