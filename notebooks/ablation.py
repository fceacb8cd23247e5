# %% [markdown]
# # Ablation, initialisation and tuning
#
# The effect of each part of DEFLECT, of the initial patch embedding for extra bands in the other methods, and of
# settings that a search chose for each method.
#
# * Input: `runs` (a folder of run records; runs outside the main grid have folders such as `deflect+rank=1`).
# * Output: tables `ablation`, `patch_embed` and `tuned` (csv, Markdown, LaTeX) in `tables`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
resamples = 10_000  # of the test images, for the intervals
tables = "results/mini/tables"

# %%
from deflect.analysis import variants
from deflect.analysis.notebook import open_study, show
from deflect.analysis.tuned import tuned

study = open_study(runs, grid)

# %% [markdown]
# ## Parts of DEFLECT
#
# The difference is variant minus method, over the runs of both.

# %%
show(variants.ablation(study), tables, "ablation")

# %% [markdown]
# ## Initial patch embedding for extra bands

# %%
show(variants.patch_embed(study), tables, "patch_embed")

# %% [markdown]
# ## Settings chosen by a search
#
# Learning rate and rank with the best validation score, with the same number of trials for every method.

# %%
show(tuned(study, resamples), tables, "tuned")
