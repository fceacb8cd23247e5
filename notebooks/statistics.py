# %% [markdown]
# # Calibration and errors
#
# Whether a method's confidence can be believed, and whether two methods fail on the same images.
#
# * Input: `runs` (a folder of run records).
# * Output: the table `calibration` in `tables`; figures (png and pdf) in `figures`: `reliability`, `error_overlap`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
tables = "results/mini/tables"
figures = "results/mini/figures"

# %%
from deflect.analysis import figures as draw
from deflect.analysis.calibration import calibration
from deflect.analysis.notebook import open_study, show

study = open_study(runs, grid)

# %% [markdown]
# ## Calibration
#
# The expected calibration error is the mean distance of accuracy and confidence (Guo et al. 2017).

# %%
show(calibration(study), tables, "calibration")

# %%
show(draw.reliability(study), figures, "reliability")

# %% [markdown]
# ## Overlap of errors
#
# Cohen's kappa is 1 where two methods fail on the same images and 0 where they fail independently.

# %%
show(draw.error_overlap(study), figures, "error_overlap")
