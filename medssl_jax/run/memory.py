"""How much memory a run takes, of what there is."""

import jax
import psutil


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


def is_exhausted(error: Exception) -> bool:
    """Say whether XLA had not the memory that a program takes."""
    of_xla = isinstance(error, jax.errors.JaxRuntimeError)
    return of_xla and "out of memory" in str(error).lower()


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"
