# %% [markdown]
# # Parameter efficiency, panel by panel
#
# The score against the parameters tuned for each GFM and each dataset, and what the runs took.
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
# ## Time, memory and energy
#
# Methods that do not change the GFM compute its features once, so their step is that of the head alone; their training
# time contains the features. Energy is shown where the records have it.

# %%
show(draw.cost(study), figures, "cost")
