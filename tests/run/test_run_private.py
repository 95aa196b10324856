"""What is shown to others names no user."""

from pathlib import Path

import pytest

from medssl_jax.run.private import with_home, without_folders, without_home


@pytest.mark.parametrize(
    "text, shown",
    [
        ("--config.data.root=/home/jane/scans/knees", "--config.data.root=…/knees"),
        ("--workdir=/home/jane doe/runs/a b", "--workdir=…/a b"),
        ("('SimCLR=/h/jane/x', 'random=', '/h/y')", "('SimCLR=…/x', 'random=', '…/y')"),
        ("--config.data.root=~/scans", "--config.data.root=…/scans"),
        (r"C:\Users\Jane\scans", "…/scans"),
        ("/data", "…/data"),
        # what is none stays
        *(
            2 * (text,)
            for text in ("runs/a/b", "configs/byol3d.py:demo", "1/3", "a, b")
        ),
        *(
            2 * (text,)
            for text in ("(0.5, 1.0)", "--config=x.py", "", "../shared/data")
        ),
    ],
)
def test_of_absolute_paths_the_last_part_is_left(text, shown):
    assert without_folders(text) == shown


def test_the_home_comes_back(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jane"))
    config = {
        "data": {"root": "/home/jane/scans", "seed": 0},
        "runs": ("/home/janet/a",),
        "workdir": "/home/jane",
    }
    hidden = without_home(config)
    assert hidden["data"]["root"] == "~/scans" and hidden["runs"] == config["runs"]
    assert hidden["workdir"] == "~"
    assert with_home(hidden) == config
