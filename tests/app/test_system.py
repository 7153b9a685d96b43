"""The page System: machine, disk, store, doctor."""

import pytest

from mixlab import doctor
from mixlab.app import machine
from mixlab.results.store import publish
from mixlab.workspace import Workspace
from tests.app.driver import said, show


@pytest.mark.parametrize("state", ["project", "demo_lab", "lab"])
def test_the_page_tells_store_disk_and_doctor_in_every_lab(request, state):
    request.getfixturevalue(state)
    at = show("system")
    told = said(at)
    assert "mixlab db check" in told and "mixlab doctor" in told and "never made" in told
    assert {"GPU", "CPU cores", "memory"} <= set(at.dataframe[1].value["device"])


def test_a_failed_check_stands_with_its_fix(lab, monkeypatch):
    bad = doctor.Check(name="free disk", found="0.1 GB", is_ok=False, remedy="free some space or move the lab")
    monkeypatch.setattr(doctor, "examine", lambda: [bad])
    told = said(show("system"))
    assert "missing: free disk (0.1 GB)" in told and bad.remedy in told and "Nothing that is needed" not in told


def test_the_store_is_rebuilt_and_checked_from_the_page(lab):
    at = show("system")
    at.button(key="rebuild").click().run()
    assert (lab / "mixlab.duckdb").exists() and "The index is rebuilt" in said(at)
    (lab / "mixlab.duckdb").write_bytes(b"no database")
    at.run()
    assert "The index cannot be used" in said(at)
    at.button(key="rebuild").click().run()
    assert machine.store(Workspace.open())["is_whole"]


def test_damage_is_listed_with_its_fix(lab):
    run = lab / "runs" / "natural-s0-aaaa0001"
    lines = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(b"{half\n" + lines)
    at = show("system")
    at.button(key="check").click().run()
    (row,) = at.dataframe[0].value.to_dict("records")
    assert row["file"].endswith("metrics.jsonl") and row["fix"] == "delete that line"


def test_a_folder_counts_all_that_is_below_it(lab):
    ws = Workspace.open()
    publish(ws)
    told = machine.disk(ws)["parts"].set_index("part")["MB"]
    assert told["mixlab.duckdb"] == pytest.approx(ws.database.stat().st_size / 1e6)
    assert told["runs"] == pytest.approx(sum(p.stat().st_size for p in ws.root.glob("runs/**/*") if p.is_file()) / 1e6)
