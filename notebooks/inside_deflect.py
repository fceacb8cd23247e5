# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Inside DEFLECT
#
# How far each block's displacement is turned away from the one that the frozen RGB attention would give, how long it
# is, and which spectral features move the attention most.
#
# * Input: `runs` (a folder of run records with the `deflection.npz` and the adapters of DEFLECT's runs).
# * Output: figures (png and pdf) in `figures`: `inside_deflect`, `inside_deflect_classes`, `index_importance`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
gfm = "scale_mae"  # whose classes are shown one by one
figures = "results/mini/figures"

# %%
import os
from pathlib import Path

from IPython.display import Image

from deflect.analysis import figures as draw
from deflect.analysis.notebook import find_root
from deflect.analysis.records import load_study

os.chdir(find_root())
study = load_study(runs, grid)


def show(name, figure):
    return Image(draw.save(figure, Path(figures) / name))


# %% [markdown]
# With the hard constraint the length is that of the frozen displacement, so the ratio is 1; only the direction is
# learned.

# %%
show("inside_deflect", draw.inside_deflect(study))

# %%
show("inside_deflect_classes", draw.inside_deflect_classes(study, gfm))

# %% [markdown]
# How much a step of one standard deviation in each feature moves the queries, keys and values of all blocks. A large
# share says that a feature is heard, not that the score would fall without it: the ablation tells that.

# %%
show("index_importance", draw.index_importance(study))
