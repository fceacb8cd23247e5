# %% [markdown]
# # Inside DEFLECT
#
# Angle and length of each block's displacement relative to that of the frozen RGB attention, and the spectral features
# that move the attention most.
#
# * Input: `runs` (a folder of run records with the `deflection.npz` and the adapters of DEFLECT's runs).
# * Output: figures (png and pdf) in `figures`: `inside_deflect`, `inside_deflect_classes`, `index_importance`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
gfm = "scale_mae"  # whose classes are shown one by one
figures = "results/mini/figures"

# %%
from deflect.analysis import figures as draw
from deflect.analysis.notebook import open_study, show

study = open_study(runs, grid)

# %% [markdown]
# With the hard constraint the length is that of the frozen displacement, so the ratio is 1; only the direction is
# learned.

# %%
show(draw.inside_deflect(study), figures, "inside_deflect")

# %%
show(draw.inside_deflect_classes(study, gfm), figures, "inside_deflect_classes")

# %% [markdown]
# How much a step of one standard deviation in each feature moves the queries, keys and values of all blocks. A large
# share means that a feature is used, not that the score would fall without it; for that see the ablation.

# %%
show(draw.index_importance(study), figures, "index_importance")
