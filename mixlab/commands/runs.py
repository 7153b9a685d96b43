"""`mixlab runs …`: what came out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson, Overrides

app = typer.Typer(no_args_is_help=True, help="What came out.")


@app.command("ls")
def ls(
    as_json: AsJson = False,
    sweep_name: Annotated[str | None, typer.Option("--sweep", help="Only this sweep.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only runs with this tag.")] = None,
    starred: Annotated[bool, typer.Option("--starred", help="Only starred runs.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Archived runs too.")] = False,
) -> None:
    """Every run but archived ones, the best macro bits per byte first."""
    from mixlab import show as showing
    from mixlab.results.annotations import remarks
    from mixlab.results.listing import list_runs, of_sweep
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    rows = [{**r, **remarks(ws.root / "runs" / r["run_id"])} for r in of_sweep(list_runs(ws), sweep_name)]
    rows = [r for r in rows if (archived or not r["is_archived"]) and (r["is_starred"] or not starred)]
    showing.runs([r for r in rows if tag is None or tag in r["tags"]], as_json=as_json)


@app.command("show")
def show(run_id: str, as_json: AsJson = False) -> None:
    """One run: mix, scores, tasks with their floors, samples, cost. A unique part of its name is enough."""
    from mixlab import show_run
    from mixlab.workspace import Workspace

    show_run.run(Workspace.open(), run_id, as_json=as_json)


@app.command("compare")
def compare(run_a: str, run_b: str, as_json: AsJson = False) -> None:
    """Two runs or mixes side by side: weights in points, scores and tasks with their noise, and who won, if anyone.

    All runs that differ from them in the seed alone are taken together: the name of a mix is enough.
    """
    from mixlab import show as showing
    from mixlab import show_contest
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    names = [showing.find_arm(ws, name)["run_id"] for name in (run_a, run_b)]
    show_contest.comparison(ws, *names, as_json=as_json)


@app.command("rank")
def rank(
    sweep_name: Annotated[str | None, typer.Option("--sweep", help="Only this sweep.")] = None,
    task: Annotated[str, typer.Option(help="bpb/macro, bpb/<source>, or a task's label.")] = "bpb/macro",
    metric: Annotated[str, typer.Option(help="bpb for bpb/…; gold_bpb, acc_char, … for a task.")] = "bpb",
    as_json: AsJson = False,
) -> None:
    """All mixes on one score: P(best), rank intervals, every pair with Holm's correction, which tasks agree."""
    from mixlab import show_contest
    from mixlab.workspace import Workspace

    show_contest.ranking(Workspace.open(), sweep_name, task, metric, as_json=as_json)


@app.command("court")
def court(
    sweep_name: Annotated[str | None, typer.Option("--sweep", help="Only this sweep.")] = None, as_json: AsJson = False
) -> None:
    """Which task metrics may rank mixes here: signal to noise, monotonicity, agreement with bits per byte."""
    from mixlab import show_contest
    from mixlab.workspace import Workspace

    show_contest.court(Workspace.open(), sweep_name, as_json=as_json)


@app.command("split")
def split(
    run_id: str,
    against: Annotated[str | None, typer.Argument(help="A second run: its paired difference, on each part.")] = None,
    found: Annotated[
        Path, typer.Option("--contamination", help="Folder of items.parquet: contamination/… in the lab.")
    ] = Path("contamination"),
    metric: Annotated[str, typer.Option(help="Of items: gold_bpb, acc_char, …")] = "gold_bpb",
    as_json: AsJson = False,
) -> None:
    """Scores on all, clean and contaminated items of each task, and what contamination is worth."""
    from mixlab import show as showing
    from mixlab import show_contest
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    names = [showing.find(ws, name)["run_id"] for name in (run_id, against) if name is not None]
    show_contest.parts(ws, names, found, metric, as_json=as_json)


@app.command("eval")
def evaluate(
    run_ids: Annotated[list[str], typer.Argument(help="One run or several: several are asked in one pass.")],
    suite: Annotated[str, typer.Option(help="live, full, code, or a YAML file or folder of your own.")] = "full",
    tasks: Annotated[
        Path | None, typer.Option(envvar="MIXLAB_TASKS", help="Folder of the task files (default: beside the YAML).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Task scores and samples of finished runs, without training again; what was asked before is not asked again."""
    from mixlab import exam, show_tasks, unprompted
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    runs = [showing.folder(ws, name) for name in run_ids]
    found = exam.sit_together(runs, ws, suite, tasks)
    written = {run: unprompted.once(run, ws) for run in runs}
    show_tasks.scores({run: found[run.name] for run in runs}, written, as_json=as_json)


@app.command("samples")
def samples(
    run_id: str,
    count: Annotated[int, typer.Option(help="How many.", min=2)] = 64,
    copied: Annotated[bool, typer.Option(help="Search the training text for 13-grams: a second per MB.")] = True,
    as_json: AsJson = False,
) -> None:
    """Samples from nothing: which source each looks like, against the mix; loops, ends, copied text."""
    from mixlab import show as showing
    from mixlab import show_tasks, unprompted
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    run = showing.folder(ws, run_id)
    show_tasks.unprompted(unprompted.audit(run, ws, count, copied=copied), as_json=as_json)


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """What runs now: detached sweeps, and every run that has not ended."""
    from mixlab import jobs
    from mixlab import show as showing
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    found, open_runs = jobs.jobs(ws), [r for r in list_runs(ws) if r["state"] != "finished"]
    if as_json:
        showing.print_json({"jobs": found, "runs": open_runs})
        return
    told = [(j["job"], j["state"], jobs.how_far(j), " ".join(j["words"])) for j in found]
    showing.table("Jobs", ("job", "state", "how far", "command"), told)
    rows = [(r["run_id"], r["state"], r["step"], r["steps"], r["bpb_macro"], r["reason"]) for r in open_runs]
    showing.table("Runs that have not finished", ("run", "state", "step", "of", "macro bpb", "reason"), rows)


@app.command("tail")
def tail(
    name: Annotated[str, typer.Argument(help="A run or a job.")],
    lines: Annotated[int, typer.Option("-n", help="How many.")] = 20,
) -> None:
    """The last lines a detached sweep wrote, and how far it is; of a run its last metrics, then what its job said."""
    from mixlab import jobs
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    paths = [ws.jobs / name / "log.txt"]
    if not paths[0].exists():
        run = showing.folder(ws, name)
        log = jobs.log_of(ws, run)
        paths = [run / "metrics.jsonl", *([] if log is None else [log])]
    for path in paths:
        for line in jobs.tail(path).splitlines()[-lines:] if path.exists() else ():
            showing.say(line)
    if (ws.jobs / name).is_dir():
        told = jobs.describe(ws.jobs / name)
        sys.stderr.write(": ".join(filter(None, [told["state"], jobs.how_far(told)])) + "\n")


@app.command("lineage")
def lineage(run_id: str, as_json: AsJson = False) -> None:
    """Where a run's scores come from: mix, tokens, cleaning, dedup, sources, packages, commit, machine."""
    from mixlab import lineage as tracing
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    told = tracing.lineage(showing.folder(ws, run_id), ws)
    if as_json:
        showing.print_json(told)
    else:
        showing.table(
            told["run"], ("what", "which", "state"), [(s["what"], s["which"], s["state"]) for s in told["steps"]]
        )


@app.command("rerun")
def rerun(run_id: str, as_json: AsJson = False) -> None:
    """Trains a run once more, beside the lab, and compares every number; exit code 1 if one differs."""
    from mixlab import again
    from mixlab import show as showing
    from mixlab.errors import RunFailed
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    told = again.rerun(showing.folder(ws, run_id), ws)
    if as_json:
        showing.print_json(told)
    else:
        for line in told["words"]:
            showing.say(line)
    if not told["is_identical"]:
        sys.exit(RunFailed.exit_code)


@app.command("lengths")
def lengths(run_id: str, as_json: AsJson = False) -> None:
    """Bits per byte of a finished run at 1, 2, 4 and 8 times the length it was trained at."""
    from dataclasses import asdict

    from mixlab import lengths as longer
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    run = showing.folder(ws, run_id)
    found = longer.by_length(run, ws)
    if as_json:
        showing.print_json([asdict(length) for length in found])
        return
    sources = list(found[0].bpb)
    rows = [(f"{x.factor}×", x.seq_len, x.long_docs, *(x.bpb[s] for s in sources)) for x in found]
    showing.table(run.name, ("length", "tokens", "documents that fill it", *(f"bpb {s}" for s in sources)), rows)


@app.command("lr")
def lr(
    overrides: Overrides = None,
    around: Annotated[float | None, typer.Option(help="Middle of the ladder; default: train.lr.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs at each rate.")] = 2,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a GPU, else one a core.")] = None,
    as_json: AsJson = False,
) -> None:
    """The lr finder: short runs of one mix at seven rates; the curve, the best rate, how sure."""
    from dataclasses import asdict

    from mixlab import compose, lrfinder
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    spec = compose.spec_of(list(overrides or []), Path.cwd())
    with showing.progress() as watch:
        found = lrfinder.find(
            spec, Workspace.open(), around=around, seeds=range(seeds), workers=workers, watch=watch.sweep
        )
    if as_json:
        showing.print_json({**asdict(found), "sentence": found.sentence()})
        return
    rows = [(f"{rate:.3g}", *values) for rate, values in found.curve.items()]
    columns = ("lr", *(f"seed {s}" for s in range(seeds)))
    showing.table("Macro bits per byte by learning rate", columns, rows, note=found.sentence())
