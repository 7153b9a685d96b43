"""The line of progress: on a terminal what runs, how far, what failed and how long; nothing in a pipe."""

import os
import pty
import re
import sys
from contextlib import suppress

import pytest

from mixlab import show
from mixlab.sweep import Progress, Running

RUNNING = {
    "d03-s0-ab": Running(step=5, steps=10, bpb_macro=2.5),
    "d04-s0-cd": Running(step=0, steps=0, bpb_macro=None),
}
STATES = [Progress(total=4, done=done, failed={"d02": "why"}, running=RUNNING) for done in (0, 1, 2)]


def told(stream: int) -> None:
    """Draws the states of a sweep on this file descriptor."""
    with os.fdopen(stream, "w") as sys.stderr, show.progress() as watch:
        for state in STATES:
            watch.sweep(state)


def heard(terminal: int) -> str:
    """All that a terminal whose other end is closed was told; one read may bring a part of it."""
    told = b""
    with suppress(OSError):  # how Linux says that the other end is closed and nothing is left
        while piece := os.read(terminal, 1 << 16):
            told += piece
    os.close(terminal)
    return told.decode()


@pytest.mark.parametrize("width", ["160", "80"])
def test_a_terminal_is_told_what_runs_how_far_it_is_what_failed_and_how_long(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    ours, theirs = pty.openpty()
    told(theirs)
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", heard(ours))
    (last,) = [line for line in drawn.split("\r") if line.startswith("2/4 runs, 1 failed ")][-1:]
    assert re.search(r"0:00:0\d (-:--:--|0:00:0\d) d03-s0-ab 5/10 bpb 2\.500", last)  # so far, and what is left
    assert len(last.rstrip()) <= int(width) and ("d04-s0-cd starts" in last) == (width == "160")


def test_a_pipe_is_told_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    ours, theirs = os.pipe()
    told(theirs)
    assert os.read(ours, 1 << 16) == b""
    os.close(ours)
