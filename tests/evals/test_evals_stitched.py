"""Rows at work that no disk can hold."""

import tempfile

import pytest

from medssl_jax.errors import DataError
from medssl_jax.evals.stitched import Stitched


def test_a_full_disk_is_said_at_once():
    """Not by the signal that a write to memory without a disk behind it is."""
    with pytest.raises(DataError, match="MiB of probabilities .*TMPDIR") as error:
        Stitched((64, 2**14, 2**14), (64, 64, 64), 2**10)
    assert error.value.path == tempfile.gettempdir()
