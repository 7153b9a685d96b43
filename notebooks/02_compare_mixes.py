# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
# ---

# %% [markdown]
# # Is this mix really better than that one?
# Two mixes under the same three seeds. A difference counts only if its interval, with the noise of seeds and of
# held-out documents in it, clears zero.

# %%
import sys

import altair as alt

import mixlab
from mixlab.results import catalogue, charts_compare, versus

alt.renderers.enable("svg")  # pictures are made here; nothing is fetched

# %%
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli sweep notebook --workers 1 | cat

# %%
lab = mixlab.open("lab")
runs = lab.runs("sweep = 'notebook' AND mixture IN ('even', 'pages')")
groups = dict(zip(runs["run_id"], runs["mixture"], strict=True))
runs[["run_id", "mixture", "seed", "bpb_macro", "bpb_library", "bpb_pages", "bpb_parallel"]]

# %% [markdown]
# What differs between them: a setting, a share, a score. Shares in percentage points.

# %%
first = {mixture: run for run, mixture in reversed(groups.items())}
moved = lab.diff(first["even"], first["pages"])
moved

# %%
points = moved.loc[moved["key"].str.startswith("w_")]
points = points.assign(source=points["key"].str.removeprefix("w_"), points=points["difference"])
charts_compare.points(points, catalogue.source_order(lab.ws, lab.runs()))

# %% [markdown]
# The curves, with a band from the lowest to the highest seed. Where bands overlap, one pair of runs says little.

# %%
curves = lab.scores(list(groups), final=False)
curves = curves.loc[curves["task"].str.startswith("bpb/")]
curves = curves.assign(domain=curves["task"].str.removeprefix("bpb/"))
bands = versus.bands(curves, groups)
charts_compare.bands(bands, "pages", ["even", "pages"]) | charts_compare.bands(bands, "library", ["even", "pages"])

# %% [markdown]
# The verdict, in numbers and words, from the command that everybody uses.

# %%
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli runs compare even pages | cat
