"""Mix: weights that sum to 100 %, what they cost, and a file that a run can name."""

import streamlit as st

from mixlab.app import lab, weights
from mixlab.app.sliders import current, simplex_sliders
from mixlab.errors import MixlabError
from mixlab.mix import budget as cost
from mixlab.results import charts
from mixlab.types import ModelSpec, TrainSpec

UNITS = weights.UNITS
state = st.session_state

st.title("Mix")
sources = lab.sources()
if sources.empty:
    st.write("No prepared source in this lab yet, so there is nothing to mix. Prepare the starter sources:")
    st.code("mixlab data prepare", language="bash")
    st.write("or let the demo do it all, runs included:")
    st.code("mixlab demo", language="bash")
    st.stop()
names = list(sources["source"])
presets = weights.presets(sources, lab.runs())


def use(preset: str) -> None:
    """Puts a preset on the sliders."""
    state["mix_state"], state["mix_names"] = weights.on_grid(presets[preset], names), names
    state["mix_rev"] = state.get("mix_rev", 0) + 1


if state.get("mix_names") != names:
    use("natural")

with st.container(horizontal=True, vertical_alignment="bottom"):
    preset = st.selectbox("Start from", list(presets), key="preset", persist_state="session", width=240)
    st.button("Use", key="use_preset", on_click=lambda: use(state["preset"]))
    tokens = st.number_input(
        "Token budget", 10_000, 10**13, TrainSpec().tokens, 50_000, key="budget", bind="query-params", width=200,
        help="Training tokens in all. A weight is a share of these.",
    )  # fmt: skip
    device = st.selectbox("Price on", list(cost.DEVICES), key="device", bind="query-params", width=200)

grid = current(state["mix_state"], key="mix", units=UNITS, rev=state["mix_rev"])
tokens = max(1, int(tokens or 1))
beside = weights.rows(sources, grid, tokens)
grid = state["mix_state"] = simplex_sliders(beside, grid, key="mix", units=UNITS, rev=state["mix_rev"])
mixture = weights.as_weights(grid, names)

model = ModelSpec()
price = cost.price(model, tokens, device if device in cost.DEVICES else "cpu")
with st.container(horizontal=True, key="cost"):
    st.metric("Weights sum to", f"{sum(grid.weights) / UNITS:.1%}", border=True, width=170)
    st.metric("Training tokens", weights.short(tokens), border=True, width=170)
    flops = weights.short(cost.flops(model, tokens).total)
    st.metric("FLOPs", flops, border=True, width=170, help="Of the default proxy model, forward and backward.")
    time = weights.duration(price.hours)
    st.metric(f"Time on one {device}", time, border=True, width=170, help=f"{price.basis}; ${price.dollars:.2g}")
for row in beside:
    if row.level == "over":
        st.warning(
            "A source is repeated past the limit: a run of this mix is refused unless train.max_epochs is raised."
        )
        break

bars = lab.bars({"this mix": mixture, "natural": presets["natural"]})
chart = charts.weights(bars, names)
st.altair_chart(chart, key="mix_bars")

st.subheader("Save")
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.text_input("Name", key="mix_name", persist_state="session", placeholder="more-code", width=320) or ""
    clicked = st.button("Save", key="save", type="primary")
if clicked or name:
    try:
        path = weights.path_of(name)
        replace = path.exists() and st.checkbox("Replace the file that has this name", key=f"replace-{name}")
        if clicked:
            weights.save(name, mixture, overwrite=replace)
            st.success("Saved.")
        st.code(path, language=None, wrap_lines=True)
        st.write("This trains it, in the same directory:")
        st.code(weights.run_command(name, tokens), language="bash")
    except MixlabError as e:
        st.error("Not saved.")
        st.code(e, language=None, wrap_lines=True)
