"""The app's server: Streamlit, which loads what the pages need while the browser is still opening.

`python -m mixlab.app.serve run mixlab/app/main.py --server.port=…`: arguments as those of `python -m streamlit`. Else
the first page of a server waits for pandas, DuckDB and Altair, and reads the lab for the first time.
"""

import importlib
import logging
import threading
import time
from collections.abc import Sequence

from streamlit import runtime
from streamlit.web.cli import main as streamlit

from mixlab.errors import MixlabError

LIBRARIES = ("numpy", "pandas", "pyarrow", "duckdb", "altair")
HOME = ("parts", "now", "homeparts", "jobview")
OTHERS = ("corpora", "passages", "auditing", "mixing", "sliders", "sweeping", "verdicts", "advising")
"""Modules of the pages, those of Home first; 1 s more for numba and SciPy."""
LOOK_S = 0.02
logger = logging.getLogger(__name__)


def main() -> None:
    """Runs Streamlit's command line; returns when the server ends."""
    threading.Thread(target=_warm, name="warm", daemon=True).start()
    streamlit(prog_name="streamlit")


def _warm() -> None:
    """Imports what the pages import, and reads into their caches what Home reads."""
    _load(LIBRARIES)
    while not runtime.exists():  # Streamlit's caches and components belong to a server
        time.sleep(LOOK_S)
    _load([f"mixlab.app.{name}" for name in HOME])
    lab = importlib.import_module("mixlab.app.lab")
    try:
        for read in (lab.runs, lab.best_mixes, lab.sources):
            read()
    except MixlabError as e:
        logger.warning("the lab cannot be read yet; its pages say why: %s", e)
    _load([f"mixlab.app.{name}" for name in OTHERS])


def _load(names: Sequence[str]) -> None:
    for name in names:
        importlib.import_module(name)


if __name__ == "__main__":
    main()
