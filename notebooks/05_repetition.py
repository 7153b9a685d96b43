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
# # What is a repeated byte worth?
# The same number of training tokens, drawn from ever fewer unique ones: one pass, two, four, sixteen.

# %%
import sys

import altair as alt

import mixlab
from mixlab.results import charts

alt.renderers.enable("svg")  # pictures are made here; nothing is fetched

# %%
# !MIXLAB_HOME=lab {sys.executable} -m mixlab.cli sweep notebook_repetition --workers 1 | cat

# %%
lab = mixlab.open("lab")
runs = lab.runs("sweep = 'notebook_repetition'")
passes = {
    run: 49152 / int(name.removeprefix("unique-")) for run, name in zip(runs["run_id"], runs["name"], strict=True)
}
told = runs.assign(passes=[passes[r] for r in runs["run_id"]]).sort_values("passes")
told[["name", "passes", "bpb_pages", "bpb_library", "bpb_parallel"]]

# %%
alt.Chart(told).mark_line(point=True, color=charts.OKABE_ITO[0]).encode(
    x=alt.X("passes:Q", scale=alt.Scale(type="log", base=2), title="passes over the same pages"),
    y=alt.Y("bpb_pages:Q", scale=alt.Scale(zero=False), title="held-out bits per byte"),
).properties(description="Held-out bits per byte of the pages by the number of passes over their training text")

# %% [markdown]
# The training loss tells why: a model that sees the same pages often learns them by heart. Held-out text knows better.

# %%
curves = lab.metrics(list(passes), ["loss/train"])
curves = curves.assign(run=[f"{passes[r]:.0f} passes" for r in curves["run_id"]])
charts.loss(curves, [f"{n:.0f} passes" for n in sorted(passes.values())])

# %% [markdown]
# One seed each, and very small models: where two numbers are close, `mixlab runs compare` says whether they can be told
# apart.
