"""The line of progress: on a terminal what runs, how far, what failed and how long; nothing in a pipe."""

import os
import pty
import sys

from mixlab import show
from mixlab.sweep import Progress, Running

STATES = [
    Progress(total=4, done=done, failed={"d02": "why"}, running={"d03-s0-ab": Running(step=5, steps=10, bpb_macro=2.5)})
    for done in (0, 1, 2)
]


def told(stream: int) -> None:
    """Draws the states of a sweep on this file descriptor."""
    with os.fdopen(stream, "w") as sys.stderr, show.progress() as watch:
        for state in STATES:
            watch.sweep(state)


def test_a_terminal_is_told_what_runs_how_far_it_is_and_what_failed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    ours, theirs = pty.openpty()
    told(theirs)
    drawn = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "2/4 runs, 1 failed; d03-s0-ab 5/10 bpb 2.500" in drawn
    assert "0:00:0" in drawn  # how long so far; beside it what is left


def test_a_pipe_is_told_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    ours, theirs = os.pipe()
    told(theirs)
    assert os.read(ours, 1 << 16) == b""
    os.close(ours)
