"""What a lab has measured prices what is to come, on whatever device it ran."""

from dataclasses import asdict
from typing import Literal

import pytest

from mixlab import pipeline
from mixlab.compose import spec_of
from mixlab.mix.budget import DEVICES
from mixlab.results.speeds import measured
from mixlab.types import ModelSpec, TrainSpec
from mixlab.workspace import Workspace, write_json
from tests.conftest import TINY


def ran(ws, name, rate, model=None, precision: Literal["fp32", "bf16"] = "fp32", **told):
    """The files of a finished run, as its own machine would have written them."""
    spec = {"model": asdict(model or ModelSpec()), "train": asdict(TrainSpec(precision=precision))}
    out = ws.root / "runs" / name
    out.mkdir(parents=True)
    write_json(out / "run.json", {"run_id": name, "spec": spec, "threads": 1, **told})
    write_json(out / "status.json", {"state": "done", "tokens_per_s": rate})


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("cpu", "cpu"),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA H200 MIG 1g.18gb", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_device_is_known_by_its_whole_name(tmp_path, name, device):
    ws = Workspace.open(tmp_path)
    ran(ws, "a", 1000.0, device="cpu" if name == "cpu" else "cuda", device_name=name)
    assert [s.device for s in measured(ws)] == ([device] if device else [])


def test_a_rate_is_that_of_one_device(tmp_path):
    ws = Workspace.open(tmp_path)
    ran(ws, "eight", 8000.0, device_name="NVIDIA H200", ranks=8)
    ran(ws, "old", 1000.0, device_name="NVIDIA H200")  # from before `ranks` was written
    ran(ws, "two-cores", 400.0, device_name="cpu", threads=2)
    assert sorted((s.device, s.tokens_per_s) for s in measured(ws)) == [
        *(("cpu", 200.0), ("h200", 1000.0), ("h200", 1000.0))
    ]


def test_gpu_runs_price_a_mix_on_that_gpu_alone(project):
    ws, spec = Workspace.open(project / "lab"), spec_of(list(TINY), project)
    corpora = pipeline.prepare(spec, ws)
    model = pipeline.rehearse(spec, corpora, ws).spec.model
    for i, rate in enumerate((90_000.0, 110_000.0, 100_000.0)):
        ran(ws, f"g{i}", rate, model, device="cuda", device_name="NVIDIA H200")
    ran(ws, "half", 900_000.0, model, precision="bf16", device="cuda", device_name="NVIDIA H200")
    speeds = measured(ws)
    told = {d: pipeline.rehearse(spec, corpora, ws, device=d, speeds=speeds).price for d in ("h200", "h100", "cpu")}
    assert told["h200"].basis == "measured: median of 3 runs of this model, 90,000 to 110,000 tokens/s"
    assert told["h200"].hours == pytest.approx(8192 / 100_000 / 3600)
    assert told["h200"].dollars == pytest.approx(told["h200"].hours * DEVICES["h200"].dollars_per_hour)
    assert told["h100"].basis.startswith("assumed") and told["cpu"].basis.startswith("assumed")
    half = spec_of([*TINY, "train.precision=bf16"], project)
    assert pipeline.rehearse(half, corpora, ws, device="h200", speeds=speeds).price.basis == (
        "measured: one run of this model"
    )
