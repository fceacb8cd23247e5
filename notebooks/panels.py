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
from deflect.analysis import figures as draw
from deflect.analysis.notebook import open_study, show

study = open_study(runs, grid)

# %%
show(draw.parameter_efficiency_per_gfm(study), figures, "parameter_efficiency_per_gfm")

# %%
show(draw.parameter_efficiency_per_dataset(study), figures, "parameter_efficiency_per_dataset")

# %% [markdown]
# ## Time and memory
#
# Methods that leave the GFM untouched may compute its features once; their step is then a step of the head alone.

# %%
show(draw.cost(study), figures, "cost")
