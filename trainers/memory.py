"""Memory that a training step frees is kept for the next one, not given back to the system and asked for again."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BYTES = 1 << 30  # blocks up to here come out of the heap, whose end is given back when so much of it is free
OLDER_KEPT_BYTES = 1 << 25  # the most that older versions take for blocks


def keep_freed_memory() -> bool:
    """For this process, from now on; returns whether the C library can.

    glibc maps a large block anew each time and unmaps it when it is freed; its pages are then cleared one by one as
    they are touched: thousands of page faults in a training step on a CPU. A process keeps at most what it once had at
    the same time.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    taken = any(mallopt(M_MMAP_THRESHOLD, size) for size in (KEPT_BYTES, OLDER_KEPT_BYTES))
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)) and taken
