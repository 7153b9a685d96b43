"""Whether a process of this machine still lives: told by its id and when it started, as ids are used again.

Reads /proc; where there is none (not Linux), an id alone has to do. Writes nothing.
"""

import os
from pathlib import Path


def born(pid: int) -> str | None:
    """When a living process started, in clock ticks since boot; None if it is gone or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else fields[18]  # field 22 of proc(5)


def is_alive(pid: int, since: str | None = None) -> bool:
    """True if a process with this id lives and, where `since` is told, started then (`born`)."""
    if Path("/proc/self/stat").exists():
        now = born(pid)
        return now is not None and since in (None, now)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
