"""The page Sweep in an empty lab, and planning, saving and launching one in a lab that has some of it already."""

from tests.app.driver import said, show


def test_an_empty_lab_says_how_to_get_sources(project):
    at = show("sweep")
    assert "mixlab data prepare" in said(at) and not at.dataframe


def test_a_sweep_is_planned_with_what_is_done_then_saved_and_launched_once(lab, project, started):
    at = show("sweep")
    at.number_input(key="tokens").set_value(450_000).run()
    at.selectbox(key="kind").set_value("anchors").run()
    sums = {m.label: m.value for m in at.metric}
    assert (sums["Runs"], sums["Done already"]) == ("3", "0") and "3 mixtures" in said(at)
    at.number_input(key="seeds").set_value(2).run()
    assert len(at.dataframe[0].value) == 6
    at.text_input(key="sweep_name").set_value("look").run()
    (launch,) = [b for b in at.button if str(b.key).startswith("launch-")]
    launch.click().run()
    at.button(key=launch.key).click().run()
    assert started == [["sweep", "look"]] and "mixlab sweep look --dry-run" in said(at)
    assert "mixlab mix design anchors -o sweeps/design/look.csv -n 16 train.tokens=450000" in said(at)
    assert (project / "sweeps" / "look.yaml").is_file() and (project / "sweeps" / "design" / "look.csv").is_file()
    again = show("sweep")  # a reload: the draft is there
    assert again.selectbox(key="kind").value == "anchors" and again.number_input(key="seeds").value == 2


def test_a_sweep_around_a_run_is_the_same_in_a_shell(demo_lab):
    at = show("sweep", kind="around", middle="demo-d03 (a run)", n="5")
    at.text_input(key="sweep_name").set_value("near").run()
    assert "cat > sweeps/near.yaml" in said(at)
    assert "mixlab mix design around -o sweeps/design/near.csv -n 5 --around demo-d03-s0-bbbb0003" in said(at)
    assert at.dataframe[0].value["mixture"][0] == "demo-d03"  # as the shell calls it


def test_what_cannot_be_planned_says_so(demo_lab):
    at = show("sweep")
    at.number_input(key="tokens").set_value(10**9).run()
    assert "This sweep cannot be planned" in said(at)
    assert "they fill 13,400,000 tokens, not 1,000,000,000" in said(at)  # what would be possible
    at.multiselect(key="models").set_value([]).run()
    assert "no model is chosen" in said(at)
