# %% [markdown]
# # Ablation and initialisation
#
# The effect of each part of DEFLECT, and of the initial patch embedding for extra bands in the other methods.
#
# * Input: `runs` (a folder of run records; runs outside the main grid have folders such as `deflect+rank=1`).
# * Output: tables `ablation` and `patch_embed` (csv, Markdown, LaTeX) in `tables`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
tables = "results/mini/tables"

# %%
from deflect.analysis import variants
from deflect.analysis.notebook import open_study, show

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
