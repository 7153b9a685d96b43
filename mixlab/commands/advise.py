"""`mixlab recommend` and `mixlab advise …`: what the finished runs say, and which runs to buy next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixlab.commands.limits import (
    Caps,
    Floors,
    Frozen,
    Licences,
    MaxEpochs,
    Sums,
    Tokens,
    limits,
    numbers,
)
from mixlab.commands.options import AsJson
from mixlab.errors import ConfigError

if TYPE_CHECKING:
    from mixlab.advise.runs import Ask
    from mixlab.advise.verdict import Wish

app = typer.Typer(no_args_is_help=True, help="What the runs say, and which to buy next.")
Sweep = Annotated[str | None, typer.Option("--sweep", help="Only the runs of this sweep.")]
SIZES = {"K": 1e3, "M": 1e6, "B": 1e9}
Device = Annotated[str, typer.Option(help="What it is priced on: cpu, a100, h100, h200.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="bpb_code, bpb/code or code; again for more.")]


def recommend(
    as_json: AsJson = False,
    sweep: Sweep = None,
    metric: Metrics = None,
    max_epochs: MaxEpochs = None,
    only_licences: Licences = None,
    floor: Floors = None,
    cap: Caps = None,
    group: Sums = None,
    freeze: Frozen = None,
    weight: Annotated[list[str] | None, typer.Option(metavar="METRIC=NUMBER", help="What it counts.")] = None,
    ceiling: Annotated[list[str] | None, typer.Option(metavar="METRIC=VALUE", help="No worse than.")] = None,
    standardise: Annotated[bool, typer.Option("--standardise", help="Divide scores by their sd between runs.")] = False,
    caution: Annotated[float, typer.Option(help="Sds added to the predicted loss.")] = 0.0,
    pull: Annotated[float, typer.Option(help="Loss a nat of KL from natural costs, such as 0.05.")] = 0.0,
    target_tokens: Tokens = None,
    target_params: Annotated[float | None, typer.Option(help="Parameters of its model.")] = None,
    device: Device = "cpu",
    save: Annotated[Path | None, typer.Option(help="Write the mix, e.g. sweeps/mixture/x.yaml.")] = None,
) -> None:
    """The best mix as far as the finished runs tell, and how sure."""
    from mixlab import show
    from mixlab.advise import ledger, runs
    from mixlab.advise.verdict import Wish
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    wish = Wish(
        limits=limits(floor, cap, group, freeze),
        importance=_metric(weight, "--weight"),
        ceilings=_metric(ceiling, "--ceiling"),
        standardise=standardise,
        kappa=caution,
        lam=pull,
    )
    ask = _ask(sweep, metric, max_epochs, only_licences, target_tokens, target_params, device, wish)
    ws = Workspace.open()
    advice = runs.advise(list_runs(ws), ws, ask)
    if save is not None:
        runs.save(save, advice.verdict.mixture.weights, advice.verdict.sentences[0])
        ledger.propose(ws.ledger, advice.verdict, advice.natural, advice.recipe)
    show.verdict(advice, as_json=as_json)


def _ask(
    sweep: Sweep,
    metric: Metrics,
    max_epochs: MaxEpochs,
    only_licences: Licences,
    target_tokens: Tokens,
    target_params: float | None,
    device: str,
    wish: "Wish",
) -> "Ask":
    """The question to the runs. ConfigError: a size that is none."""
    from mixlab.advise.runs import Ask

    sizes = {"--max-epochs": max_epochs, "--target-tokens": target_tokens, "--target-params": target_params}
    for option, value in sizes.items():
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{option} is a number above 0, not {value:g}.")
    return Ask(
        sweep=sweep,
        metrics=tuple(metric or ()),
        max_epochs=max_epochs,
        only_licences=tuple(x.strip() for x in (only_licences or "").split(",") if x.strip()),
        target_tokens=None if target_tokens is None else int(target_tokens),
        target_params=target_params,
        device=device,
        wish=wish,
    )


def _metric(told: list[str] | None, option: str) -> dict[str, float]:
    """NAME=NUMBER pairs whose names are metrics, in the spelling of the table."""
    named = numbers(told, option)
    return {(n.replace("/", "_") if n.startswith(("bpb", "loss")) else f"bpb_{n}"): v for n, v in named.items()}


@app.command("replay")
def replay(
    folder: Path,
    metric: Annotated[str | None, typer.Option(help="A metric of the table; default: its first.")] = None,
    runs: Annotated[str, typer.Option(help="Numbers of runs to learn from, by commas.")] = "64",
    methods: Annotated[
        str, typer.Option(help="By commas; the default method always takes part.")
    ] = "gp,lightgbm,ridge",
    subsets: Annotated[int, typer.Option(help="Random subsets per number of runs.")] = 3,
    noise: Annotated[float, typer.Option(help="Sd between seeds, if known: closer pairs decide nothing.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """A leaderboard of fits on a published table of runs (RegMix's or Olmix's files as they are)."""
    from mixlab import show_advice
    from mixlab.advise import replay as replaying

    tables = replaying.read(folder)
    chosen = metric or tables.metrics[0]
    named = [m.strip() for m in methods.split(",") if m.strip()]
    lines = replaying.leaderboard(tables, chosen, _counts(runs), named, subsets=subsets, noise=noise)
    show_advice.leaderboard(lines, chosen, as_json=as_json)


def _counts(told: str) -> list[int]:
    """Numbers of runs, by commas. ConfigError: something else."""
    if not all(n.strip().isdigit() and int(n) > 0 for n in told.split(",")):
        raise ConfigError(f"--runs is given as numbers above 0, by commas, such as 16,32,64; not '{told}'.")
    return [int(n) for n in told.split(",")]


@app.command("ledger")
def ledger(as_json: AsJson = False) -> None:
    """What was advised, what came out, and what it does to later intervals."""
    from mixlab import show_advice
    from mixlab.advise import ledger as book
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    rows = book.settled(ws.ledger, list_runs(ws))
    show_advice.ledger(rows, book.widen(rows), as_json=as_json)


@app.command("next")
def next_runs(
    batch: Annotated[int, typer.Option(help="Runs to buy at once.")] = 4,
    sweep: Sweep = None,
    metric: Metrics = None,
    max_epochs: MaxEpochs = None,
    only_licences: Licences = None,
    floor: Floors = None,
    cap: Caps = None,
    group: Sums = None,
    freeze: Frozen = None,
    target_tokens: Tokens = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """The mixes worth training next, within limits, and whether any is worth its price."""
    from dataclasses import asdict

    from mixlab import show_advice
    from mixlab.advise import buy, runs
    from mixlab.advise.verdict import Wish
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    ws, wish = Workspace.open(), Wish(limits=limits(floor, cap, group, freeze))
    ask = _ask(sweep, metric, max_epochs, only_licences, target_tokens, None, device, wish)
    objective, within, dollars = runs.fitted(list_runs(ws), ws, ask)
    told = buy.next_runs(objective, batch, limits=within, dollars=dollars)
    show_advice.sentences([told.words, *map(_mix, told.mixes)], asdict(told), as_json=as_json)


@app.command("power")
def power(
    design: Annotated[
        list[str] | None, typer.Option(metavar="RUNS[xSIZE][xSEEDS]", help="E.g. 64x15M or 24x60Mx2; again to compare.")
    ] = None,
    noise: Annotated[float | None, typer.Option(help="Sd between seeds; default: as the runs show.")] = None,
    sweep: Sweep = None,
    table: Annotated[
        Path | None, typer.Option(help="Surfaces like a published table's (see replay), not ours.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="With --table: its metric; default: its first.")] = None,
    agreement: Annotated[
        list[str] | None, typer.Option(metavar="SIZE=SPEARMAN", help="How alike that size ranks mixes (advise sizes).")
    ] = None,
    tokens_per_param: Annotated[float, typer.Option(help="Length of runs whose size is given.")] = 20.0,
    device: Annotated[str, typer.Option(help="What they are priced on: cpu, a100, h100, h200.")] = "h100",
    as_json: AsJson = False,
) -> None:
    """What designs of experiment would find, by simulation on surfaces like the one fitted to the runs."""
    from dataclasses import asdict

    from mixlab import show_advice
    from mixlab.advise import buy, replay, runs
    from mixlab.advise.fits import fit
    from mixlab.advise.objective import objective_of
    from mixlab.advise.target import dollars_at
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    told = {_size(size): rho for size, rho in numbers(agreement, "--agreement").items()}
    asked = [_design(text) for text in design or ["16x1", "32x1", "16x2"]]
    if table is not None:
        known = replay.read(table)
        objective, own_price = objective_of([fit(known.train, metric or known.metrics[0])]), 0.0
    else:
        ws = Workspace.open()
        objective, _, own_price = runs.fitted(list_runs(ws), ws, runs.Ask(sweep=sweep))
    designs = [
        buy.Design(runs=n, seeds=seeds, dollars=own_price)
        if size is None
        else buy.Design(
            runs=n,
            seeds=seeds,
            n_params=size,
            dollars=dollars_at(size, tokens_per_param * size, device),
            agreement=told.get(size, buy.agreement_at(size)),
        )
        for n, size, seeds in asked
    ]
    sd = buy.noise_sd(objective) if noise is None else noise
    found = buy.power(designs, buy.surface_of(objective), runs.designs(objective), sd)
    show_advice.sentences(show_advice.designs(found), [asdict(p) for p in found], as_json=as_json)


def _design(text: str) -> tuple[int, float | None, int]:
    """Runs, parameters of their models, seeds of each. ConfigError: not in the form."""
    many, *rest = text.split("x")
    size = _size(rest.pop(0)) if rest and rest[0][-1:].upper() in SIZES else None
    seeds = rest[0] if len(rest) == 1 else "1"
    if len(rest) > 1 or not (many.isdigit() and seeds.isdigit() and int(many) > 0 and int(seeds) > 0):
        raise ConfigError(f"a design is RUNSxSIZExSEEDS, such as 64x15M, 24x60Mx2 or 64x1; not '{text}'.")
    return int(many), size, int(seeds)


def _size(text: str) -> float:
    """Parameters, from words such as 15M. ConfigError: something else."""
    try:
        return float(text[:-1]) * SIZES[text[-1:].upper()]
    except (KeyError, ValueError) as e:
        raise ConfigError(f"a size is a number and K, M or B, such as 15M; not '{text}'.") from e


@app.command("laws")
def laws(
    flops: Annotated[float, typer.Option(help="Training budget, 6 x parameters x tokens.")] = 1e21,
    table: Annotated[Path | None, typer.Option(help="CSV: params, tokens, unique_tokens, a loss.")] = None,
    loss: Annotated[str, typer.Option(help="Its loss column.")] = "c4_val_loss",
    as_json: AsJson = False,
) -> None:
    """Scaling laws: the best size for a budget, what repetition is worth, and how well that is known."""
    from mixlab import show_advice
    from mixlab.advise import laws as known

    lines, facts = list[str](), dict[str, Any]()
    for name, law in known.CONSTANTS.items():
        n, d = law.optimum(flops)
        facts[name] = {"params": n, "tokens": d, "loss": float(law.loss(n, d))}
        lines.append(f"{name}: {n:.3g} parameters x {d:.3g} tokens ({d / n:.1f} each), loss {law.loss(n, d):.4f}")
    for times in (1, 2, 4, 8, 16, 64):
        share = float(known.worth(times, 1.0, known.PUBLISHED.data)) / times
        facts[f"epochs {times}"] = share
        lines.append(f"{times} epochs: a token is worth {share:.0%} of a fresh one (R_D* {known.PUBLISHED.data:.1f})")
    if table is not None:
        from mixlab.advise.tables import frame

        t = frame(table, ("params", "tokens", "unique_tokens", loss))
        told = known.star_interval(t["params"], t["tokens"], t["unique_tokens"], t[loss])
        facts["star"] = {"best": told.best, "lo": told.lo, "hi": told.hi, "profile": dict(told.profile)}
        high = "unbounded" if told.hi == float("inf") else f"{told.hi:.1f}"
        lines.append(
            f"R_D* from {len(t)} runs: best {told.best:.1f}, 90 % interval {told.lo:.1f} to {high}; "
            f"the fit is flat from {told.flat_from:.1f} up, so do not trust one number"
        )
    show_advice.sentences(lines, facts, as_json=as_json)


def _mix(weights: dict[str, float]) -> str:
    return "train: " + ", ".join(f"{s} {w:.1%}" for s, w in sorted(weights.items(), key=lambda kv: -kv[1]))
