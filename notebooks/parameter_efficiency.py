# %% [markdown]
# # Parameter efficiency
#
# The score of each method against the share of the GFM's parameters that it tunes.
#
# * Input: `runs` (a folder of run records).
# * Output: figures (png and pdf) in `figures`: `parameter_efficiency`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
figures = "results/mini/figures"

# %%
from deflect.analysis import figures as draw
from deflect.analysis.notebook import open_study, show

study = open_study(runs, grid)

# %% [markdown]
# One mark per method, averaged over all datasets and GFMs. The dashed line is full fine-tuning, the oracle; the grey
# line is the Pareto front: no method with fewer tuned parameters has a higher score.

# %%
show(draw.parameter_efficiency(study), figures, "parameter_efficiency")
