"""Replay: published layouts are read as they are, every method judged on the same unseen mixes."""

import numpy as np
import pandas as pd
import pytest

from mixlab.advise import replay
from mixlab.advise.check import check
from mixlab.errors import ConfigError, MissingError
from tests.advise.planted import METRICS, SOURCES, sweep


@pytest.fixture
def olmix(tmp_path):
    table, _, _ = sweep(1, 40)
    ids = pd.DataFrame({"run": [f"x{i}" for i in range(40)], "name": "swarm", "index": range(40)})
    ratios = pd.concat([ids, table[[f"w_{s}" for s in SOURCES]].set_axis(SOURCES, axis=1) * 3], axis=1)
    ratios.to_csv(tmp_path / "ratios.csv", index=False)
    pd.concat([ids, table[METRICS]], axis=1).iloc[::-1].to_csv(tmp_path / "metrics.csv", index=False)
    return tmp_path, table


def test_olmix_files_are_joined_by_id_and_normalised(olmix):
    folder, table = olmix
    told = replay.read(folder)
    both = pd.concat([told.train, told.test])
    assert len(both) == 40 and told.metrics == tuple(METRICS)
    assert np.allclose(both[[f"w_{s}" for s in SOURCES]].sum(axis=1), 1)
    assert sorted(both["bpb_code"]) == pytest.approx(sorted(table["bpb_code"]))
    merged = both.merge(table, on="bpb_code")
    assert np.allclose(merged["w_wiki_x"], merged["w_wiki_y"])


def test_the_leaderboard_compares_methods_on_the_same_subsets(olmix):
    lines = replay.leaderboard(replay.read(olmix[0]), "bpb_code", [10], ["ridge"], subsets=1)
    assert [x.method for x in lines] == ["gp-warped", "ridge"]
    best, plain = lines
    assert best.behind is None and plain.behind[0] <= best.spearman - plain.spearman <= plain.behind[1]
    assert best.regret_at_5 <= best.regret_at_1 and 0 <= best.coverage_80 <= 1 and best.decision_accuracy > 0.8


def test_the_runs_at_hand_are_checked_by_every_figure():
    table = sweep(1, 12)[0]
    best, plain = check(table, METRICS[:2], ["ridge"])
    assert (best.method, plain.method) == ("gp-warped", "ridge") and best.cv.scheme == "leave one mix out"
    assert best.behind is None and plain.behind[0] <= plain.behind[1] and -1 <= plain.cv.kendall <= 1
    assert set(best.cv.coverage) == {0.5, 0.8, 0.95}
    with pytest.raises(ConfigError, match="Did you mean 'ridge'"):
        check(table, METRICS[:1], ["rigde"])


def test_regmix_files_need_their_losses(tmp_path):
    with pytest.raises(MissingError, match="neither RegMix"):
        replay.read(tmp_path)
    pd.DataFrame({"index": [1], "train_the_pile_a": [1.0]}).to_csv(tmp_path / "train_mixture_1m.csv")
    with pytest.raises(MissingError, match="no losses beside it"):
        replay.read(tmp_path)


def regmix(folder, part, size, table, scale=1.0):
    """RegMix's two files of one part and size, the row numbers of pandas among their columns."""
    ids = pd.Series(range(len(table)), name="index")
    mixes = table[[f"w_{s}" for s in SOURCES]].rename(columns=lambda c: "train_the_pile_" + c.removeprefix("w_"))
    pd.concat([ids, mixes], axis=1).to_csv(folder / f"{part}_mixture_{size}.csv")
    pd.concat([ids, scale * table[METRICS[:1]]], axis=1).to_csv(folder / f"{part}_pile_loss_{size}.csv")


def test_test_files_of_every_size_are_joined_with_their_own_losses(tmp_path):
    table = sweep(1, 40)[0]
    regmix(tmp_path, "train", "1m", table.head(12))
    for size, scale in (("1B", 0.5), ("1m", 1.0), ("60m", 0.7)):
        regmix(tmp_path, "test", size, table.tail(20).reset_index(drop=True), scale)
    told = replay.read(tmp_path)
    assert [c for c in told.train.columns if c.startswith("w_")] == [f"w_{s}" for s in SOURCES]
    assert list(told.larger) == ["1B", "60m"] and told.metrics == (METRICS[0],)
    assert np.allclose(told.larger["1B"][METRICS[0]], 0.5 * told.test[METRICS[0]])
    own, *larger = replay.leaderboard(told, METRICS[0], [12], [], subsets=1)
    assert [x.judged_on for x in (own, *larger)] == [None, "1B", "60m"]
    assert all((x.spearman, x.coverage_80) == (own.spearman, None) for x in larger)
    assert larger[0].regret_at_1 == pytest.approx(0.5 * own.regret_at_1)
    (tmp_path / "test_pile_loss_60m.csv").unlink()
    with pytest.raises(MissingError, match=r"only test_pile_loss_1B\.csv, test_pile_loss_1m\.csv"):
        replay.read(tmp_path)
    pd.DataFrame({"index": [0], "train_the_pile_mail": [1.0]}).to_csv(tmp_path / "test_mixture_60m.csv")
    pd.DataFrame({"index": [0], METRICS[0]: [1.0]}).to_csv(tmp_path / "test_pile_loss_60m.csv")
    with pytest.raises(ConfigError, match="do not share the sources books, code, docs, mail, wiki"):
        replay.read(tmp_path)


def test_unknown_metrics_and_methods_are_named(olmix):
    tables = replay.read(olmix[0])
    with pytest.raises(ConfigError, match="Did you mean 'bpb_code'"):
        replay.leaderboard(tables, "bpb_cod", [16], [])
    with pytest.raises(ConfigError, match="Did you mean 'ridge'"):
        replay.leaderboard(tables, "bpb_code", [16], ["rigde"])
