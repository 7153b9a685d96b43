"""The lr finder reads a curve honestly, and its runs are runs of the lab."""

import json

import pytest

from mixlab import lrfinder
from mixlab.errors import ConfigError
from tests.conftest import TINY, mixlab


def curve(best, noise=0.0, rates=7):
    return {0.01 * 2.0**k: tuple(1 + 0.05 * (k - best) ** 2 + s * noise for s in (-1, 1)) for k in range(-3, rates - 3)}


def test_the_lowest_place_lies_between_two_rates():
    found = lrfinder.read(curve(0.4, noise=0.01))
    assert found.lr == pytest.approx(0.01 * 2**0.4) and found.sure == "inside"
    assert found.low < found.lr < found.high and "nothing is worse by more than the noise" in found.sentence()


def test_a_best_rate_at_an_end_is_not_called_best():
    found = lrfinder.read(curve(5))
    assert found.sure == "at the high end" and "--around" in found.sentence()


def test_noise_larger_than_the_curve_is_called_flat():
    found = lrfinder.read({lr: (1.0 + (i % 2) * 0.2, 1.2 - (i % 2) * 0.2) for i, lr in enumerate(curve(0))})
    assert found.sure in ("flat", "at the low end")


def test_diverged_rates_are_left_out_and_too_few_are_refused():
    known = curve(0.0)
    gone = {lr: (values if lr < 0.05 else (None, values[1])) for lr, values in known.items()}
    assert lrfinder.read(gone).lr == pytest.approx(0.01)
    with pytest.raises(ConfigError, match="only 2 of 7 rates"):
        lrfinder.read({lr: (values if lr < 0.003 else (None, None)) for lr, values in known.items()})


def test_the_command_trains_a_ladder_once(project):
    asked = ("runs", "lr", *TINY, "mixture=uniform", "train.tokens=2048", "train.lr=0.02", "--seeds", "1", "--json")
    done = mixlab(*asked, "--workers", "1", cwd=project)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["curve"]) == ["0.0025", "0.005", "0.01", "0.02", "0.04", "0.08", "0.16"]
    assert min(map(float, told["curve"])) <= told["lr"] <= 0.16 and told["sentence"]
    runs = project / "lab" / "runs"
    stamps = {p.name: (p / "done.json").stat().st_mtime_ns for p in runs.iterdir() if p.is_dir()}
    assert mixlab(*asked, cwd=project).returncode == 0
    assert {p.name: (p / "done.json").stat().st_mtime_ns for p in runs.iterdir() if p.is_dir()} == stamps
