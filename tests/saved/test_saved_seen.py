"""What was trained on is known again by its names, and by nothing else."""

import numpy as np
import pytest

from medssl_jax.data.order.mixture import Mixture
from medssl_jax.data.slices import Slices, Slicing
from medssl_jax.data.source import Examples, Subset
from medssl_jax.errors import DataError
from medssl_jax.saved import seen


def source(names, patients=None, scope="/scans"):
    found = Examples(names, read=lambda name: {}, patients=patients)
    object.__setattr__(found, "scope", scope)
    return found


TRAINED = source(["a", "b", "c"], ["p1", "p1", "p2"])


def test_patients_are_known_again_also_by_images_that_were_not_seen():
    both = seen.overlap(seen.seen_in([TRAINED]), source(["d", "e"], ["p2", "p3"]))
    assert both == (0, 2, 1, 2) and both
    assert both.told() == "1 of the 2 test patients was"


def test_without_patients_it_is_the_examples():
    both = seen.overlap(seen.seen_in([TRAINED]), source(["b", "c", "d"]))
    assert both == (2, 3, None, None)
    assert both.told() == "2 of the 3 test examples were"
    assert not seen.overlap(seen.seen_in([TRAINED]), source(["d"]))


def test_an_image_of_an_unknown_patient_is_not_passed_over():
    both = seen.overlap(seen.seen_in([TRAINED]), source(["b"], ["another name"]))
    assert both and both.told() == "1 of the 1 test examples was"


def test_names_of_another_folder_say_nothing():
    test = source(["a"], ["p1"], scope="/others")
    assert seen.overlap(seen.seen_in([TRAINED]), test) is None
    of_both = seen.seen_in([TRAINED, source(["z"], ["p9"], scope="/others")])
    assert seen.overlap(of_both, test) == (0, 1, 0, 1)


def test_slices_count_as_their_volumes():
    slices = Slices(source(["v", "w"]), Slicing(of_each=3, axis=0, neighbours=0))
    both = seen.overlap(seen.seen_in([slices]), source(["w", "x"]))
    assert (both.examples, both.of_examples) == (1, 2)


def test_subsets_and_mixtures_count_what_they_hold():
    others = source(["a"], None, scope="/others")
    mixed = Mixture([Subset(TRAINED, np.array([2, 2])), others], ("ct", "mr"))
    found = seen.seen_in([mixed])
    assert [len(each) for each in found] == [2, 2, 2]  # an unknown patient is its own
    assert seen.overlap(found, TRAINED) == (1, 3, 1, 2)


def test_a_list_outlives_its_run_and_names_nobody(tmp_path):
    found = seen.together([seen.seen_in([TRAINED]), seen.seen_in([source(["z"])])])
    seen.save(found, tmp_path)
    again = seen.load(tmp_path)
    assert all((a == b).all() for a, b in zip(found, again, strict=True))
    assert seen.overlap(again, source(["z", "a"])) == (2, 2, None, None)
    with np.load(tmp_path / seen.FILE) as arrays:
        assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint64)}
    assert seen.load(tmp_path / "none") is None
    (tmp_path / seen.FILE).write_bytes(b"no archive")
    with pytest.raises(DataError, match="no readable list of what was seen"):
        seen.load(tmp_path)


def test_more_than_a_run_can_list_is_not_known(monkeypatch):
    monkeypatch.setattr(seen, "MOST", 2)
    assert seen.seen_in([TRAINED]) is None
