"""A page that shows a prepared dataset before anything is trained on it, with everything suspicious in words.

    facts.py                      what is read: a seeded sample of images, their labels, their places
    label_checks.py, pixel_checks.py, band_checks.py, leakage.py    what may be wrong, each check one function
    suspicions.py                 the list of all checks
    thumbnails.py, figures.py     pictures
    page.py, page.html            the page, of the parts in sections.py and pictures.py
    check.py                      all of it for one dataset

No result of a study depends on it.
"""
