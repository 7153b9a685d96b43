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
# # A tour of a lab
# Three small sources, eight mixes, twelve very small models: what mixlab keeps of them, and how to look at it.
# Everything here runs on a CPU in under a minute and needs no download.

# %%
import sys

import altair as alt

import mixlab
from mixlab.results import catalogue, charts

alt.renderers.enable("svg")  # pictures are made here; nothing is fetched

# %% [markdown]
# The sweep of these notebooks stands in `sweeps/notebook.yaml`: its question, its sources, its mixes. A finished run is
# not trained again, so all five notebooks share one lab beside them, `lab/`.

# %%
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli sweep notebook --workers 1 | cat

# %%
lab = mixlab.open("lab")
lab.sources()

# %% [markdown]
# One row a run. Shares of training tokens are `w_<source>`, scores `bpb_<source>`: bits per byte of held-out text,
# lower is better. Units stand in `attrs`.

# %%
runs = lab.runs("sweep = 'notebook'", only_differing=True)
runs.sort_values("bpb_macro")[["run_id", *(c for c in runs if c.startswith(("w_", "bpb_")))]]

# %%
{column: unit for column, unit in runs.attrs["units"].items() if column in ("w_pages", "bpb_pages", "wall_s")}

# %% [markdown]
# The mixes, and how one run learned. A source that gets few tokens is learned late.

# %%
shares = lab.mixes(list(runs["run_id"])).rename_axis("run").reset_index()
long = shares.melt("run", var_name="source", value_name="weight")
sources = catalogue.source_order(lab.ws, lab.runs())
charts.weights(long, sources)

# %%
one = next(run for run in runs["run_id"] if run.startswith("library-s0-"))
curves = lab.scores([one], final=False)
curves = curves.loc[curves["task"].str.startswith("bpb/")].assign(run=one)
curves["domain"] = curves["task"].str.removeprefix("bpb/")
charts.run_bpb(curves, sources)

# %% [markdown]
# Which mix was best, over its seeds? `sd` is the noise: what another seed of the same mix does to the score.

# %%
lab.leaderboard()

# %% [markdown]
# And what such a model writes. (It saw fifty thousand bytes; nobody should expect prose.)

# %%
lab.samples([one])[["step", "prompt", "output"]].tail(4)
