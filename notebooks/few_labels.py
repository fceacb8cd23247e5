# %% [markdown]
# # Few labels
#
# Scores by number of labelled training images, where a study has `label_fractions` below 1.
#
# * Input: `runs` (a folder of run records; runs with few labels have folders such as `lora+labels=0.1`).
# * Output: table `few_labels` (csv, Markdown, LaTeX) in `tables`, figure `few_labels` (png and pdf) in `figures`.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
tables = "results/mini/tables"
figures = "results/mini/figures"

# %%
from deflect.analysis import figures as draw
from deflect.analysis.few_labels import few_labels
from deflect.analysis.notebook import open_study, show

study = open_study(runs, grid)

# %%
show(few_labels(study), tables, "few_labels")

# %%
show(draw.few_labels(study), figures, "few_labels")
