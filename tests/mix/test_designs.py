import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab.errors import ConfigError, PlanError
from mixlab.mix.designs import DESIGNS, make
from mixlab.mix.mixture import unimax
from mixlab.mix.swarm import read_design, read_seeds, write_design

LAW = settings(max_examples=20, deadline=None, derandomize=True)
NATURAL = {"wiki": 0.6, "code": 0.25, "books": 0.1, "web": 0.05}


@LAW
@given(st.sampled_from(sorted(DESIGNS)), st.integers(4, 24), st.integers(0, 5), st.floats(1.02, 3), st.integers(2, 6))
def test_every_kind_keeps_tight_caps_and_sums_to_one(kind, n, seed, room, m):
    available = {f"s{i}": 10.0**i for i in range(m)}
    caps = {s: min(1.0, room / m) for s in available}
    try:
        mixes = make(kind, available, n, seed, caps)
    except (ConfigError, PlanError):
        assert kind in ("grid", "leave-one-out")  # no multiple of a step fits, or the others cannot fill the gap
        return
    assert 0 < len(mixes) <= n
    for mix in mixes:
        assert list(mix.weights) == sorted(available)
        assert math.fsum(mix.weights.values()) == pytest.approx(1, abs=1e-9)
        assert all(-1e-12 <= w <= caps[s] + 1e-9 for s, w in mix.weights.items())


@pytest.mark.parametrize("kind", sorted(set(DESIGNS) - {"reseeds"}))
def test_no_mixture_comes_twice_and_the_seed_decides(kind):
    mixes = make(kind, NATURAL, 20, 0)
    assert len({tuple(m.weights.values()) for m in mixes}) == len({m.name for m in mixes}) == len(mixes)
    assert make(kind, NATURAL, 20, 0) == mixes


def test_space_filling_is_wider_apart_than_chance():
    def least(w):
        z = np.sqrt(w)
        return (np.sqrt(((z[:, None] - z[None]) ** 2).sum(-1)) + 9 * np.eye(len(z))).min()

    filled = np.array([list(m.weights.values()) for m in make("space-filling", NATURAL, 20, 0)])
    chance = np.random.default_rng(0).dirichlet(np.ones(4), size=(50, 20))
    assert least(filled) > 2 * np.median([least(w) for w in chance])


def test_leave_one_out_leaves_each_out_once_and_keeps_the_proportions_of_the_others():
    base, *others = make("leave-one-out", NATURAL, 9, 0)
    assert base.weights == pytest.approx(NATURAL)
    assert [m.name for m in others] == ["without-books", "without-code", "without-web", "without-wiki"]
    for m in others:
        gone = m.name.removeprefix("without-")
        assert m.weights[gone] == 0
        ratios = {m.weights[s] / w for s, w in NATURAL.items() if s != gone}
        assert max(ratios) == pytest.approx(min(ratios))


def test_a_grid_has_every_point_of_its_step():
    points = {tuple(m.weights.values()) for m in make("grid", {"a": 1, "b": 1, "c": 1}, 15, 0)}
    assert points == {(i / 4, j / 4, (4 - i - j) / 4) for i in range(5) for j in range(5 - i)}
    assert len(make("grid", {"a": 1, "b": 1, "c": 1}, 14, 0)) == 10  # the step before
    with pytest.raises(ConfigError, match="more than 2 points"):
        make("grid", {"a": 1, "b": 1, "c": 1}, 2, 0)


def test_the_capped_uniform_anchor_is_unimax():
    sizes, budget, epochs = {"a": 100, "b": 1000, "c": 5000}, 4000, 4.0
    caps = {s: min(1.0, epochs * n / budget) for s, n in sizes.items()}
    (even,) = [m for m in make("anchors", sizes, 9, 0, caps) if m.name == "uniform-capped"]
    assert even.weights == pytest.approx(unimax(sizes, budget, epochs).weights)


def test_a_repeated_mixture_gets_the_next_seed(tmp_path):
    path = tmp_path / "d.csv"
    write_design(path, [*make("one-up", NATURAL, 3, 0), *make("reseeds", NATURAL, 2, 0)])
    assert read_seeds(path) == [0, 0, 0, 1, 2]
    assert [m.name for m in read_design(path)] == ["natural", "up-books", "up-code", "natural", "natural"]
    write_design(path, make("one-up", NATURAL, 3, 0))
    assert read_seeds(path) is None and "seed" not in path.read_text()


def test_an_unknown_kind_names_its_neighbours():
    with pytest.raises(ConfigError, match="Did you mean 'grid'"):
        make("gird", NATURAL, 3, 0)
    with pytest.raises(ConfigError, match="is none"):
        make("grid", NATURAL, 0, 0)
