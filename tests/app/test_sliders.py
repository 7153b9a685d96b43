"""The arithmetic of the sliders: the browser's and Python's are one."""

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlab.app.sliders import State, _taken
from mixlab.mix.simplex import apportion, redistribute
from mixlab.seeds import generator
from tests.app.synthetic_lab import ROOT

UNITS = 1000
NODE = shutil.which("node")
SCRIPT = """
import { redistribute } from %s
import { readFileSync } from "node:fs"
const cases = JSON.parse(readFileSync(0, "utf8"))
console.log(JSON.stringify(cases.map((c) => redistribute(c.weights, c.locked, c.i, c.value, c.units))))
"""


@st.composite
def moves(draw):
    n = draw(st.integers(1, 12))
    shares = draw(st.lists(st.integers(0, 50), min_size=n, max_size=n).filter(any))
    locked = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return apportion(shares, UNITS).tolist(), locked, draw(st.integers(0, n - 1)), draw(st.integers(-50, UNITS + 50))


@given(moves())
def test_a_move_keeps_the_sum_the_locks_and_what_was_asked_if_it_fits(move):
    weights, locked, i, value = move
    got = redistribute(weights, locked, i, value, UNITS)
    assert sum(got) == UNITS and min(got) >= 0
    held = [j for j in range(len(weights)) if locked[j] and j != i]
    assert [got[j] for j in held] == [weights[j] for j in held]
    room = UNITS - sum(weights[j] for j in held)
    if len(held) < len(weights) - 1:
        assert got[i] == min(max(value, 0), room)


@pytest.mark.skipif(NODE is None, reason="no node on PATH: it runs the browser's arithmetic without a browser")
def test_the_browser_computes_what_python_computes(tmp_path):
    rng = generator(0, "sliders")
    cases = []
    for _ in range(3000):
        n = int(rng.integers(1, 13))
        shares = rng.integers(0, 40, n) * rng.integers(0, 2, n)
        weights = apportion(shares if shares.any() else shares + 1, UNITS).tolist()
        move = {"locked": rng.integers(0, 2, n).astype(bool).tolist(), "i": int(rng.integers(n))}
        cases.append({"weights": weights, **move, "value": int(rng.integers(0, UNITS + 1)), "units": UNITS})
    module = tmp_path / "sliders.mjs"
    module.write_text((ROOT / "mixlab" / "app" / "sliders.js").read_text())
    (tmp_path / "run.mjs").write_text(SCRIPT % json.dumps(str(module)))
    told = json.dumps(cases)
    out = subprocess.run([str(NODE), str(tmp_path / "run.mjs")], input=told, capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == [redistribute(**case) for case in cases]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {},
        {"rev": 0, "weights": [500, 500], "locked": [False, False]},  # from before a reset
        {"rev": 1, "weights": [500, 400], "locked": [False, False]},
        {"rev": 1, "weights": [1200, -200], "locked": [False, False]},
        {"rev": 1, "weights": [500.0, 500], "locked": [False, False]},
        {"rev": 1, "weights": [1000], "locked": [False]},
        {"rev": 1, "weights": 7, "locked": [False, False]},
        {"rev": 1, "weights": [500, 500], "locked": ["no", 0]},
    ],
)
def test_what_the_browser_sends_is_taken_only_if_it_is_whole_and_current(sent):
    held = State(weights=(300, 700), locked=(False, True))
    assert _taken(sent, held, UNITS, 1) is held


def test_what_the_browser_sends_is_taken():
    sent = {"rev": 1, "weights": [500, 500], "locked": [True, False]}
    held = State(weights=(300, 700), locked=(False, True))
    assert _taken(sent, held, UNITS, 1) == State(weights=(500, 500), locked=(True, False))
