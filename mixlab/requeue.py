"""How a process that is asked to stop leaves: by exit code 75, which asks to be run again. Reads and writes nothing."""

import logging
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

PLEASE_REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run me again
logger = logging.getLogger(__name__)


@contextmanager
def requeue_on_sigterm() -> Generator[None]:
    """SIGTERM leaves by SystemExit(75). Nothing is lost: half an artefact is no artefact, and a run has its checkpoint.

    While steps are done the trainer listens itself, and writes one first. Only a main thread may ask for signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would break off what leaving tidies
        logger.warning("stopped by SIGTERM; the same command goes on from here")
        raise SystemExit(PLEASE_REQUEUE)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
