"""What decoders raise on damaged files becomes a `DataError` that names the file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from medssl_jax.errors import DataError, UserError


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
