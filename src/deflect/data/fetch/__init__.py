"""Downloads: where published files are, one verified file, one unpacked dataset, and what is there already."""
