"""Plain hydra: its errors come out as ours, and its launchers train the same runs."""

import importlib.util
import os
import subprocess
import sys

import pytest

from mixlab.workspace import Workspace
from tests.conftest import TINY


def hydra(*typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mixlab", *typed], capture_output=True, text=True, env={**os.environ}, timeout=400
    )


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["train.tokns=5"], ["train.tokns", "'tokens'"]),
        (["mixture=uniformly"], ["mixture=uniformly", "'uniform'"]),
        (["mixture=[unif"], ["[unif"]),
        (["-m", "train.tokens=abc"], ["train.tokens"]),
    ],
)
def test_hydras_own_errors_come_out_as_ours(project, typed, words):
    told = hydra(*typed)
    assert told.returncode == 2, told.stderr
    assert told.stderr.count("error: ") == 1 and "HYDRA_FULL_ERROR" not in told.stderr
    assert "Traceback" not in told.stderr and all(w in told.stderr for w in words), told.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "typed"),
    [
        ("hydra_joblib_launcher", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        ("hydra_submitit_launcher", ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]),
        ("hydra_ray_launcher", ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"]),
    ],
)
def test_a_launcher_trains_every_run(project, plugin, typed):
    if importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"{plugin} is not installed: pip install 'mixlab[slurm]' or 'mixlab[ray]'")
    told = hydra("-m", "seed=0,1", *TINY, "mixture=uniform", *typed)
    assert told.returncode == 0, told.stderr
    runs = Workspace.open(project / "lab").runs()
    assert len(runs) == 2 and all((run / "done.json").exists() for run in runs)
