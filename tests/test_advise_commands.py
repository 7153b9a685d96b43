"""`mixlab recommend` and `mixlab advise …`, as people type them: what cannot be asked is answered in a sentence."""

from pathlib import Path

import pytest

from mixlab.commands import advise, explain
from mixlab.errors import ConfigError, MissingError


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"max_epochs": 0.0}, "--max-epochs is a number above 0, not 0"),
        ({"target_tokens": -1.0}, "--target-tokens is a number above 0"),
        ({"target_params": float("nan")}, "--target-params is a number above 0"),
        ({"cap": ["code"]}, "--cap is given as NAME=NUMBER"),
    ],
)
def test_a_number_that_cannot_be_is_refused_before_anything_is_read(asked, words):
    with pytest.raises(ConfigError, match=words):
        advise.recommend(**asked)


def test_a_table_for_the_laws_names_the_column_it_lacks(tmp_path):
    with pytest.raises(MissingError, match="there is no table"):
        advise.laws(table=tmp_path / "runs.csv")
    (tmp_path / "runs.csv").write_text("param,tokens,unique_tokens,c4_val_loss\n1,2,3,4\n")
    with pytest.raises(ConfigError, match=r"has no column 'params'\. Did you mean 'param'"):
        advise.laws(table=tmp_path / "runs.csv")


def test_a_table_of_sizes_names_what_it_lacks(tmp_path):
    path = tmp_path / "sizes.csv"
    path.write_text("w_a,w_b,n_params,loss\n1,0,1e6,2\n")
    with pytest.raises(ConfigError, match="has no column 'tokens'"):
        explain.sizes(table=path)
    path.write_text("run_id,note,w_a,w_b,n_params,tokens\nx,y,1,0,1e6,1e8\n")
    with pytest.raises(ConfigError, match="has no metric: a column of numbers"):
        explain.sizes(table=path)
    with pytest.raises(ConfigError, match="has no column 'loss'"):
        explain.sizes(table=path, metric=["loss"])


def test_numbers_of_runs_are_told_by_commas():
    assert advise._counts("16, 32") == [16, 32]
    with pytest.raises(ConfigError, match="such as 16,32,64; not '16;32'"):
        advise._counts("16;32")
    with pytest.raises(MissingError, match="neither RegMix"):
        advise.replay(Path("nowhere"))
