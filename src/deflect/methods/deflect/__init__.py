"""DEFLECT (arXiv 2503.09493): spectra change the direction of the patch embeddings of a frozen RGB GFM."""
