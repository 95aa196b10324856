"""Several sources as one: equal parts of each, whatever their sizes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from medssl_jax.data.host import HostTransform
from medssl_jax.data.order.mixture import Mixture, taken
from medssl_jax.data.order.roles import sources
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.order.splits import check_disjoint
from medssl_jax.data.order.subsets import nested
from medssl_jax.data.pipeline import Rows, train_batches
from medssl_jax.data.relabel import partly_labelled
from medssl_jax.data.source import UNLABELLED, Examples, is_labelled
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.run.provenance import summary

SIZES = {"ct": 72, "mr": 25, "xray": 1, "us": 2}  # the paper's shares


def part(name, count, labels=None, patients=None):
    names = [f"{name}-{i}" for i in range(count)]
    return Examples(names, _read, labels=labels, patients=patients)


def _read(name):
    return {"image": np.full((2, 2, 1), float(name.rpartition("-")[2]))}


def mixture(sizes=SIZES):
    return Mixture([part(m, n) for m, n in sizes.items()], tuple(sizes))


def drawn(source, count, batch=4, seed=3):
    rows = sampler("modalities", source, batch_size=batch, seed=seed)
    return [rows.row(i, np.random.default_rng(0))[0] for i in range(count)]


def test_examples_are_those_of_the_parts_on_end():
    source = mixture()
    assert len(source) == 100
    for i, expected in ((0, "ct: ct-0"), (71, "ct: ct-71"), (72, "mr: mr-0")):
        assert source.name(i) == expected
    assert source.name(97) == "xray: xray-0" and source.name(99) == "us: us-1"
    assert source[99]["image"][0, 0, 0] == 1


def test_an_example_is_its_parts_to_the_cache_and_to_whoever_decodes_it_again():
    parts = [part("ct", 3), part("mr", 2), part("ct", 1)]
    stamped = [
        replace(each, stamp_of=lambda name, k=k: f"{name} of {k}")
        for k, each in enumerate(parts)
    ]
    source = Mixture(stamped, ("a", "b", "c"))
    for i, (k, j) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]):
        assert source.origin(i) == (stamped[k], j)
        assert source.stamp(i) == f"{stamped[k].names[j]} of {k}"


def test_rows_take_turns_between_modalities_however_unequal():
    source = mixture()
    called = [source.name(i).split(":")[0] for i in drawn(source, 400)]
    assert called == [*SIZES] * 100


def test_each_modality_comes_in_passes_of_its_own():
    source = mixture()
    found = drawn(source, 4 * 72 * 2)
    ct, mr, us = found[0::4], found[1::4], found[3::4]
    assert sorted(ct[:72]) == sorted(ct[72:]) == list(range(72))
    assert ct[:72] != ct[72:]
    assert all(sorted(mr[i : i + 25]) == list(range(72, 97)) for i in (0, 25, 50))
    assert all(set(us[i : i + 2]) == {98, 99} for i in range(0, 100, 2))


def test_modalities_of_one_size_have_orders_of_their_own():
    found = drawn(mixture({"ct": 50, "mr": 50}), 100, batch=2)
    assert [i + 50 for i in found[0::2]] != found[1::2]


def test_sources_of_one_modality_share_its_turns():
    parts = [part("a", 3), part("b", 5), part("c", 9)]
    source = Mixture(parts, ("ct", "mr", "ct"))
    found = drawn(source, 2 * 12 * 20, batch=2)
    assert Counter(found[0::2]) == dict.fromkeys([0, 1, 2, *range(8, 17)], 20)
    assert set(found[1::2]) == set(range(3, 8))


def test_position_is_all_that_a_resumed_run_needs():
    source = mixture()
    rows = sampler("modalities", source, batch_size=8, seed=3)

    def iterator():
        return train_batches(
            source, _as_it_is, sampler=rows, rows=Rows(8, 0, 1), seed=3, workers=0
        )

    whole = iterator()
    batches = [next(whole)["index"] for _ in range(30)]
    stopped = iterator()
    for _ in range(17):
        next(stopped)
    state = stopped.get_state()
    resumed = iterator()
    resumed.set_state(state)
    for expected in batches[17:]:
        np.testing.assert_array_equal(next(resumed)["index"], expected)


def _as_it_is(record, random):
    del random
    return {"image": record["image"]}


def test_an_epoch_counts_every_example_once():
    assert len(sampler("modalities", mixture(), batch_size=4, seed=0)) == 100


@pytest.mark.parametrize(
    "make, batch, said",
    [
        (mixture, 6, "micro_batch_size 6 is not divisible by 4 modalities (ct, mr"),
        (lambda: part("ct", 8), 4, "needs config.data.sources"),
    ],
)
def test_batches_that_cannot_be_divided_are_refused(make, batch, said):
    with pytest.raises(ConfigError) as error:
        sampler("modalities", make(), batch_size=batch, seed=0)
    assert said in str(error.value)


def test_a_modality_without_images_is_refused():
    with pytest.raises(DataError, match="modality us: has no images"):
        mixture(SIZES | {"us": 0})


def test_labels_of_different_kinds_do_not_mix():
    classes = part("ct", 2, labels=np.array([0, 1]))
    findings = part("mr", 2, labels=np.array([[0, 1], [1, 0]]))
    with pytest.raises(ConfigError, match="classes and the findings finding 0"):
        Mixture([classes, findings], ("ct", "mr"))


def test_unlabelled_sources_are_unknown_beside_labelled_ones():
    source = Mixture(
        [part("ct", 2), part("mr", 2, labels=np.array([0, 1]))], ("c", "m")
    )
    np.testing.assert_array_equal(source.labels, [UNLABELLED, UNLABELLED, 0, 1])


def test_one_person_in_two_modalities_is_one_patient():
    ct = part("ct", 2, patients=["p1", "p2"])
    mr, us = part("mr", 1, patients=["p1"]), part("us", 1)
    source = Mixture([ct, mr, us], ("ct", "mr", "us"))
    assert source.patients[:3] == ["p1", "p2", "p1"]
    assert len(set(source.patients)) == 3
    alike = Mixture([mr, us, us], ("mr", "us", "ct"))  # two files of one name
    assert len(set(alike.patients)) == 3


def test_a_mixture_has_masks_where_all_of_its_parts_have():
    plain, masked = part("ct", 2), replace(part("mr", 2), has_masks=True)
    found = [Mixture(p, ("a", "b")).has_masks for p in ([masked] * 2, [plain, masked])]
    assert found == [True, False]


def test_a_part_of_a_mixture_is_a_mixture_of_parts():
    source = taken(mixture(), np.array([1, 5, 80, 97, 99]))
    assert [source.name(i) for i in range(5)] == [
        "ct: ct-1",
        "ct: ct-5",
        "mr: mr-8",
        "xray: xray-0",
        "us: us-1",
    ]
    with pytest.raises(DataError, match="modality xray"):
        taken(mixture(), np.array([1, 80, 99]))


def test_shown_labels_are_those_of_the_same_label_fraction():
    labels, patients = np.arange(60) % 3, [f"p{i // 2}" for i in range(60)]
    source = part("ct", 60, labels=labels, patients=patients)
    shown = partly_labelled(source, 0.2, seed=4)
    np.testing.assert_array_equal(
        np.flatnonzero(is_labelled(shown.labels)), nested(source, 0.2, 4)
    )
    known = shown.labels != UNLABELLED
    np.testing.assert_array_equal(shown.labels[known], labels[known])
    assert len(shown) == 60
    both = partly_labelled(Mixture([source, part("mr", 9)], ("c", "m")), 0.2, seed=4)
    np.testing.assert_array_equal(both.labels[:60], shown.labels)
    with pytest.raises(ConfigError, match=r"data.known_labels 0.0 is not in \(0, 1\]"):
        partly_labelled(source, 0.0, seed=4)


PHANTOM = {"name": "phantom_slices", "count": 4, "seed": 0, "size_pixels": (16, 16)}


def opened(entries, tmp_path, **splits):
    host = HostTransform(
        shape=(16, 16), spacing_mm=None, window="percentiles", frames="all"
    )
    return sources(
        {"sources": entries},
        splits,
        prepare=host.prepare,
        cache="",
        on_error="raise",
        balance="",
        seed=0,
        folder=tmp_path,
    )


def test_a_source_can_have_a_window_of_its_own(tmp_path):
    ct = PHANTOM | {"modality": "ct", "scanner": "ct"}
    fixed = {"window": "hu", "window_hu": (0.0, 1e9)}
    found = opened([ct, ct | {"modality": "same"} | fixed], tmp_path)["train"]
    assert found[0]["image"].max() == 1  # percentiles
    assert found[4]["image"].max() < 1e-3


def test_splits_of_a_mixture_keep_patients_apart_and_modalities_together(tmp_path):
    entries = [
        PHANTOM | {"modality": m, "scanner": m, "count": 24, "seed": s}
        for s, m in enumerate(("mr", "ct", "us"))
    ]
    found = opened(entries, tmp_path, test={"fraction": 0.3})
    assert set(found["train"].modalities) == {"mr", "ct", "us"}
    assert not set(found["train"].patients) & set(found["test"].patients)
    assert len(found["train"]) + len(found["test"]) == 72


@pytest.mark.parametrize("modality", ["", "a/b"])
def test_a_source_without_a_modality_is_named_by_its_place(tmp_path, modality):
    entries = [PHANTOM | {"modality": "ct"}, PHANTOM | {"modality": modality}]
    with pytest.raises(ConfigError, match=r"config.data.sources\[1\].modality is"):
        opened(entries, tmp_path)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (
            {"sede": 1},
            r"config.data.sources\[1\].sede is no setting of .*; known: count, seed, ",
        ),
        ({"ndim": 3}, r"config.data.sources\[1\].ndim is no setting"),  # of `Prepare`
        ({"name": "phantoms"}, "unknown name 'phantoms' in sources; known: .*phantom"),
    ],
)
def test_a_wrong_setting_of_a_source_is_named_by_its_place(tmp_path, wrong, said):
    entries = [PHANTOM | {"modality": m} for m in ("ct", "mr")]
    with pytest.raises(ConfigError, match=said):
        opened([entries[0], entries[1] | wrong], tmp_path)


@pytest.mark.parametrize("known", [[2, 0], [[1, -1], [0, 1]]])
def test_joined_labels_are_an_array_of_all_and_one_at_a_time(known):
    unlabelled = np.full_like(known, UNLABELLED)
    parts = [part("ct", 2), part("mr", 2, labels=np.array(known)), part("us", 2)]
    labels = Mixture(parts, ("ct", "mr", "us")).labels
    expected = np.concatenate([unlabelled, known, unlabelled])
    assert labels.shape == expected.shape and len(labels) == 6
    assert np.asarray(labels).dtype == np.int64 and np.ndim(labels) == expected.ndim
    np.testing.assert_array_equal(np.asarray(labels), expected)
    for i in range(6):
        np.testing.assert_array_equal(np.int32(labels[i]), expected[i])
        np.testing.assert_array_equal(labels[np.int64(i)], expected[i])
    np.testing.assert_array_equal(labels[np.array([5, 2])], expected[[5, 2]])


def test_a_record_counts_labels_and_patients_of_the_parts_that_have_them():
    ct = part("ct", 3, labels=np.array([1, 0, 1]), patients=["p1", "p2", "p2"])
    mr, us = part("mr", 1, patients=["p1"]), part("us", 5)
    found = summary(Mixture([ct, mr, us], ("ct", "mr", "us")))
    assert found["label_counts"] == {"0": 1, "1": 2, "none": 6}
    assert found["patients"] == 2 and found["count"] == 9


def test_examples_without_patients_are_not_compared_by_their_names():
    parts = part("ct", 3), part("mr", 1, patients=["p1"])
    other = part("ct", 3), part("mr", 1, patients=["p2"])
    train, test = (Mixture(each, ("ct", "mr")) for each in (parts, other))
    check_disjoint({"train": train, "test": test})
    with pytest.raises(DataError, match="patient p1: is in both train and test"):
        check_disjoint({"train": train, "test": parts[1]})
