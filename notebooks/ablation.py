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
# # Ablation and initialisation
#
# What each part of DEFLECT is worth, and how the patch embedding of the other methods should start on extra bands.
#
# * Input: `runs` (a folder of run records; runs beside the main grid lie in folders such as `deflect+rank=1`).
# * Output: tables `ablation` and `patch_embed` (csv, Markdown, LaTeX) in `tables`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
tables = "results/mini/tables"

# %%
import os
from pathlib import Path

from IPython.display import Markdown, display

from deflect.analysis import render, variants
from deflect.analysis.notebook import find_root
from deflect.analysis.records import load_study

os.chdir(find_root())
study = load_study(runs, grid)


def show(name, table):
    render.write(*table, Path(tables) / name)
    display(Markdown(render.markdown(table[1])))


# %% [markdown]
# ## Parts of DEFLECT
#
# The difference is variant minus method, over runs that both have.

# %%
show("ablation", variants.ablation(study))

# %% [markdown]
# ## Start of the patch embedding for extra bands

# %%
show("patch_embed", variants.patch_embed(study))
