"""What the pages on results read and ask: names of mixes, options as words, prompts as files."""

import pandas as pd
import pytest
import yaml

from mixlab.advise import fits, region
from mixlab.app import advising, onward, prompts, verdicts
from mixlab.errors import ConfigError
from mixlab.results import landscape

RUNS = pd.DataFrame(
    {
        "run_id": ["even-s1", "even-s0", "odd-s0", "even-s0-big"],
        "name": ["even", "even", "odd", "even"],
        "label": ["even s1", "even s0", "odd s0", "even-s0-big"],
        "seed": [1, 0, 0, 0],
        "mix_id": ["m1", "m1", "m2", "m1"],
        "recipe": ["r", "r", "r", "q"],
        "state": ["finished", "finished", "running", "finished"],
        "w_a": [0.5, 0.5, 0.9, 0.5],
        "w_b": [0.5, 0.5, 0.1, 0.5],
    }
)


def test_a_mix_is_its_runs_of_one_recipe_and_goes_by_its_first_finished_run():
    mixes = verdicts.mixes(RUNS)
    assert mixes == {"even": ["even-s1", "even-s0"], "odd": ["odd-s0"], "even q": ["even-s0-big"]}
    assert verdicts.choices(RUNS, mixes)[:4] == ["even", "odd", "even q", "even-s1"]
    assert verdicts.representative(mixes["even"], RUNS) == "even-s0"
    assert verdicts.short_name("even-s1", RUNS, mixes) == "even s1" and verdicts.mixes(RUNS.iloc[:0]) == {}


def test_two_runs_to_begin_with_are_of_two_mixes_under_one_seed():
    assert verdicts.rivals(RUNS, ["even-s0", "even-s1", "odd-s0"]) == ["even-s0", "odd-s0"]
    assert verdicts.rivals(RUNS, ["even-s1", "odd-s0"]) == ["even-s1", "odd-s0"]
    assert verdicts.rivals(RUNS, ["even-s1", "even-s0"]) == ["even-s1"]


def test_constraints_become_the_options_of_the_command():
    wanted = advising.Wanted(
        metrics=("code",), max_epochs=2.5, only_licences=("MIT", "CC0-1.0"), floors=(("a", 0.1),), caps=(("b", 0.4),),
        groups=((("a", "b"), 0.2, 0.6), (("b", "c"), 0.0, 0.5)),
        frozen=(("a", 0.7), ("b", 0.3)), importance=(("code", 2.0),), ceilings=(("code", 1.25),), standardise=True,
        caution=1.0, pull=0.05, target_tokens=2_000_000, target_params=1_300_000_000.0, device="h100",
    )  # fmt: skip
    within = (
        "--metric code --floor a=0.1 --cap b=0.4 --group a+b>=0.2 --group a+b<=0.6 --group b+c<=0.5 "
        "--freeze a=0.7,b=0.3 --max-epochs 2.5 --only-licences MIT,CC0-1.0 --target-tokens 2000000"
    )
    assert " ".join(wanted.words()) == (
        f"recommend {within} --weight code=2 --ceiling code=1.25 --standardise --caution 1 --pull 0.05 "
        "--target-params 1300000000 --device h100"
    )
    assert advising.Wanted().words() == ["recommend"]
    assert " ".join(wanted.of_runs("next")) == f"advise next {within} --device h100"
    ask = wanted.ask()
    assert ask.wish is not None and ask.wish.limits == region.Limits(
        floors={"a": 0.1},
        caps={"b": 0.4},
        frozen=({"a": 0.7, "b": 0.3},),
        groups=(region.Group(sources=("a", "b"), least=0.2, most=0.6), region.Group(sources=("b", "c"), most=0.5)),
    )
    assert (ask.wish.importance, ask.wish.ceilings) == ({"bpb_code": 2.0}, {"bpb_code": 1.25})
    assert (ask.wish.standardise, ask.wish.kappa, ask.wish.lam, ask.target_params) == (True, 1.0, 0.05, 1.3e9)
    assert (ask.metrics, ask.max_epochs, ask.target_tokens, ask.device) == (("code",), 2.5, 2_000_000, "h100")


@pytest.mark.parametrize(
    "told",
    [
        {"floors": (("a", 1.5),)}, {"groups": ((("a", "b"), 0.0, 1.5),)},
        {"frozen": (("a", 1.0),)}, {"caution": -1.0}, {"max_epochs": 0.0},
        {"ceilings": (("a", 0.0),)}, {"importance": (("a", -1.0),)}, {"pull": float("inf")}, {"target_params": -1.0},
    ],
)  # fmt: skip
def test_numbers_are_checked_again_in_python(told):
    with pytest.raises(ConfigError):
        advising.Wanted(**told).ask()


def test_the_weights_to_train_sum_to_one_to_the_last_digit():
    words = advising.train_words("x", {"a": 0.3333333333, "b": 0.3333333333, "c": 0.3333333334}, "even-s0", 2)
    shares = yaml.safe_load(words[5].removeprefix("mixture.weights="))
    assert round(sum(shares.values()) * 1_000_000) == 1_000_000 and words[-1] == "seed=2"


def test_pages_ask_for_as_many_mixes_as_a_fit_does():
    assert landscape.FEWEST_TO_FIT == fits.MIN_MIXES


def test_prompts_go_to_a_file_and_back_and_never_over_anothers(tmp_path):
    told = ["def main():\n    ", "a \\n b", "tab\there"]
    assert prompts.prompts_of("\n".join(map(prompts.one_line, told))) == told
    path = prompts.save("mine", told, tmp_path)
    assert yaml.safe_load(path.read_text())["prompts"] == told
    prompts.save("mine", ["Once"], tmp_path)
    path.write_text("prompts: [by hand]\n")
    with pytest.raises(ConfigError, match="was not written by this page"):
        prompts.save("mine", told, tmp_path)
    with pytest.raises(ConfigError, match="mixlab ships"):
        prompts.save("live", told, tmp_path)
    with pytest.raises(ConfigError, match="cannot be used"):
        prompts.save("../evil", told, tmp_path)
    with pytest.raises(ConfigError, match="no prompt"):
        prompts.prompts_of(" \n")
    assert prompts.ask_words("even-s0", ["a\nb"])[-1] == 'evals.prompts=["a\\nb"]'


def test_power_answers_on_what_the_demo_leaves(demo_lab):
    (found,) = onward.power(advising.Wanted(), ((16, 1),)).to_dict("records")
    assert (found["runs"], found["seeds"]) == (16, 1) and found["regret"] >= 0 and 0 <= found["decision_accuracy"] <= 1
