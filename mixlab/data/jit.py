"""The one door to numba: a decorator that compiles a loop and leaves its signature as written.

Nothing is compiled on import; the first call compiles, the machine code is kept on disk. The annotations of a compiled
function are for readers and the type checker: numba finds the types by itself.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., Any])


def jit(function: Loop) -> Loop:
    """The function compiled by numba on first use, without the GIL; cached on disk where a folder can be written."""
    try:
        return cast("Loop", njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba found no folder for its cache: a read-only install without a home
        return cast("Loop", njit(nogil=True)(function))
