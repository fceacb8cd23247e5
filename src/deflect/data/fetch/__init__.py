"""Downloads: sources, verified files, unpacked datasets and their status."""
