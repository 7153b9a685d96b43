"""Which code a run is made by: the commit of the working directory's repository, and whether files in it differ."""

import subprocess


def facts() -> dict[str, str | bool | None]:
    """`git_sha` and `git_dirty` (a file that git knows was changed); None outside of a repository or without git."""
    sha, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"git_sha": sha, "git_dirty": None if changed is None else bool(changed)}


def _git(*words: str) -> str | None:
    """What git says; None if it cannot say anything."""
    try:
        told = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return None if told.returncode else told.stdout.strip()
