# %% [markdown]
# # Results tables
#
# Reads the run records of a study and writes its tables: scores, ranks with tests, and the comparison with the paper:
# its known numbers and its claims.
#
# * Input: `runs` (a folder of run records), `references` (the paper's known numbers) and `claims`.
# * Output: for each name in `tables` a csv (tidy), a Markdown and a LaTeX file.

# %% tags=["parameters"]
runs = "results/mini/runs"
grid = {}  # the runs that should exist; empty: the smallest full grid around those found
references = "references/paper.csv"
claims = "references/claims.yaml"
resamples = 10_000  # of the paired bootstrap
tables = "results/mini/tables"

# %%
from IPython.display import Markdown, display

from deflect.analysis import claims as paper_claims
from deflect.analysis import comparison, ranks, render
from deflect.analysis import tables as study_tables
from deflect.analysis.notebook import open_study, show
from deflect.settings.claims import load_claims

study = open_study(runs, grid)

# %% [markdown]
# ## Before reading the numbers

# %%
for note in [*study.warnings, *study_tables.gap_notes(study)] or [
    "All runs of the grid are present, without warnings."
]:
    display(Markdown(f"* {render.plain(note)}"))

# %% [markdown]
# ## Scores

# %%
show(study_tables.main(study), tables, "main")

# %% [markdown]
# ## Ranks and tests

# %%
show(ranks.ranks(study, resamples), tables, "ranks")

# %% [markdown]
# ## Comparison with the paper

# %%
show(comparison.comparison(study, comparison.load_references(references)), tables, "comparison")

# %% [markdown]
# ## The paper's claims

# %%
show(paper_claims.verdicts(study, load_claims(claims)), tables, "claims")
