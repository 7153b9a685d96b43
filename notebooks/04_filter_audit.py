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
# # What do the cleaning rules take?
# C4's rules look silly, and on documentation they take nearly everything. Which rule, and what?

# %%
import sys

import altair as alt

import mixlab
from mixlab.results import charts_data

alt.renderers.enable("svg")  # pictures are made here; nothing is fetched

# %%
settings = "source=[pages,library] cleaning=c4 tokenizer=bytes holdout.min_docs=1"
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli data prepare {settings} | cat

# %%
lab = mixlab.open("lab")
left = lab.retention("pages")
left

# %%
charts_data.waterfall(left, "bytes")

# %% [markdown]
# Documents that it dropped, each with its reason and every rule that would have dropped it. The text is data, never
# markup: it is shown as it is.

# %%
dropped = lab.documents("library", kept=False, n=8)
dropped.assign(text=dropped["text"].str.slice(0, 60))[["id", "reason", "rules_hit", "text"]]

# %% [markdown]
# What each rule costs, alone and with the others, and what would come back without it.

# %%
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli data atlas library | cat
