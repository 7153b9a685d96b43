"""The page Mix: presets, pasted rows, drafts, licences, the predicted score, launching once."""

import yaml

from mixlab.app import drafts
from tests.app.driver import said, show


def test_presets_pasted_rows_and_wrong_ones(lab):
    at = show("mix")
    at.selectbox(key="preset").set_value("UniMax").run()
    at.number_input(key="parameter").set_value(0.25).run()
    at.button(key="use_preset").click().run()
    assert at.session_state["mix_state"].weights[3] == 42  # wiki: a quarter of 50 k tokens, of 300 k
    at.text_area(key="pasted").set_value("books=1 code=1 docs=2").run()
    at.button(key="use_pasted").click().run()
    assert at.session_state["mix_state"].weights == (250, 250, 500, 0)
    at.text_area(key="pasted").set_value("bokks=1").run()
    at.button(key="use_pasted").click().run()
    assert "Did you mean 'books'" in said(at).replace("\\", "") and not at.exception
    assert at.session_state["mix_state"].weights == (250, 250, 500, 0)


def test_a_mix_is_shared_by_an_address_which_is_taken_once(lab):
    at = show("mix", weights="books=24.9,code=75.1", budget="400000")
    assert at.session_state["mix_state"].weights == (249, 751, 0, 0) and "From the address" in said(at)
    assert "weights" not in at.query_params  # a reload shows the draft, not the link again
    shared = [c.value for c in at.code]
    assert "books=24.9,code=75.1" in shared
    assert any(c.endswith("/mix?budget=400000&weights=books=24.9,code=75.1") for c in shared), shared
    assert "Did you mean 'books'" in said(show("mix", weights="bokks=1")).replace("\\", "")


def test_an_unknown_licence_is_loud_and_goes_with_its_source(lab):
    at = show("mix")
    assert "Licence unknown" in said(at) and "wiki" in at.error[0].value
    at.text_area(key="pasted").set_value("code=1").run()
    at.button(key="use_pasted").click().run()
    assert "Licence unknown" not in said(at)


def test_a_draft_is_there_after_a_reload_and_another_page_can_hand_one_over(lab):
    at = show("mix")
    at.text_area(key="pasted").set_value("books=1 code=3").run()
    at.button(key="use_pasted").click().run()
    again = show("mix")
    assert again.session_state["mix_state"].weights == (250, 750, 0, 0) and "From the draft" in said(again)
    drafts.save("mix", {"weights": {"docs": 0.5, "wiki": 0.4, "gone": 0.1}, "origin": "Explore"})
    at.run()
    assert at.session_state["mix_state"].weights == (0, 0, 556, 444)
    told = said(at).replace("\\", "")
    assert "From Explore" in told and "left out: gone" in told
    assert "origin" not in (drafts.load("mix") or {})


def test_a_mix_is_reviewed_then_saved_and_launched_once(lab, project, started):
    at = show("mix")
    at.text_input(key="mix_name").set_value("mine").run()
    at.button(key="review").click().run()
    (launch,) = [b for b in at.button if str(b.key).startswith("launch-")]
    launch.click().run()
    at.button(key=launch.key).click().run()
    assert started == [["run", "mixture=mine"]] and "mixlab run mixture=mine" in said(at)
    assert yaml.safe_load((project / "sweeps" / "mixture" / "mine.yaml").read_text())["weights"]["code"] == 0.597
    at.number_input(key="budget").set_value(20_000_000).run()
    assert "Repeated past the limit" in said(at)
    assert [b.disabled for b in at.button if str(b.key).startswith("launch-")] == [True]
    at.number_input(key="limit").set_value(10.0).run()
    assert "train.tokens=20000000 train.max_epochs=10" in said(at)


def test_ones_own_prices_are_taken_and_stand_in_the_command(lab):
    at = show("mix", device="h100", hourly="2.5", utilisation="40.0")
    assert "$2.5 an hour of one h100" in said(at).replace("\\", "") and "as you say: 40.0%" in said(at).replace(
        "\\", ""
    )
    at.text_input(key="mix_name").set_value("mine").run()
    assert "--device h100 --hourly 2.5 --utilisation 0.4" in said(at)


def test_a_fit_predicts_a_score_with_its_interval(demo_lab):
    at = show("mix")
    told = said(at)
    assert "95 % of runs between" in told and "not distinguishable from the baseline" in told
    assert {m.label for m in at.metric} >= {"Bits per byte, mean of sources", "FLOPs", "Time", "Price"}


def test_without_a_fit_it_says_how_many_mixes_are_missing(lab):
    assert "A fit needs 5 finished mixes; there are 2." in said(show("mix"))
