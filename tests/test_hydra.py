"""Plain hydra: its errors come out as ours."""

import os
import subprocess
import sys

import pytest


def hydra(*typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mixlab", *typed], capture_output=True, text=True, env={**os.environ}, timeout=200
    )


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["train.tokns=5"], ["train.tokns", "'tokens'"]),
        (["mixture=uniformly"], ["mixture=uniformly", "'uniform'"]),
        (["mixture=[unif"], ["[unif"]),
    ],
)
def test_hydras_own_errors_come_out_as_ours(project, typed, words):
    told = hydra(*typed)
    assert told.returncode == 2, told.stderr
    assert told.stderr.count("error: ") == 1 and "HYDRA_FULL_ERROR" not in told.stderr
    assert "Traceback" not in told.stderr and all(w in told.stderr for w in words), told.stderr
