from dataclasses import replace

import pytest

from mixlab.mix.budget import flops, price
from mixlab.mix.speed import Speed, expected
from mixlab.types import ModelSpec

SMALL = ModelSpec(d_model=64, n_layers=2)
LARGER = replace(SMALL, d_model=80)


def run(model, rate, device="cpu"):
    return Speed(device=device, model=model, tokens_per_s=rate)


def test_runs_of_the_same_model_win_and_their_spread_is_told():
    rate = expected(
        SMALL, "cpu", [run(SMALL, 90), run(SMALL, 100), run(SMALL, 140), run(LARGER, 7), run(SMALL, 9, "h200")]
    )
    assert rate and rate.tokens_per_s == 100 and rate.basis.endswith("3 runs of this model, 90 to 140 tokens/s")


def test_a_model_of_about_the_size_lends_its_flops_per_second():
    rate = expected(LARGER, "cpu", [run(SMALL, 1000)])
    assert rate and rate.tokens_per_s * flops(LARGER, 1).total == pytest.approx(1000 * flops(SMALL, 1).total)
    assert rate.basis.startswith("from 1 measured run of")


def test_far_sizes_and_other_devices_say_nothing():
    assert expected(replace(SMALL, d_model=1024), "cpu", [run(SMALL, 1000)]) is None
    assert expected(SMALL, "h100", [run(SMALL, 1000)]) is None


def test_a_measured_rate_makes_the_price():
    cost = price(SMALL, 3_600_000, "h200", 1000, "measured: one run")
    assert (cost.hours, cost.basis) == (pytest.approx(1.0), "measured: one run")
