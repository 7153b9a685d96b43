import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.errors import ConfigError, PlanError
from mixlab.mix.swarm import design, read_design, write_design

LAW = settings(max_examples=25, deadline=None, derandomize=True)
NATURAL = {"wiki": 0.6, "code": 0.25, "books": 0.1, "web": 0.05}


def table(mixtures):
    return np.array([list(m.weights.values()) for m in mixtures])


@LAW
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=10), st.integers(1, 24), st.integers(0, 9))
def test_every_row_is_a_mixture_of_all_sources(sizes, n, seed):
    available = {f"s{i}": size for i, size in enumerate(sizes)}
    mixes = design(available, n, seed)
    assert len(mixes) == (n if len(sizes) > 1 else 1)
    assert len({m.name for m in mixes}) == len(mixes)
    for m in mixes:
        assert list(m.weights) == sorted(available) and min(m.weights.values()) >= 0
        assert math.fsum(m.weights.values()) == pytest.approx(1, abs=1e-12)


def test_anchors_come_first_under_their_names():
    mixes = design(NATURAL, 8, seed=0)
    assert [m.name for m in mixes] == [
        *("natural", "uniform", "up-books", "up-code", "up-web", "up-wiki"),
        *("d01", "d02"),
    ]
    assert mixes[0].weights == pytest.approx(NATURAL) and set(mixes[1].weights.values()) == {0.25}
    assert mixes[3].weights["code"] == pytest.approx(0.5 / 1.25)


def test_a_longer_design_begins_with_the_shorter_one():
    assert design(NATURAL, 20, seed=3)[:9] == design(NATURAL, 9, seed=3)
    assert design(NATURAL, 9, seed=3)[8] != design(NATURAL, 9, seed=4)[8]


def test_draws_reach_corners_and_stay_apart():
    w = table(design(NATURAL, 40, seed=0))
    draws = w[6:]
    assert (draws.max(1) > 0.8).any() and (draws.max(1) < 0.5).any()
    assert draws.max(0).min() > 0.5, "every source leads somewhere"
    apart = np.sqrt(((np.sqrt(w)[:, None] - np.sqrt(w)[None]) ** 2).sum(-1)) + 9 * np.eye(len(w))
    assert apart[6:].min() > 0.05


@LAW
@given(st.lists(st.floats(0.05, 1), min_size=4, max_size=4), st.integers(0, 9))
def test_caps_hold_for_every_row(shares, seed):
    caps = dict(zip(sorted(NATURAL), shares, strict=True))
    if sum(shares) < 1:
        with pytest.raises(PlanError, match="of the tokens have no source"):
            design(NATURAL, 12, seed, caps)
        return
    assert (table(design(NATURAL, 12, seed, caps)) <= np.array(shares) + 1e-9).all()


def test_an_anchor_that_breaks_a_cap_says_that_it_was_moved():
    names = [m.name for m in design(NATURAL, 10, 0, caps={"web": 0.1, "wiki": 0.65})]
    assert (
        names[:4] == ["natural", "uniform-capped", "up-books", "up-code"]
        and "up-wiki-capped" in names
        and len(names) == 10
    )
    with pytest.raises(ConfigError, match="Did you mean 'wiki'"):
        design(NATURAL, 4, 0, caps={"wikki": 0.5})


def test_a_design_survives_its_file(tmp_path):
    mixes = design(NATURAL, 12, seed=0)
    write_design(tmp_path / "deep" / "d.csv", mixes)
    back = read_design(tmp_path / "deep" / "d.csv")
    assert [m.name for m in back] == [m.name for m in mixes]
    assert np.allclose(table(back), table(mixes), atol=5e-10)


def test_a_damaged_design_names_its_row(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text("code,wiki\n0.5,0.5\n0.5,x\n")
    with pytest.raises(ConfigError, match=r"d\.csv, row 2 \('row02'\).*'x'"):
        read_design(file)
    file.write_text("name,code,wiki\na,0.5,0.6\n")
    with pytest.raises(ConfigError, match=r"row 1 \('a'\).*sum to 1\.1"):
        read_design(file)
    with pytest.raises(ConfigError, match="there is no design"):
        read_design(tmp_path / "none.csv")
