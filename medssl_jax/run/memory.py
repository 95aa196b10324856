"""How much memory a run takes, of what there is; what it frees is kept."""

import ctypes
import platform

import jax
import psutil

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def taken() -> str:
    """Say it of the fullest device, at its peak; on a CPU of this process, now."""
    told = [device.memory_stats() for device in jax.local_devices()]
    known = [stats for stats in told if stats and stats.get("bytes_limit")]
    if known:
        parts = [(s["peak_bytes_in_use"], s["bytes_limit"]) for s in known]
        used, total = max(parts, key=lambda part: part[0] / part[1])
        return f"{_gib(used)} of the device's {_gib(total)} GiB of memory"
    used, total = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    return f"{_gib(used)} of {_gib(total)} GiB of memory"


def keep_freed() -> None:
    """Let the C library keep what is freed for what is asked for next.

    On a CPU, XLA asks for a step's temporaries anew each time. glibc takes so large a
    piece from the kernel and gives it back after the step, so that every page is cleared
    and mapped again: a fifth of the step. Call it before there are other threads: those
    that have a heap of their own keep it. Where the library is not glibc, it does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)  # other threads' heaps end at 64 MiB
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def is_exhausted(error: Exception) -> bool:
    """Say whether XLA had not the memory that a program takes."""
    of_xla = isinstance(error, jax.errors.JaxRuntimeError)
    return of_xla and "out of memory" in str(error).lower()


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"
