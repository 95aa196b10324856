"""The palettes, as people see them whose cones lack a pigment."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from medssl_jax.report import figures
from medssl_jax.report.overlays import FILLED

# of linear RGB, at full severity: Machado et al. 2009, doi:10.1109/TVCG.2009.113
SEEN = {
    "by most": np.eye(3),
    "without L cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "without M cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "without S cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# IEC 61966-2-1
_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(rgb, seen="by most"):
    """Return CIE L*a*b* of sRGB in [0, 1], under its own white."""
    rgb = np.asarray(rgb, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(SEEN[seen]) @ linear, 0, 1)
    t = _XYZ @ linear / _XYZ.sum(axis=1)
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one, other):
    """Return the difference of two colours, 1 where it is just seen.

    Source: Sharma et al. 2005, doi:10.1002/col.20070, eqs. 2 to 22.
    """
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    more = 1 + (1 - np.sqrt(mean_c7 / (mean_c7 + 25**7))) / 2
    c1, c2 = np.hypot(more * a1, b1), np.hypot(more * a2, b2)
    h1, h2 = (
        np.degrees(np.arctan2(b, more * a)) % 360 for a, b in ((a1, b1), (a2, b2))
    )
    dh = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    h = h1 + dh / 2 if c1 * c2 else h1 + h2
    l, c = (l1 + l2) / 2, (c1 + c2) / 2
    dl, dc, dh = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    cosines = np.cos(np.radians([h - 30, 2 * h, 3 * h + 6, 4 * h - 63]))
    t = 1 + cosines @ [-0.17, 0.24, 0.32, -0.20]
    dl /= 1 + 0.015 * (l - 50) ** 2 / np.sqrt(20 + (l - 50) ** 2)
    dc /= 1 + 0.045 * c
    dh /= 1 + 0.015 * c * t
    turn = np.radians(60 * np.exp(-(((h - 275) / 25) ** 2)))
    turned = -2 * np.sqrt(c**7 / (c**7 + 25**7)) * np.sin(turn) * dc * dh
    return np.sqrt(dl**2 + dc**2 + dh**2 + turned)


def least(colours, seen):
    """Return the smallest difference between any two."""
    places = [lab(colour, seen) for colour in colours]
    return min(ciede2000(*pair) for pair in itertools.combinations(places, 2))


@pytest.mark.parametrize(
    "one, other, published",
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_differences_are_those_of_the_publications_table(one, other, published):
    assert ciede2000(one, other) == pytest.approx(published, abs=1e-4)
    assert ciede2000(other, one) == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize("seen", SEEN)
def test_colours_of_curves_are_apart_from_each_other_and_from_paper(seen):
    colours = [to_rgb(colour) for colour in figures.COLOURS]
    assert least(colours, seen) > 10
    assert min(ciede2000(lab(c, seen), lab((1, 1, 1))) for c in colours) > 25


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("grey", np.linspace(0, 1, 11))
def test_colours_on_scans_are_apart_on_every_grey_filled_or_outlined(seen, grey):
    lines = [np.array(to_rgb(colour)) for colour in figures.ON_SCANS]
    assert least(lines, seen) > 8.5
    filled = [FILLED * line + (1 - FILLED) * grey for line in lines]
    assert least(filled, seen) > 7
    assert least(filled[:4], seen) > 12
    scan = lab(np.full(3, grey))
    assert min(ciede2000(lab(one, seen), scan) for one in filled) > 8


def test_what_shares_a_colour_differs_in_its_line_or_mark():
    for looks in (figures.DASHES, figures.MARKERS):
        pairs = [
            (figures.COLOURS[i % len(figures.COLOURS)], looks[i % len(looks)])
            for i in range(28)
        ]
        assert len({*pairs}) == len(pairs)
        for one, other in itertools.pairwise(pairs):
            assert one[0] != other[0] and one[1] != other[1]
