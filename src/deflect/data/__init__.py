"""Datasets: the catalog, downloads, readers of the published formats, the prepared store and the simulator."""
