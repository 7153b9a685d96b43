"""`mixlab advise sensitivity · check · horizon · sizes · rivals`: what is behind the advice, and what it is worth."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mixlab.commands.options import CORES, AsJson, Overrides, Workers
from mixlab.errors import ConfigError

app = typer.Typer()
Sweep = Annotated[str | None, typer.Option("--sweep", help="Only the runs of this sweep.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="bpb_code, bpb/code or code; again for more.")]
Chart = Annotated[Path | None, typer.Option(help="Write the chart: .html for a browser, .json for Vega-Lite.")]


@app.command("sensitivity")
def sensitivity(
    sweep: Sweep = None,
    metric: Metrics = None,
    at: Annotated[str, typer.Option(help="The mix to stand on: recommended, natural or uniform.")] = "recommended",
    chart: Chart = None,
    as_json: AsJson = False,
) -> None:
    """What one point more of each source does to each score, and what the predicted gain is due to."""
    from mixlab import show_advice
    from mixlab.advise import explain, runs
    from mixlab.results import charts_advice
    from mixlab.results.catalogue import source_order
    from mixlab.results.listing import list_runs
    from mixlab.results.store import Store
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    rows, ask = list_runs(ws), runs.Ask(sweep=sweep, metrics=tuple(metric or ()))
    advice = runs.advise(rows, ws, ask)
    objective, _, _ = runs.fitted(rows, ws, ask)
    named = {
        "recommended": dict(advice.verdict.mixture.weights),
        "natural": dict(advice.natural),
        "uniform": dict.fromkeys(objective.sources, 1.0),
    }
    if at not in named:
        raise ConfigError(f"--at {at}: stand on {', '.join(named)}.")
    told = explain.effects_at(objective, named[at])
    parts = explain.attributed(objective, named["natural"], named["recommended"])
    if chart is not None:
        known = source_order(ws, Store.open(ws).runs())
        drawn = charts_advice.effects(told, known) & charts_advice.attribution(parts, known)
        _save(chart, drawn)
    show_advice.sensitivity(told, parts, at, as_json=as_json)


@app.command("check")
def check(
    sweep: Sweep = None,
    metric: Metrics = None,
    methods: Annotated[
        str, typer.Option(help="By commas; the default method always takes part.")
    ] = "gp,log-linear,lightgbm,ridge",
    as_json: AsJson = False,
) -> None:
    """How well each fit foretells runs it has not seen: cross-validated figures on the lab's own runs."""
    from dataclasses import asdict

    from mixlab import show, show_advice
    from mixlab.advise import check as checking
    from mixlab.advise import runs
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    used, _, _ = runs.comparable(list_runs(Workspace.open()), sweep)
    named = [m.strip() for m in methods.split(",") if m.strip()]
    told = checking.check(runs.table(used), runs.metrics_of(used, tuple(metric or ())), named)
    if as_json:
        facts = [asdict(c) for c in told]
        for fact in facts:
            fact["cv"] |= {k: fact["cv"][k].tolist() for k in ("predicted", "observed")}
        show.print_json(facts)
        return
    show_advice.checked(told)


@app.command("horizon")
def horizon(
    times: Annotated[str, typer.Option(help="Times the tokens of these runs, by commas.")] = "1,2,4,8,16,32,64",
    max_epochs: Annotated[float | None, typer.Option(help="Passes over a source, at most; default: no cap.")] = None,
    sweep: Sweep = None,
    metric: Metrics = None,
    chart: Chart = None,
    as_json: AsJson = False,
) -> None:
    """How the best mix drifts as the run gets longer and scarce sources are repeated."""
    from dataclasses import asdict

    from mixlab import show_advice
    from mixlab.advise import horizon as far
    from mixlab.results import charts_advice
    from mixlab.results.catalogue import source_order
    from mixlab.results.store import Store
    from mixlab.workspace import Workspace

    try:
        asked = [float(t) for t in times.split(",")]
    except ValueError as e:
        raise ConfigError(f"--times is a list of numbers such as 1,4,16; not '{times}'.") from e
    ws = Workspace.open()
    steps = far.of_runs(ws, sweep, tuple(metric or ()), times=asked, max_epochs=max_epochs)
    if chart is not None:
        _save(chart, charts_advice.drift(far.frame(steps), source_order(ws, Store.open(ws).runs())))
    show_advice.sentences(far.words(steps), [asdict(s) for s in steps], as_json=as_json)


@app.command("sizes")
def sizes(
    table: Annotated[
        Path | None, typer.Option(help="CSV: w_<source>, n_params, tokens, metrics; else the lab.")
    ] = None,
    metric: Metrics = None,
    target_params: Annotated[float | None, typer.Option(help="Parameters to rank for; default 4x the largest.")] = None,
    target_tokens: Annotated[float | None, typer.Option(help="Its tokens; default 4x the longest run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Whether mixes rank alike at every model size, and how they would rank at a larger one."""
    from mixlab import show_advice
    from mixlab.advise import runs
    from mixlab.advise import sizes as ranks
    from mixlab.advise.tables import IDS, frame
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    if table is None:
        told, metrics = runs.sized(list_runs(Workspace.open()), tuple(metric or ()))
    else:
        told = frame(table, ("n_params", "tokens", *(metric or ())))
        known = [str(c) for c in told.select_dtypes("number").columns if not str(c).startswith(("w_", "epochs_"))]
        metrics = list(metric or (c for c in known if c not in ("n_params", "tokens", "seed", *IDS)))
        if not metrics:
            raise ConfigError(f"{table.name} has no metric: a column of numbers beside weights, n_params and tokens.")
    if len(metrics) > 1:
        told = told.assign(**{"mean of metrics": told[metrics].mean(axis=1)})
    name = metrics[0] if len(metrics) == 1 else "mean of metrics"
    n_params = target_params or 4 * told["n_params"].to_numpy(float).max()
    tokens = target_tokens or 4 * told["tokens"].to_numpy(float).max()
    show_advice.sizes(ranks.ranking(told, name, n_params, tokens), told, n_params, tokens, as_json=as_json)


@app.command("rivals")
def rivals(
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that each mix is trained under.")] = 3,
    sweep: Sweep = None,
    workers: Workers = CORES,
    as_json: AsJson = False,
) -> None:
    """Trains natural, uniform, UniMax, DoReMi and the advised mix on equal compute, and compares them."""
    from mixlab import rivals as race
    from mixlab import show, show_advice
    from mixlab.compose import spec_of
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    with show.progress() as watch:
        rows = race.race(spec_of(overrides or [], Path.cwd()), ws, range(seeds), sweep, workers, watch)
    show_advice.rivals(rows, as_json=as_json)


def _save(path: Path, chart: Any) -> None:
    """Writes an Altair chart. ConfigError: another ending than .html or .json."""
    if path.suffix not in (".html", ".json"):
        raise ConfigError(f"--chart {path}: a chart is written as .html or .json.")
    if path.suffix == ".html":
        chart.save(path, inline=True)  # the libraries inside the file: opening it asks nobody for anything
    else:
        path.write_text(json.dumps(chart.to_dict()), encoding="utf-8")
