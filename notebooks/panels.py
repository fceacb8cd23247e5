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
# # Parameter efficiency, panel by panel
#
# The same trade for each GFM and each dataset, and what a training step costs.
#
# * Input: `runs` (a folder of run records).
# * Output: figures (png and pdf) in `figures`: `parameter_efficiency_per_gfm`, `_per_dataset`, and `cost`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
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


# %%
show("parameter_efficiency_per_gfm", draw.parameter_efficiency_per_gfm(study))

# %%
show("parameter_efficiency_per_dataset", draw.parameter_efficiency_per_dataset(study))

# %% [markdown]
# ## Time and memory
#
# Methods that leave the GFM untouched may compute its features once; their step is then a step of the head alone.

# %%
show("cost", draw.cost(study))
