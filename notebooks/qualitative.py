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
# # Training, confusions and maps
#
# How the runs trained, which classes they mix up, and what they see in the same test images.
#
# * Input: `runs` (a folder of run records), `prepared` (the folder of prepared datasets).
# * Output: figures (png and pdf) in `figures`: `training_curves`, `confusion_matrices`, and one
#   `segmentation_maps_{dataset}` per dataset in `datasets`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
prepared = "data/prepared/mini"
datasets = ["burn_scars", "mados"]  # segmentation datasets to show maps of
gfm = "scale_mae"  # whose runs the maps show
samples = 3  # test images per dataset
figures = "results/mini/figures"

# %%
import os
from pathlib import Path

from IPython.display import Image, display

from deflect.analysis import figures as draw
from deflect.analysis.notebook import find_root
from deflect.analysis.records import load_study

os.chdir(find_root())
study = load_study(runs, grid)


def show(name, figure):
    display(Image(draw.save(figure, Path(figures) / name)))


# %% [markdown]
# ## Training curves

# %%
show("training_curves", draw.training_curves(study))

# %% [markdown]
# ## Confusion matrices

# %%
show("confusion_matrices", draw.confusion_matrices(study))

# %% [markdown]
# ## Segmentation maps
#
# Below each prediction its errors, where the truth is known.

# %%
for dataset in datasets:
    maps = draw.segmentation_maps(study, dataset, gfm, Path(prepared) / dataset, samples)
    show(f"segmentation_maps_{dataset}", maps)
