"""What can go wrong for a user, and the exit code each kind ends with.

    MixlabError
    ├── ConfigError       2   a setting: unknown name, wrong type, weights that do not sum to one
    ├── SourceError       2   a source: missing file, unreadable record, nothing left after cleaning
    ├── PlanError         2   a mixture that the corpora cannot serve
    ├── MissingError      4   nothing matched what was asked for
    ├── EnvironmentFault  5   the machine: no network, disk full, missing extra, damaged artefact
    └── RunFailed         1   a training run ended without its result

Each message says what was asked, what is possible, who is to blame and what to do.
"""

import difflib
from collections.abc import Iterable


class MixlabError(ValueError):
    """Root of all errors meant for a user; `exit_code` is what the shell sees."""

    exit_code = 1


class ConfigError(MixlabError):
    """A setting is wrong."""

    exit_code = 2


class SourceError(MixlabError):
    """A source cannot be read or holds nothing."""

    exit_code = 2


class PlanError(MixlabError):
    """The corpora cannot serve the mixture."""

    exit_code = 2


class MissingError(MixlabError):
    """Nothing matched."""

    exit_code = 4


class EnvironmentFault(MixlabError):
    """The machine lacks something: network, disk, an extra, an intact file."""

    exit_code = 5


class RunFailed(MixlabError):
    """A training run did not finish."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean …? Known: …', for the end of a message about an unknown name.

    >>> nearest("wikki", ["wiki", "code"])
    " Did you mean 'wiki'? Known: code, wiki."
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{hint} Known: {', '.join(names) or 'none'}."
