"""How glibc's malloc treats the memory of feature maps; on other systems nothing here changes anything.

By default it gives large freed blocks back to the system, which clears every page again at its next use: half of the
time of a pass. Keeping them all costs memory instead: what a first pass leaves behind for good (libraries' compiled
kernels, packed weights) then lies scattered among the maps, and no map fits into what is free between. So the first
pass is made with large blocks apart, and those of all later ones are kept. It is a setting of the whole process, so the
commands make it, and a program that uses this package may: :func:`large_blocks_apart` before it computes.
"""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt, from malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
LARGE = 128 * 1024  # bytes; where glibc draws the line until a larger block is freed
_set_up = False  # whether this program leaves its malloc to this module


def large_blocks_apart() -> None:
    """From here on every large block has pages of its own, and gives them back when it is freed."""
    global _set_up
    _set_up = True
    _set({MMAP_MAX: 65536, MMAP_THRESHOLD: LARGE, TRIM_THRESHOLD: LARGE})


def keep_freed_blocks() -> None:
    """From here on the program keeps what is freed, for the next feature maps. To be called after a first pass.

    Nothing happens in a program that did not call :func:`large_blocks_apart`.
    """
    if _set_up:
        _set({MMAP_MAX: 0, TRIM_THRESHOLD: -1})


def _set(parameters: dict[int, int]) -> None:
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)
