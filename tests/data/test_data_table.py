"""The CSV of labels and patients: what is read, and what is refused by line."""

import numpy as np
import pytest

from medssl_jax.data.rows import read_rows
from medssl_jax.data.source import UNLABELLED
from medssl_jax.data.table import examples
from medssl_jax.errors import ConfigError, DataError

NAMES = ["a.npy", "b/c.npy", "d.npy"]


def join(tmp_path, text, unlisted="raise", encoding="utf-8", **chosen):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return examples(NAMES, dict, str, labels=str(path), unlisted=unlisted, **chosen)


def test_rows_reach_their_files_in_the_order_of_the_files(tmp_path):
    text = "path,label,patient\nd.npy,2,p1\n./a.npy,0,p2\nb\\c.npy,,p1\n"
    source = join(tmp_path, text)
    assert source.names == NAMES
    np.testing.assert_array_equal(source.labels, [0, UNLABELLED, 2])
    assert source.labels.dtype == np.int64
    assert source.patients == ["p2", "p1", "p1"]


@pytest.mark.parametrize(
    ("header", "cell", "labels", "patients"),
    [
        ("path,label", "1", [1, 1, 1], None),
        ("path,patient", "x", None, ["x"] * 3),
        ("path", None, None, None),
    ],
)
def test_label_and_patient_are_each_optional(tmp_path, header, cell, labels, patients):
    rows = [name if cell is None else f"{name},{cell}" for name in NAMES]
    source = join(tmp_path, "\n".join([header, *rows]))
    assert (source.labels is None) == (labels is None)
    assert labels is None or source.labels.tolist() == labels
    assert source.patients == patients


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path):
    text = "path,label\r\na.npy,1\r\nb/c.npy,0\r\nd.npy,1\r\n"
    assert join(tmp_path, text, encoding="utf-8-sig").labels.tolist() == [1, 0, 1]


def named(tmp_path, *cells, **stated):
    rows = [f"{name},{cell}" for name, cell in zip(NAMES, cells, strict=True)]
    return join(tmp_path, "\n".join(["path,label", *rows]), **stated)


def test_names_of_classes_are_numbered_as_they_are_sorted_or_stated(tmp_path):
    source = named(tmp_path, "mild", "", "late stage")
    assert source.label_classes == ("late stage", "mild")
    assert source.labels.tolist() == [1, UNLABELLED, 0]
    order = ("none", "mild", "late stage")
    source = named(tmp_path, "mild", "-1", "late stage", classes=order)
    assert source.label_classes == order
    assert source.labels.tolist() == [1, UNLABELLED, 2]
    assert named(tmp_path, "1", "0", "").label_classes is None


def test_classes_are_those_of_the_whole_table_whichever_rows_are_chosen(tmp_path):
    text = "path,label,mask,split\na.npy,x,,1\nb/c.npy,z,,2\nd.npy,y,,1\n"
    source = join(tmp_path, text, only="split=1")
    assert source.label_classes == ("x", "y", "z")
    assert source.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("cells", "stated", "said"),
    [
        (("1", "l", "0"), {}, "line 3: label 'l' is no class number"),
        (("a", "2", "b"), {}, "line 2: label 'a' is no class number"),
        (("a", "A", "b"), {"classes": ("a", "b")}, "line 3: label 'A' is none of"),
    ],
)
def test_labels_that_are_neither_all_names_nor_all_numbers_are_named(
    tmp_path, cells, stated, said
):
    with pytest.raises(DataError, match=said):
        named(tmp_path, *cells, **stated)


@pytest.mark.parametrize(
    "text", ["path,patient\na.npy,p\n", "path,edema,pus\na.npy,1,0\n"]
)
def test_names_of_classes_that_a_table_has_not_are_refused(tmp_path, text):
    with pytest.raises(DataError, match="no column 'label', whose classes data.cla"):
        join(tmp_path, text, classes=("a", "b"))
    with pytest.raises(ConfigError, match="data.classes is .*no table of labels"):
        examples(NAMES, dict, str, labels="", unlisted="raise", classes=("a", "b"))


def test_as_many_names_as_ids_are_taken_for_ids(tmp_path):
    names = [f"{i}.npy" for i in range(120)]
    rows = [f"{name},case-{name}" for name in names]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["path,label", *rows]))
    with pytest.raises(DataError, match="120 labels in 120 rows.*ids"):
        read_rows(str(path))


def test_columns_by_name_are_findings_and_unknown_ones_stay_unknown(tmp_path):
    text = "path,pus,patient,edema\na.npy,1,p,\nb/c.npy,0.0,q,1.0\nd.npy,-1,p,0\n"
    source = join(tmp_path, text)
    assert source.label_names == ("pus", "edema")
    assert source.labels.tolist() == [[1, UNLABELLED], [0, 1], [UNLABELLED, 0]]
    assert source.labels.dtype == np.int64
    assert source.patients == ["p", "q", "p"]
    assert (
        join(tmp_path, "path,label\na.npy,1\nb/c.npy,0\nd.npy,1\n").label_names is None
    )


def test_a_finding_that_no_row_knows_is_kept_where_another_is_known(tmp_path):
    rows = "\n".join(f"{name},,1" for name in NAMES)
    source = join(tmp_path, f"path,edema,effusion\n{rows}\n")
    assert source.labels.tolist() == [[UNLABELLED, 1]] * 3


def test_files_without_a_row_can_be_dropped(tmp_path):
    source = join(tmp_path, "path,label\nd.npy,1\n", unlisted="drop")
    assert source.names == ["d.npy"]
    assert source.labels.tolist() == [1]


CATALOGUE = (
    "path,label,name,mask,patient,split\n"
    "a.npy,0,glioma,m/a.png,,train\n"
    "b/c.npy,1,meningioma,m/c.png,p,test\n"
    "d.npy,1,meningioma,m/d.png,q,test\n"
)


def test_a_data_sets_own_table_keeps_its_further_columns(tmp_path):
    source = join(tmp_path, CATALOGUE.replace("a.png,,", "a.png,o,"))
    assert source.labels.tolist() == [0, 1, 1] and source.label_names is None
    assert source.patients == ["o", "p", "q"]


def test_rows_are_chosen_by_a_column(tmp_path):
    test = join(tmp_path, CATALOGUE, only="split=test")
    assert (test.names, test.patients) == (NAMES[1:], ["p", "q"])
    train = join(tmp_path, CATALOGUE, only="split=train")
    assert (train.names, train.patients) == (NAMES[:1], None)  # none is known
    rows = "path,edema,pus,fold\na.npy,1,0,1\nb/c.npy,0,1,2\nd.npy,1,1,1\n"
    findings = join(tmp_path, rows, only="fold=1")
    assert findings.label_names == ("edema", "pus")
    assert findings.labels.tolist() == [[1, 0], [1, 1]]


def test_rows_that_are_not_chosen_need_no_file(tmp_path):
    text = "path,patient,split\na.npy,p,x\nd.npy,q,x\nb/c.npy,r,x\nfar.npy,s,y\n"
    assert join(tmp_path, text, only="split=x").names == NAMES
    with pytest.raises(DataError, match=r"1 row.*'far\.npy'"):
        join(tmp_path, text, only="split=y")


@pytest.mark.parametrize(
    ("text", "only", "reason"),
    [
        (CATALOGUE, "", "line 2: patient is empty, and other rows have one"),
        (CATALOGUE, "split=valid", "no row has split=valid"),
        (CATALOGUE, "fold=1", "data.only names 'fold'"),
        ("path,mask,Patient_ID\na.npy,m,p\n", "", "call 'Patient_ID' 'patient'"),
        ("path,mask,subject\na.npy,m,p\n", "", "call 'subject' 'patient'"),
        ("path,Mask,patient\na.npy,m,p\n", "", "'Mask' as 'mask'"),
    ],
)
def test_a_data_sets_table_is_not_guessed_at(tmp_path, text, only, reason):
    with pytest.raises(DataError, match=f"labels.csv: .*{reason}"):
        join(tmp_path, text, only=only)


@pytest.mark.parametrize("only", ["split", "split=", "=test"])
def test_a_choice_that_is_none_is_named(tmp_path, only):
    with pytest.raises(ConfigError, match="data.only"):
        join(tmp_path, CATALOGUE, only=only)
    with pytest.raises(ConfigError, match="data.only"):
        examples(NAMES, dict, str, labels="", unlisted="raise", only="split=test")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\na.npy,1\nb/c.npy,tear\nd.npy,0\n", "line 3.*'tear'"),
        ("path,label\na.npy,1.5\n", "line 2.*'1.5'"),
        ("path,label\na.npy,-2\n", "line 2.*'-2'"),
        ("path,label\na.npy,1_0\n", "line 2.*'1_0'"),
        ("path,label\na.npy,\u0661\n", "line 2.*no class number"),
        ("path,label\na.npy,1\nb/c.npy,50000\n", "line 3.*50000 .*is it an id"),
        ("path,label\na.npy,100000000000000000000\n", "line 2.*is it an id"),
        ("path,label\na.npy,1\nd.npy,0\na.npy,1\n", "lines 2 and 4.*a.npy"),
        (
            "path,label\na.npy,1\nb/c.npy,0\n",
            "1 file.*without a row.*d.npy.*data.unlisted=drop",
        ),
        ("path\nx\nq\na.npy\nb/c.npy\nd.npy\nz\ny\n", r"4 row.*'q', 'x', 'y', \.\.\."),
        ("path,lable\na.npy,1\n", "'lable'"),
        ("path;label\na.npy;1\n", "separated by commas"),
        ("label,patient\n1,p\n", "path"),
        ("path,patient\na.npy,\n", "line 2: patient is empty"),
        ("path,label\na.npy\n", "line 2.*fields"),
        ("path,label\na.npy,1,2\n", "line 2.*fields"),
        ("path,label\n", "no rows"),
        ("path,edema,pus\na.npy,1,0\nb/c.npy,0,yes\n", "line 3: pus is 'yes'"),
        ("path,edema,age\na.npy,1,54\n", "line 2: age is '54'.*no findings"),
        ("path,edema,pus\na.npy,1,0.5\n", "line 2: pus is '0.5'"),
        ("path,edema,pus\na.npy,1\n", "line 2.*fields"),
        ("path,edema,pus\na.npy,1,0,0\n", "line 2.*fields"),
        ("path,label,edema\na.npy,1,0\n", "'edema' beside 'label'"),
        ("path,edema\na.npy,1\n", "a single column of labels 'label'"),
        ("path,edema,edema\na.npy,1,1\n", "other columns once"),
        ("path,edema,,pus\na.npy,1,1,0\n", "''"),
        ("path,edema,pus,Patient\na.npy,1,1,p\n", "'Patient' as 'patient'"),
        ("path,label\na.npy,\nb/c.npy,\nd.npy,\n", "label is empty in all 3"),
        ("path,edema,pus\na.npy,,\nd.npy,,-1\n", "edema, pus is empty in all 2"),
        ("", "none"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_by_line(tmp_path, text, reason):
    with pytest.raises(DataError, match=f"labels.csv: .*{reason}"):
        join(tmp_path, text)


def test_an_unreadable_table_is_named(tmp_path):
    with pytest.raises(DataError, match="labels.csv.*UTF-8"):
        join(tmp_path, "path,patient\na.npy,Müller\n", encoding="latin-1")
    with pytest.raises(DataError, match="nowhere.csv"):
        examples(NAMES, dict, str, labels="nowhere.csv", unlisted="raise")


def test_an_unknown_way_with_unlisted_files_is_named(tmp_path):
    with pytest.raises(ConfigError, match="data.unlisted"):
        join(tmp_path, "path\na.npy\n", unlisted="keep")
