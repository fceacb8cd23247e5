# %% [markdown]
# # What the decisions move
#
# The paper leaves details open. `references/decisions.yaml` lists what was chosen, and what else it could be.
#
# * Input: `runs` (a folder of run records; alternatives have folders such as `deflect+gsd=image`), `decisions`.
# * Output: table `sensitivity` (csv, Markdown, LaTeX) in `tables`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
decisions = "references/decisions.yaml"
tables = "results/mini/tables"

# %%
from pathlib import Path

from deflect import config
from deflect.analysis.notebook import open_study, show
from deflect.analysis.sensitivity import sensitivity

study = open_study(runs, grid)

# %% [markdown]
# ## One alternative at a time
#
# The difference is alternative minus choice, over the same datasets, GFMs, seeds and test images.

# %%
show(sensitivity(study, config.decisions(Path(decisions))), tables, "sensitivity")
