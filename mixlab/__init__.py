"""mixlab: which mix of data sets should a language model be trained on? Cheap experiments, honest verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixlab.lab import Lab

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(path: str | Path | None = None) -> "Lab":
    """The lab at `path` (None: `$MIXLAB_HOME`, else ./lab), read-only, as pandas frames; see `mixlab.lab.Lab`."""
    from mixlab.lab import Lab  # pandas and DuckDB load only for those who ask

    return Lab.open(path)
