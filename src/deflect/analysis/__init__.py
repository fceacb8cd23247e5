"""Tables, figures and comparisons: pure functions of a folder of run records. Nothing here needs torch."""
