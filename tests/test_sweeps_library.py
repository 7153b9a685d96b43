"""Every sweep of sweeps/ is composed as it stands: its runs differ, its settings are possible, its header says why."""

from pathlib import Path

import pytest

from mixlab import compose
from mixlab.compose import expand
from mixlab.data.profiles import check_profile
from mixlab.mix import mixture
from mixlab.workspace import canonical

ROOT = Path(__file__).parents[1]
RUNS = {
    **{"annealing": 5, "badwords": 6, "c4_rules": 9, "code_fraction": 7, "dedup": 6, "long_context": 4},
    **{"lr_mode": 8, "quality_vs_quantity": 6, "repetition": 6, "seeds": 8, "swarm": 64},
}


def test_the_library_is_complete():
    assert {p.stem for p in (ROOT / "sweeps").glob("*.yaml")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_sweep_is_composed_as_it_stands(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    head = (ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8")
    assert all(f"# {word}:" in head for word in ("Question", "Expected", "Cost", "Answer"))
    specs = expand(name, [], ROOT)
    assert len(specs) == RUNS[name] == len({repr(canonical(s)) for s in specs})
    for spec in specs:
        sources = [s.name for s in spec.sources]
        mixture.check(spec.mixture, sources)
        for phase in spec.phases:
            if phase.mixture:
                mixture.check(phase.mixture, sources)
        for source in sources:
            check_profile(spec.cleaning.profile_of(source))


@pytest.mark.parametrize(
    ("name", "typed"), [("swarm", ["design.row=62,63"]), ("badwords", ["seed=1"]), ("lr_mode", [])]
)
def test_runs_that_differ_in_values_are_what_hydra_composes_one_by_one(name, typed, monkeypatch):
    monkeypatch.chdir(ROOT)
    alone: list[list[str]] = []
    monkeypatch.setattr(compose, "_specs", lambda runs, project: alone.extend(runs))
    expand(name, typed, ROOT)
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    specs = expand(name, typed, ROOT)
    assert len(alone) == len(specs) > 1
    for at in (0, -1):
        assert specs[at] == compose.spec_of(alone[at], ROOT)
