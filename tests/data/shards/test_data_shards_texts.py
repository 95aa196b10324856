"""Texts in rows of bytes are the texts that were packed, in any alphabet."""

import numpy as np
import pytest

from medssl_jax.data.shards import texts as module
from medssl_jax.data.shards.texts import Texts, packed

WORDS = ["a.png", "", "Zürich/β-1", "患者 7", "a.png", "x" * 40]


def rows(words=WORDS):
    encoded = [word.encode() for word in words]
    width = max(map(len, encoded)) or 1
    content = packed(encoded, width)
    assert len(content) == len(words) * width
    return Texts(np.frombuffer(content, np.uint8).reshape(len(words), width))


def test_texts_come_back_one_by_one_and_in_order(monkeypatch):
    found = rows()
    assert [found[i] for i in range(len(WORDS))] == list(found) == WORDS
    assert found[np.int64(3)] == WORDS[3] and found[-1] == WORDS[-1]
    monkeypatch.setattr(module, "_AT_ONCE", 4)  # and across the ends of pieces
    assert list(found) == WORDS and len(found) == 6


def test_texts_serve_where_a_list_of_patients_does():
    found = rows()
    assert set(found) == set(WORDS)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(WORDS))
    with pytest.raises(IndexError):
        found[6]


def test_empty_texts_take_a_byte_each():
    assert list(rows(["", ""])) == ["", ""]
