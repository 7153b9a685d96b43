"""System: the machine, the disk, the store, and what the doctor says is missing."""

from typing import Any

import streamlit as st

from mixlab import __version__
from mixlab.app import machine, parts
from mixlab.results.store import publish
from mixlab.workspace import Workspace

ws = Workspace.open()
st.title("System")
st.caption(f"mixlab {__version__}")


@st.cache_data(ttl=30, show_spinner="Looking at the disk")
def disk(root: str) -> dict[str, Any]:
    """Sizes of the lab's folders, looked at twice a minute at most."""
    return machine.disk(Workspace.open(root))


@st.cache_data(ttl=60, show_spinner="Asking the doctor")
def doctor() -> tuple[Any, ...]:
    """Devices and checks; asking for a GPU takes a second."""
    return machine.devices(), machine.doctors_word()


st.subheader("Store")
with parts.guarded("The store cannot be looked at"):
    told = machine.store(ws)
    with st.container(horizontal=True):
        st.metric("Runs", f"{told['runs']:,}", border=True, width=150)
        size = "none" if told["bytes"] is None else f"{told['bytes'] / 1e6:.1f} MB"
        st.metric("mixlab.duckdb", size, border=True, width=190)
    st.caption("The index was " + parts.age(told["published_at"]).replace("never updated", "never made") + ".")
    if told["bytes"] is not None and not told["is_whole"]:
        st.warning("It is damaged, or another version made it. Every page reads the runs' own files meanwhile: slower, "
                   "not wrong. Rebuild it.", title="The index cannot be used")  # fmt: skip
    with st.container(horizontal=True):
        check = st.button("Check every file", key="check", icon=":material/fact_check:")
        rebuild = st.button("Rebuild the index", key="rebuild", type="primary", icon=":material/sync:")
    parts.command("mixlab db check\nmixlab db sync", "The same in a shell:")
    if check:
        with st.spinner("Reading every file of every run"):
            found = machine.damage(ws)
        if found.empty:
            st.success(f"{told['runs']:,} runs, all whole.")
        else:
            st.error("Nothing was changed.", title=f"{len(found)} things are not as a run leaves them")
            parts.table(found, alt=f"{len(found)} damaged files with their fixes", key="damage")
    if rebuild:
        with st.spinner("Reading runs into the index"):
            publish(ws)
        st.success(f"The index is rebuilt: {ws.database.stat().st_size / 1e6:.1f} MB.")

st.subheader("Disk")
with parts.guarded("The disk cannot be looked at"):
    room = disk(str(ws.root))
    free = room["free"] / room["total"]
    st.text(f"Lab: {ws.root}")
    st.progress(1 - free, text=f"{room['free'] / 1e9:.1f} GB of {room['total'] / 1e9:.1f} GB are free")
    parts.table(room["parts"], key="parts", alt="Sizes of the lab's folders, largest first",
                column_config={"MB": st.column_config.NumberColumn(format="%.1f")})  # fmt: skip

with parts.guarded("The machine cannot be looked at"):
    devices, checks = doctor()
    st.subheader("Devices")
    parts.table(devices, key="devices", alt="Cores, memory and GPUs of this machine")
    st.subheader("Doctor")
    missing = checks.loc[checks["state"] == "missing"]
    if missing.empty:
        st.success("Nothing that is needed is missing.")
    optional = checks.loc[checks["state"] == "optional"]
    for check in missing.to_dict("records"):
        with st.container(border=True):
            st.text(f"{check['state']}: {check['what']} ({check['found']})")
            st.code(check["fix"], language=None, wrap_lines=True)
    with st.expander(f"{len(optional)} optional parts are not there: what they would give"):
        for check in optional.to_dict("records"):
            st.text(f"{check['what']} ({check['found']})")
            st.code(check["fix"], language=None, wrap_lines=True)
    st.caption("Versions and extras")
    parts.table(checks, key="doctor", alt=f"{len(checks)} checks, {len(missing)} of them failed")
    parts.command(["doctor"])
