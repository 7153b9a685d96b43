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
# # From a handful of runs to the best mix
# A score as a function of the mix, fitted to eight mixes, judged on mixes that it had not seen.

# %%
import sys

import altair as alt
import numpy as np
import pandas as pd

import mixlab
from mixlab.advise.fits import fit
from mixlab.results import charts_explore, landscape

alt.renderers.enable("svg")  # pictures are made here; nothing is fetched

# %%
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli sweep notebook --workers 1 | cat

# %%
lab = mixlab.open("lab")
runs = lab.runs("sweep = 'notebook'")
runs["label"] = runs["mixture"] + " s" + runs["seed"].astype(str)
corners = ["library", "pages", "parallel"]
charts_explore.ternary(landscape.ternary(runs, corners), corners, "bpb_macro")

# %% [markdown]
# Each source's score is fitted by itself: their mean has no simple shape. Then every mix is left out in turn and
# foretold by the others. Seeds of one mix always leave together, so the fit never sees the answer.

# %%
fits = {source: fit(runs, f"bpb_{source}") for source in corners}
judged = {source: told.cv() for source, told in fits.items()}
pd.DataFrame(
    {source: {"method": fits[source].method, "rank correlation": cv.spearman} for source, cv in judged.items()}
).T

# %% [markdown]
# Foretold against what came out, for the documentation pages. With this few mixes the far corners are guesses, and the
# picture shows it.

# %%
pages = judged["pages"]
seen = pd.DataFrame({"name": runs["label"], "predicted": pages.predicted, "realised": pages.observed})
half = 2 * float(np.std(seen["predicted"] - seen["realised"]))
charts_explore.unseen(seen.assign(lo=seen["predicted"] - half, hi=seen["predicted"] + half), "one mix left out")

# %% [markdown]
# What a point more of each source does to each score, at the mean of the mixes tried: the fit's own explanation.

# %%
effects = {metric: told.explain()["one_point_more"] for metric, told in fits.items()}
pd.DataFrame({metric: {s: change for s, (change, _) in by.items()} for metric, by in effects.items()}).round(4)

# %% [markdown]
# And the advice, with its interval and the words "not distinguishable" where they are true.

# %%
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli recommend --sweep notebook | cat
