"""Labels of slices from a table, beside volumes, through preparation and clips."""

import numpy as np
import pytest

from medssl_jax.data.host import HostTransform
from medssl_jax.data.planes import planed, read_planes, warn_of_unused
from medssl_jax.data.source import Examples, Subset
from medssl_jax.errors import DataError

SHAPES = {"a.nii": 5, "b/c.nii": 3}


def volumes():
    def read(name):
        slices = np.arange(SHAPES[name], dtype=np.float32) / 10
        return {
            "image": np.broadcast_to(
                slices[:, None, None, None], (*slices.shape, 6, 6, 1)
            )
        }

    return Examples(list(SHAPES), read, stamp_of=lambda name: f"stamp {name}")


def table(folder, *lines, header="path,slice,label"):
    path = folder / "slices.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def test_what_is_not_listed_is_not_known(tmp_path):
    path = table(tmp_path, "a.nii,0,1", "a.nii,3,0", "a.nii,4,", "a.nii,1,-1")
    source = planed(volumes(), path)
    assert source[0]["planes"].tolist() == [1, -1, -1, 0, -1]
    assert source[1]["planes"].tolist() == [-1, -1, -1]
    np.testing.assert_array_equal(source[0]["image"], volumes()[0]["image"])


def test_labels_follow_the_slices_that_are_drawn(tmp_path):
    lines = [f"a.nii,{i},{int(i in (1, 4))}" for i in range(5)]
    record = planed(volumes(), table(tmp_path, *lines))[0]
    host = HostTransform((3, 6, 6), None, "none", "random")
    for seed in range(5):
        clip = host(record, np.random.default_rng(seed))
        shown = np.round(clip["image"][:, 0, 0, 0].astype(float) * 10).astype(int)
        assert clip["planes"].tolist() == [int(i in (1, 4)) for i in shown]


def test_a_changed_label_is_another_stamp(tmp_path):
    before = planed(volumes(), table(tmp_path, "a.nii,4,1"))
    stamps = before.stamp(0), before.stamp(1)
    after = planed(volumes(), table(tmp_path, "a.nii,4,0", "a.nii,1,1"))
    assert after.stamp(0) != stamps[0] and after.stamp(1) == stamps[1]


def test_windows_of_paths_and_names_are_alike(tmp_path):
    source = planed(volumes(), table(tmp_path, "b\\c.nii,2,1", "./a.nii,4,0"))
    assert source[1]["planes"].tolist() == [-1, -1, 1]


@pytest.mark.parametrize(
    "lines, header, said",
    [
        (["a.nii,0,1"], "path,slice", "'label' is not there"),
        (["a.nii,one,1"], None, "line 2: slice is 'one', no number"),
        (["a.nii,-1,1"], None, "line 2: slice is '-1', no number"),
        (["a.nii,0,2"], None, "line 2: label is '2'"),
        (["a.nii,0"], None, "line 2: has not as many fields"),
        (["a.nii,0,1", "a.nii,0,0"], None, "line 3: slice 0 of 'a.nii' is in line 2"),
        (["a.nii,0,"], None, "has no label"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, lines, header, said):
    path = table(tmp_path, *lines, header=header or "path,slice,label")
    with pytest.raises(DataError, match=said):
        read_planes(path)


def test_labels_of_other_volumes_are_refused(tmp_path):
    with pytest.raises(DataError, match="names no file of the source: its first is 'z"):
        planed(volumes(), table(tmp_path, "z.nii,0,1"))
    other = volumes()
    assert planed(other, table(tmp_path, "z.nii,0,1"), needed=False) is other


@pytest.mark.parametrize("last", [1, 3])
def test_labels_of_another_length_than_the_volume_are_refused(tmp_path, last):
    path = table(tmp_path, "a.nii,4,1", "b/c.nii,0,0", f"b/c.nii,{last},1")
    source = planed(volumes(), path)
    assert source[0]["planes"][4] == 1
    said = f"line 4: the last slice of 'b/c.nii' is {last} here, and it has 3, 0 to 2"
    with pytest.raises(DataError, match=said):
        source[1]


def test_volumes_of_the_table_that_no_role_has_are_said(tmp_path, caplog):
    path = table(tmp_path, "a.nii,4,1", "b/c.nii,2,0", "z.nii,0,1")
    source = planed(volumes(), path)
    first, second = (Subset(source, np.array([i])) for i in range(2))
    warn_of_unused(path, [first, second])
    assert "1 volume(s) with labels of slices are in no role: z.nii" in caplog.text
    caplog.clear()
    warn_of_unused(table(tmp_path, "a.nii,4,1"), [source])
    assert not caplog.text


def test_an_image_has_no_slices(tmp_path):
    def read(name):
        return {"image": np.zeros((4, 4, 1), np.float32)}

    source = planed(Examples(["a.nii"], read), table(tmp_path, "a.nii,0,1"))
    with pytest.raises(DataError, match="is an image without any"):
        source[0]
