"""The brain as distances: folded cortex, tentorium, ventricles, nuclei."""

import math
from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.head.skull import reach, ridge
from medssl_jax.phantoms.shapes import (
    Grid,
    Points,
    Volume,
    capsule,
    ellipsoid,
    fade,
    union,
)


class Brain(NamedTuple):
    """Distances in mm, negative inside, unless said otherwise."""

    cerebrum: Volume
    cerebellum: Volume
    stem: Volume
    tentorium: Volume  # mm above it; it ends at `ridge`
    furrow: Volume  # to the nearest sulcus' or fissure's wall
    ventricles: Volume
    nuclei: Volume  # caudate, lentiform, thalamus

    @property
    def depth(self) -> Volume:
        """How deep under the nearest cerebrospinal fluid of the surface, mm."""
        return np.minimum(-self.cerebrum, self.furrow)


def brain(points: Points, anatomy: Anatomy, cavity: Volume, closed: Grid) -> Brain:
    """Return the brain at `points`, mm of the mean head moved as masses push it.

    Args:
      cavity: distance to what the brain lies in, at the same places.
      closed: share by which sulci are squeezed, at most 1.
    """
    surface = cavity + anatomy.gap_mm * (1 + 0.5 * fade(-points.y - 20, 40))
    height = points.z - tentorium(points)
    behind = ridge(points)
    under = np.minimum(behind, -height)
    suprasellar = ellipsoid(points, (0, -4, -18), (15, 19, 10))
    ambient = ellipsoid(points, (0, 13, -16), (18, 17, 13))
    cistern = -np.minimum(suprasellar, ambient)
    cerebrum = np.maximum(surface, np.maximum(under, cistern))
    hindbrain = np.maximum(surface, np.maximum(height + 0.8, 3 - behind))
    cerebellum = ellipsoid(points, (0, 48, -37), (60, 38, 34))
    return Brain(
        cerebrum=cerebrum,
        cerebellum=np.maximum(cerebellum, hindbrain),
        stem=_stem(points),
        tentorium=height,
        furrow=_furrow(points, anatomy, closed),
        ventricles=_ventricles(points, anatomy),
        nuclei=_nuclei(points),
    )


def tentorium(points: Points) -> Volume:
    """Return its height: a tent, its top where it meets the falx."""
    drop = np.square(points.x) * 0.0075 + 0.3 * np.maximum(points.y - 22, 0)
    return np.maximum(-4 - drop, -30)


def _stem(p: Points) -> Volume:
    midbrain = capsule(p, (0, 8, 0), (0, 12, -22), 12)
    pons = ellipsoid(p, (0, 10, -33), (18, 12, 13))
    medulla = capsule(p, (0, 16, -42), (0, 26, -90), 8)
    return union(union(midbrain, pons, 4), medulla, 4)


def _furrow(p: Points, anatomy: Anatomy, closed: Grid) -> Volume:
    half = anatomy.sulcus_mm * (1 - closed)
    out = np.maximum(reach(p, anatomy, below=0.7), 0.3)
    depth = 75 * (1 - out) - anatomy.gap_mm
    narrowing = 1.2 - 0.05 * np.clip(depth, 0, 14)
    sulci = _sulci(p, anatomy, 1 / out, depth) - half * narrowing
    x = np.abs(p.x)
    core = ellipsoid(p, (0, 0, 2), (300, 42, 27))
    midline = np.hypot(x, np.maximum(-core, 0)) - (0.4 + 1.2 * half)
    # the lateral fissure rises backwards, as deep as the insula
    rise = (p.z - 3 - 0.25 * (p.y + 5)) * 0.97
    ends = np.maximum(np.abs(p.y + 3) - 24, 0)
    lateral = np.hypot(np.hypot(np.maximum(40 - x, 0), rise), ends)
    roof = np.maximum(np.abs(p.z - 5) - 9, 0)
    bulge = x - 40 + 0.012 * np.square(p.y + 3)
    insula = np.hypot(np.hypot(bulge, roof), np.maximum(np.abs(p.y + 3) - 18, 0))
    wide = half * (1.3 + anatomy.age * fade(-p.y, 20))
    fissures = np.minimum(lateral, insula) - 0.8 * wide
    return np.minimum(np.minimum(sulci, midline), fissures)


def _sulci(p: Points, anatomy: Anatomy, out: Volume, depth: Volume) -> Volume:
    """Return the distance to sheets that run inwards along a labyrinth of lines.

    The lines are where a sum of waves of one length, on the cavity's vault, is 0.
    """
    # hemispheres are alike, and not the same
    x, y, z = (np.abs(p.x) + 0.12 * p.x) * out, p.y * out, p.z * out
    total, slope = np.float32(0), [np.float32(0)] * 3
    for k, (kx, ky, kz, phase) in enumerate(anatomy.folds):
        bend = 0.06 if k % 2 else -0.06  # sheets are not straight
        angle = kx * x + ky * y + kz * z + (phase + bend * depth)
        total = total + np.sin(angle)
        cosine = np.cos(angle)
        slope = [s + cosine * w for s, w in zip(slope, (kx, ky, kz), strict=True)]
    steepness = np.sqrt(sum(np.square(s) for s in slope) + 0.01)
    away = np.abs(total) / (steepness * out)
    # fewer sulci reach far down than there are at the surface
    bottom = anatomy.sulcus_depth_mm * (0.8 + 0.3 * np.sin(0.09 * y + 0.11 * z + 2))
    return np.hypot(away, np.maximum(depth - bottom, 0))


def _ventricles(p: Points, anatomy: Anatomy) -> Volume:
    left = 1 + anatomy.lopsided * np.clip(p.x * 0.1, -1, 1)
    girth = anatomy.ventricle * left
    s = p._replace(x=np.abs(p.x))
    frontal = capsule(s, (9, -32, 4), (7, -8, 18), 0) - 4.5 * girth
    body = capsule(s, (7, -8, 18), (13, 20, 18), 0) - 4.5 * girth
    atrium = capsule(s, (13, 20, 18), (24, 38, 5), 0) - 5.5 * girth
    occipital = capsule(s, (24, 38, 5), (22, 60, 3), 0) - 3.5 * girth
    temporal = capsule(s, (24, 38, 5), (30, -8, -20), 0) - 1.6 * girth
    lateral = np.minimum(np.minimum(frontal, body), np.minimum(atrium, occipital))
    lateral = np.minimum(lateral, temporal)
    septum = 0.8 - s.x
    third = ellipsoid(p, (0, 0, 2), (2.2 * anatomy.ventricle, 13, 9))
    fourth = ellipsoid(p, (0, 27, -36), (5.5, 4.5, 9))
    return np.minimum(np.minimum(np.maximum(lateral, septum), third), fourth)


def _nuclei(p: Points) -> Volume:
    s = p._replace(x=np.abs(p.x))
    caudate = capsule(s, (15, -26, 8), (18, 8, 22), 5)
    # the lentiform nucleus opens backwards
    angle = math.radians(20)
    sine, cosine = math.sin(angle), math.cos(angle)
    u, v = s.x - 26, s.y + 3
    turned = Points(u * cosine - v * sine, u * sine + v * cosine, s.z - 3)
    lentiform = ellipsoid(turned, (0, 0, 0), (7, 18, 11))
    thalamus = ellipsoid(s, (11, 13, 6), (9, 14, 9))
    return np.minimum(np.minimum(caudate, lentiform), thalamus)
