"""`mixlab sweep …`: many runs, in the foreground or detached, as a file says or as Optuna asks."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mixlab.commands.options import AsJson, Device, Devices, DryRun, Overrides
from mixlab.errors import ConfigError, MixlabError

PREEMPTED = 75  # EX_TEMPFAIL: nothing is wrong, run me again


def sweep(
    name: Annotated[str, typer.Argument(help="sweeps/NAME.yaml, or overrides alone such as seed=0,1,2")],
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a GPU, else one a core.")] = None,
    device: Device = "cpu",
    devices: Devices = 1,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed for good.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="In the background; `mixlab runs status` finds it.")] = False,
    optimize: Annotated[str | None, typer.Option(help="Lower this score by choosing weights, e.g. macro.")] = None,
    halving: Annotated[
        int | None, typer.Option(min=2, help="Stop most runs early: one in so many goes on, from point to point.")
    ] = None,
    trials: Annotated[int, typer.Option(help="With --optimize: runs in all, those before counted.")] = 20,
) -> None:
    """Many runs; those already finished are not trained again."""
    from mixlab import compose, jobs, roster, show
    from mixlab.workspace import Workspace

    if halving is not None and optimize is not None:
        raise ConfigError("--halving stops runs early, --optimize needs their final scores: choose one.")
    ws = Workspace.open()
    typed = list(overrides or [])
    file, typed = (None, [name, *typed]) if "=" in name else (name, typed)
    asked = compose.axes(file, typed, Path.cwd())
    specs = compose.spread(asked, Path.cwd())  # mistakes are told before anything starts
    called = roster.called(file, asked)
    if detach:
        words = [w for w in sys.argv[1:] if w != "--detach"]
        job = jobs.launch(ws, words)
        show.say(job)
        sys.stderr.write(f"mixlab runs status  (how far it is)\nmixlab runs tail {job}\nmixlab runs cancel {job}\n")
        return
    from mixlab import sweep as sweeping
    from mixlab.results.speeds import measured

    is_design = any(one.startswith("design.row=") for one in asked)
    kind = "halving" if halving else "optimize" if optimize else "design" if is_design else "grid"
    options: dict[str, Any] = {"workers": workers, "fail_fast": fail_fast, "retry_failed": retry_failed}
    options["about"] = {"kind": kind, "asked": asked}
    requeue, notes = _Requeue(), []
    try:
        with show.progress() as watch, requeue:
            if optimize is not None and len(specs) != 1:
                raise ConfigError(f"--optimize chooses the weights of one run, but {name} describes {len(specs)}.")
            if optimize is not None and not dry_run:
                from mixlab import optimize as search

                made = search.optimize(specs[0], ws, optimize, trials, name=called, watch=watch, **options)
                names, failed = made
            else:
                speeds = measured(ws) if dry_run else ()
                told = sweeping.rehearse_all(specs, ws, watch.stage, device=device, speeds=speeds)
                if dry_run:
                    show.rehearsal(told, as_json=as_json, devices=devices)
                    if optimize is not None:
                        sys.stderr.write(
                            f"--optimize: {trials} such runs in all; their mixes follow from the scores.\n"
                        )
                    return
                names = [t.path.name for t in told]
                options |= {"name": called, "watch": watch.sweep}
                if halving is not None:
                    from mixlab.halving import run_halving

                    halved = run_halving(told, ws, eta=halving, **options)
                    failed, notes = halved.failed, halved.sentences()
                else:
                    failed = sweeping.run_all(told, ws, **options).failed
        publish(ws)
        show.outcome(ws, names, failed, as_json=as_json)
        for note in notes:
            sys.stderr.write(f"{note}\n")
    except KeyboardInterrupt:
        if requeue.was_asked:
            sys.stderr.write("stopped by SIGTERM; the same command continues from the checkpoints.\n")
            sys.exit(PREEMPTED)
        raise
    if failed:
        sys.exit(3)


class _Requeue:
    """While it is open, SIGTERM means what Ctrl-C means, but for the exit code."""

    was_asked = False

    def __enter__(self) -> "_Requeue":
        self.before = signal.signal(signal.SIGTERM, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self.before)

    def _asked(self, *_: object) -> None:
        self.was_asked = True
        raise KeyboardInterrupt


def publish(ws: Any) -> None:
    """Publishing may never fail a run: the truth is already in the run's own files."""
    from mixlab.results import store

    try:
        store.publish(ws)
    except (OSError, MixlabError) as e:
        sys.stderr.write(f"warning: the index {ws.database} was not renewed ({e}); it is rebuilt next time.\n")
