# %% [markdown]
# # Training, confusions and maps
#
# Training curves, confusion matrices, and predictions for the same test images.
#
# * Input: `runs` (a folder of run records), `prepared` (the folder of prepared datasets).
# * Output: figures (png and pdf) in `figures`: `training_curves`, `confusion_matrices`, and one
#   `segmentation_maps_{dataset}` per dataset in `datasets`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
prepared = "data/prepared/mini"
datasets = ["burn_scars", "mados"]  # datasets with labels of pixels to show maps of
gfm = "scale_mae"  # whose runs the maps show
samples = 3  # test images per dataset
figures = "results/mini/figures"

# %%
from deflect.analysis import figures as draw
from deflect.analysis.notebook import open_study, show

study = open_study(runs, grid)

# %% [markdown]
# ## Training curves

# %%
show(draw.training_curves(study), figures, "training_curves")

# %% [markdown]
# ## Confusion matrices

# %%
show(draw.confusion_matrices(study), figures, "confusion_matrices")

# %% [markdown]
# ## Segmentation maps
#
# Below each prediction are its errors, where the truth is known.

# %%
for dataset in datasets:
    maps = draw.segmentation_maps(study, dataset, gfm, f"{prepared}/{dataset}", samples)
    show(maps, figures, f"segmentation_maps_{dataset}")
