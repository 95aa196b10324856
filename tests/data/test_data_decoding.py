"""Whatever a decoder raises is an error of the file; what we raise stays as it is."""

import struct
import zlib

import pytest

from medssl_jax.data.decoding import decoding
from medssl_jax.errors import ConfigError, DataError

RAISED = [
    struct.error("unpack requires 4 bytes"),
    zlib.error("invalid block"),
    MemoryError(),
    RecursionError("too deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no start"),
    AssertionError(),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_a_decoder_raises_names_the_file(error):
    said = str(error) or type(error).__name__
    with pytest.raises(DataError) as caught, decoding("a.bin", "file", mend="mend it"):
        raise error
    assert str(caught.value) == f"a.bin: is no readable file ({said}); mend it"
    assert caught.value.__cause__ is error


def test_a_header_is_not_quoted():
    with pytest.raises(DataError) as caught, decoding("a", "file", quotes=False):
        raise ValueError("Doe^Jane")
    assert str(caught.value) == "a: is no readable file (ValueError)"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("error", [ConfigError("ours"), KeyboardInterrupt()])
def test_what_is_said_already_and_what_ends_a_program_pass(error):
    with pytest.raises(type(error)) as caught, decoding("a", "file"):
        raise error
    assert caught.value is error
