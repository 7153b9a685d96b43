"""Mix: weights that sum to 100 %, what they repeat, cost and promise; saved for a run, launched as a job."""

import streamlit as st

from mixlab import jobs
from mixlab.app import drafts, jobview, lab, mixing, mixparts, parts, recipes, weights
from mixlab.app.sliders import current, simplex_sliders
from mixlab.errors import MixlabError
from mixlab.mix import budget as cost
from mixlab.results import charts, charts_compare

UNITS = weights.UNITS
state = st.session_state

st.title("Mix")
sources = lab.sources()
if sources.empty:
    parts.no_sources()
names = list(sources["source"])
runs = lab.runs()
presets = weights.presets(sources, runs)
draft = drafts.load("mix") or {}


def put(mixture: dict[str, float] | None, told: dict[str, object] | None = None, origin: str = "") -> None:
    """Puts weights, or those of a draft, on the sliders."""
    found = mixing.grid_of_draft(told or {"weights": mixture}, names)
    state["mix_state"], missing = found or (weights.on_grid(presets["natural"], names), [])
    state["mix_names"], state["mix_rev"] = names, state.get("mix_rev", 0) + 1
    state["mix_says"] = f"From {origin}." if origin else ""
    state["mix_wrong"] = f"Not prepared here, so left out: {', '.join(missing)}." if missing else ""


def use() -> None:
    """The chosen preset."""
    chosen, number = state["preset"], state.get("parameter")
    try:
        put(dict(presets[chosen] if chosen in presets else
                 mixing.by_rule(chosen, sources, int(state["budget"]), float(number or 0))))  # fmt: skip
    except MixlabError as error:
        state["mix_wrong"] = str(error)


def take(row: str, origin: str) -> None:
    """A row of weights: pasted, or in the address."""
    try:
        put(mixing.paste(row, names), origin=origin)
    except MixlabError as error:
        state["mix_wrong"] = str(error)


if draft.get("origin"):  # another page hands over a mixture
    put(None, draft, str(draft["origin"]))
elif state.get("mix_names") != names:
    put(None, draft, f"the draft, {parts.age(drafts.saved_at('mix'))}" if draft else "")
    if "weights" in st.query_params:  # taken once: a reload finds what was made of it, the draft
        take(st.query_params.pop("weights"), "the address")

with st.container(horizontal=True, vertical_alignment="bottom"):
    options = [*list(presets)[:2], *mixing.RULES, *list(presets)[2:]]
    preset = st.selectbox("Start from", options, key="preset", persist_state="session", width=240)
    if preset in mixing.RULES:
        word, start = ("Tau", 2.0) if preset == "temperature" else ("Epochs at most", 1.0)
        st.number_input(word, 0.1, 100.0, start, 0.5, key="parameter", width=140)
    st.button("Use", key="use_preset", on_click=use)
    share = mixparts.row_box(names, lambda: take(state["pasted"] or "", "the pasted row"))
with st.container(horizontal=True, vertical_alignment="bottom"):
    tokens = st.number_input(
        "Token budget", 10_000, mixing.MOST_TOKENS, mixing.training(mixing.DEFAULT_MODEL).tokens, 50_000,
        key="budget", bind="query-params", width=200, help="Training tokens in all. A weight is a share of these.",
    )  # fmt: skip
    model = st.selectbox("Model", list(mixing.models()), key="model", bind="query-params", width=180)
    device = st.selectbox("Price on", list(cost.DEVICES), key="device", bind="query-params", width=140)
    with st.popover("Your prices", icon=":material/payments:"):
        hourly = st.number_input("Dollars per device-hour", 0.0, 1000.0, None, key="hourly", bind="query-params",
                                 placeholder=f"{cost.DEVICES[device or 'cpu'].dollars_per_hour:g}")  # fmt: skip
        percent = st.number_input("Utilisation, % of the peak", 0.1, 100.0, None, key="utilisation",
                                  bind="query-params", placeholder="measured, or assumed")  # fmt: skip
        st.caption("Left empty: the speed measured in this lab, else the table's.")
    limit = st.number_input("Epochs, at most", 0.1, 1000.0, 4.0, 1.0, key="limit", bind="query-params", width=150,
                            help="A run that repeats a source more often is refused.")  # fmt: skip
if state.get("mix_wrong"):
    st.warning(parts.plain(state["mix_wrong"]), icon=":material/warning:")
if state.get("mix_says"):
    st.caption(parts.plain(state["mix_says"]))

tokens, limit = max(1, int(tokens or 1)), float(limit or 4.0)
model, device = model or mixing.DEFAULT_MODEL, device or "cpu"
grid = current(state["mix_state"], key="mix", units=UNITS, rev=state["mix_rev"])
rows = weights.rows(sources, grid, tokens, limit, palette=parts.palette())
grid = state["mix_state"] = simplex_sliders(rows, grid, key="mix", units=UNITS, rev=state["mix_rev"])
mixture = weights.as_weights(grid, names)
with share:
    mixparts.shared(weights.row(grid, names))

peak = None if percent is None else percent / 100
price = mixing.cost(model, tokens, device, hourly=hourly, utilisation=peak)
mixparts.cost(price, grid, tokens, device)
if refusal := mixing.refused(sources, mixture, tokens, limit):
    st.warning(parts.plain(refusal), title="Repeated past the limit", icon=":material/repeat:")
mixparts.licences(mixing.licences(sources, mixture, tokens))

st.subheader("Against a baseline")
baseline = st.selectbox("Baseline", list(presets), key="baseline", bind="query-params", width=300) or "natural"
left, right = st.columns(2)
with left:
    moved = mixing.moved(mixture, presets[baseline])
    if any(moved["points"]):
        parts.chart(charts_compare.points(moved, lab.source_names()), key="mix_points")
    else:
        st.write("The same weights as the baseline, to a tenth of a point.")
    bars = lab.bars({"this mix": mixture, baseline: presets[baseline]})
    parts.chart(charts.weights(bars, lab.source_names()), key="mix_bars")
promise = right.container(border=True, key="promise")

st.subheader("Save and launch")
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = st.text_input("Name", draft.get("name") or "", key="mix_name", persist_state="session",
                         placeholder="more-code", width=320) or ""  # fmt: skip
    clicked = st.button("Save", key="save")
    st.button("Review and launch", key="review", type="primary", on_click=lambda: state.update(mix_review=True))
drafts.save("mix", mixing.draft_of(grid, names, name, baseline))
if clicked or name or state.get("mix_review"):
    try:
        path = weights.path_of(name)
        differs = path.exists() and path.read_text(encoding="utf-8") != weights.as_yaml(name, mixture)
        replace = differs and st.checkbox("Replace the file that has this name", key=f"replace-{name}")
        if clicked:
            weights.keep(name, mixture, overwrite=replace)
            st.success("Saved.")
        parts.command(recipes.as_command(path, weights.as_yaml(name, mixture)), "What is saved, as a shell writes it:")
        words = mixing.run_words(name, names, model=model, tokens=tokens, max_epochs=limit)
        if state.get("mix_review"):
            mixparts.review(sources, mixture, price, tokens)
            job = parts.launch(words, key=jobs.work_key(words, weights.as_yaml(name, mixture)), label="Launch",
                               before=lambda: weights.keep(name, mixture, overwrite=replace),
                               disabled=refusal is not None)  # fmt: skip
            if job:
                jobview.follow(job, key="mix")
        else:
            parts.command(words, "This trains it, in the same directory:")
            parts.command(mixing.price_words(name, names, model=model, tokens=tokens, device=device, max_epochs=limit,
                                             hourly=hourly, utilisation=peak), "Its draws and price:")  # fmt: skip
    except MixlabError as error:
        parts.problem(error, "Not saved")

with promise:  # last: the first fit takes seconds, and all else stands by then
    mixparts.promise(mixture, presets[baseline], mixing.finished_mixes(runs), len(runs))
