"""`mixlab runs …`: what came out."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.commands.options import AsJson

app = typer.Typer(no_args_is_help=True, help="What came out.")


@app.command("ls")
def ls(
    as_json: AsJson = False, sweep_name: Annotated[str | None, typer.Option("--sweep", help="Only this sweep.")] = None
) -> None:
    """Every run, the best macro bits per byte first."""
    from mixlab import show as showing
    from mixlab.results.listing import list_runs
    from mixlab.workspace import Workspace

    rows = [r for r in list_runs(Workspace.open()) if sweep_name in (None, r["sweep"])]
    showing.runs(rows, as_json=as_json)


@app.command("show")
def show(run_id: str, as_json: AsJson = False) -> None:
    """One run: mix, scores, samples. A unique part of its name is enough."""
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    showing.run(Workspace.open(), run_id, as_json=as_json)


@app.command("compare")
def compare(run_a: str, run_b: str, as_json: AsJson = False) -> None:
    """Two runs or mixes side by side: weights in points, scores with their noise."""
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    showing.comparison(Workspace.open(), run_a, run_b, as_json=as_json)


@app.command("eval")
def evaluate(
    run_id: str,
    suite: Annotated[str, typer.Option(help="live, full, code, or a YAML file or folder of your own.")] = "full",
    tasks: Annotated[
        Path | None, typer.Option(envvar="MIXLAB_TASKS", help="Folder of the task files (default: beside the YAML).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Task scores for a finished run, without training again; what was asked before is not asked again."""
    from mixlab import exam, show_tasks
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    run = ws.root / "runs" / showing.find(ws, run_id)["run_id"]
    show_tasks.scores(run.name, exam.sit(run, ws, suite, tasks), as_json=as_json)


@app.command("export")
def export(
    run_id: str,
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    to: Annotated[str, typer.Option(help="Format: hf, for transformers' MptForCausalLM.")] = "hf",
    as_json: AsJson = False,
) -> None:
    """A finished run as a folder that transformers loads: config, safetensors, tokenizer."""
    from mixlab import handover
    from mixlab import show as showing
    from mixlab.errors import ConfigError, nearest
    from mixlab.workspace import Workspace

    if to != "hf":
        raise ConfigError(f"--to {to} is not known.{nearest(to, ['hf'])}")
    ws = Workspace.open()
    run = ws.root / "runs" / showing.find(ws, run_id)["run_id"]
    done = handover.export_run(run, ws, folder.absolute())
    if as_json:
        showing.print_json({"path": done.path, "largest_logit_difference": done.difference, "notes": done.notes})
        return
    showing.say(f"{done.path}: read back, no logit differs by more than {done.difference:.1e}.")
    for note in done.notes:
        showing.say(f"- {note}")


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
    showing.table("Jobs", ("job", "state", "command"), [(j["job"], j["state"], " ".join(j["words"])) for j in found])
    rows = [(r["run_id"], r["state"], r["step"], r["steps"], r["bpb_macro"], r["reason"]) for r in open_runs]
    showing.table("Runs that have not finished", ("run", "state", "step", "of", "macro bpb", "reason"), rows)


@app.command("cancel")
def cancel(job: Annotated[str, typer.Argument(help="As `mixlab runs status` lists it.")]) -> None:
    """Asks a detached sweep to write its checkpoints and stop."""
    from mixlab import jobs
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    jobs.cancel(Workspace.open(), job)
    showing.say(f"{job} is asked to stop; the same sweep command continues it.")


@app.command("tail")
def tail(
    name: Annotated[str, typer.Argument(help="A run or a job.")],
    lines: Annotated[int, typer.Option("-n", help="How many.")] = 20,
) -> None:
    """The last lines a run or a detached sweep wrote."""
    from mixlab import jobs
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    if (log := ws.jobs / name / "log.txt").exists():
        path = log
    else:
        path = ws.root / "runs" / showing.find(ws, name)["run_id"] / "metrics.jsonl"
    for line in jobs.tail(path).splitlines()[-lines:]:
        showing.say(line)


@app.command("lineage")
def lineage(run_id: str, as_json: AsJson = False) -> None:
    """Where a run's scores come from: mix, tokens, cleaning, dedup, sources, packages, commit, machine."""
    from mixlab import lineage as tracing
    from mixlab import show as showing
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    told = tracing.lineage(ws.root / "runs" / showing.find(ws, run_id)["run_id"], ws)
    if as_json:
        showing.print_json(told)
    else:
        showing.table(
            told["run"], ("what", "which", "state"), [(s["what"], s["which"], s["state"]) for s in told["steps"]]
        )


@app.command("rerun")
def rerun(run_id: str, as_json: AsJson = False) -> None:
    """Trains a run once more, beside the lab, and compares every number; exit code 1 if one differs."""
    import sys

    from mixlab import lineage as tracing
    from mixlab import show as showing
    from mixlab.errors import RunFailed
    from mixlab.workspace import Workspace

    ws = Workspace.open()
    told = tracing.rerun(ws.root / "runs" / showing.find(ws, run_id)["run_id"], ws)
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
    run = ws.root / "runs" / showing.find(ws, run_id)["run_id"]
    found = longer.by_length(run, ws)
    if as_json:
        showing.print_json([asdict(length) for length in found])
        return
    sources = list(found[0].bpb)
    rows = [(f"{x.factor}×", x.seq_len, x.long_docs, *(x.bpb[s] for s in sources)) for x in found]
    showing.table(run.name, ("length", "tokens", "documents that fill it", *(f"bpb {s}" for s in sources)), rows)
