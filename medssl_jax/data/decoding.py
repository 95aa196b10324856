"""What decoders raise on damaged files becomes a `DataError` that names the file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from medssl_jax.errors import DataError, UserError

COPY = "is it whole? Copy it again, or convert it"  # for `mend`
_LARGE = 2**30  # bytes
_MOST_PACKED = 200  # times; masks of float64 that are nearly empty stay below


def check_unpacked(path: str | Path, unpacked: int, packed: int) -> None:
    """Refuse a file that would unpack to all memory: a header can claim anything.

    Args:
      unpacked, packed: bytes, as claimed and as they lie in the file.

    Raises:
      DataError: for more than a GiB, and 200 times what the file has.
    """
    if unpacked > _LARGE and unpacked > _MOST_PACKED * packed:
        text = (
            f"would unpack to {unpacked / 2**30:.1f} GiB from {packed / 2**20:.1f} MiB"
        )
        raise DataError(path, f"{text}: it is damaged, or made to harm")


@contextlib.contextmanager
def decoding(
    path: str | Path, kind: str, *, quotes: bool = True, mend: str = ""
) -> Iterator[None]:
    """Decode a file in the block: whatever is raised there says that it is damaged.

    Decoders raise what their parsing runs into (struct.error, zlib.error, MemoryError
    at a size that a header claims, ...), and which that may be is written nowhere. So
    only a library's call belongs into the block: errors of ours would be hidden.

    Args:
      kind: of file, for the text.
      quotes: whether the decoder's own text is repeated; a header's may be in it.
      mend: what to do about it.

    Raises:
      DataError: naming the file; a `UserError` passes as it is.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001
        said = str(error) if quotes and str(error) else type(error).__name__
        text = f"is no readable {kind} ({said})"
        cause = error if quotes else None
        raise DataError(path, f"{text}; {mend}" if mend else text) from cause
