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
# # Parameter efficiency
#
# What a method scores against how much of the GFM it tunes.
#
# * Input: `runs` (a folder of run records).
# * Output: figures (png and pdf) in `figures`: `parameter_efficiency`.

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


# %% [markdown]
# One mark per method, averaged over all datasets and GFMs. The dashed line is full fine-tuning, the oracle; the grey
# line is the Pareto front: nothing tunes less and scores more.

# %%
show("parameter_efficiency", draw.parameter_efficiency(study))
