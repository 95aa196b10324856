"""Rows of a data set's own table as the examples of a role."""

import numpy as np
import pytest
from PIL import Image

from medssl_jax.data.host import Prepare
from medssl_jax.data.order import roles
from medssl_jax.errors import ConfigError


@pytest.fixture
def opened(tmp_path):
    """Return (data.only, splits) -> sources of ten images, of which two are a test's."""
    lines = ["path,mask,patient,split"]
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 255, (4, 5), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        Image.fromarray(np.uint8(pixels > 99)).save(tmp_path / f"{i}_mask.png")
        split = "test" if i in (1, 4) else "train"
        lines.append(f"{i}.png,{i}_mask.png,p{i},{split}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))

    def sources(only, splits):
        source = {"name": "images", "root": str(tmp_path), "only": only}
        source["masks"] = str(tmp_path / "rows.csv")
        given = {"cache": "", "on_error": "raise", "balance": ""}
        prepare = Prepare(2, None, "none")
        found = roles.sources(source, splits, prepare, 0, tmp_path, **given)
        return {role: [s.name(i) for i in range(len(s))] for role, s in found.items()}

    return sources


def test_a_role_has_other_rows_of_the_table_and_the_rest_is_divided(opened):
    splits = {
        "validation": {"fraction": 0.25, "only": ""},
        "test": {"fraction": 0.5, "only": "split=test"},
    }
    found = opened("split=train", splits)
    assert found["test"] == ["1.png", "4.png"] and len(found["validation"]) == 2
    both = found["train"] + found["validation"]
    assert sorted(both) == [f"{i}.png" for i in range(10) if i not in (1, 4)]


def test_without_rows_of_its_own_a_role_is_a_fraction(opened):
    found = opened("", {"test": {"fraction": 0.5, "only": ""}})
    assert len(found["test"]) == len(found["train"]) == 5


def test_rows_that_are_trained_on_are_no_other_roles(opened):
    said = r"1\.png is in both train and test \(2 are\).*set config\.data\.only"
    with pytest.raises(ConfigError, match=said):
        opened("", {"test": {"fraction": 0.2, "only": "split=test"}})
