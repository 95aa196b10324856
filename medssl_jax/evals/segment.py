"""What a segmentation is worth: whole cases, in the geometry of their files."""

from collections.abc import Sequence

import numpy as np

from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.evals.case import Case, structure, write_cases
from medssl_jax.evals.overlap import mean_dice, overlap
from medssl_jax.evals.pictures import Pictures
from medssl_jax.evals.segment_tables import results
from medssl_jax.evals.surface import hd95_and_nsd
from medssl_jax.evals.whole import Segmented, Whole, names_of
from medssl_jax.ranges import Natural, Part, Positive

MASKS = "masks"  # the folder of what was found


def segment(
    context: Context,
    *,
    step: Part,
    mirror: Sequence[Natural],
    tolerance_mm: Positive,
) -> Evaluator:
    """Build validation by Dice, and the test with surfaces, masks and pictures.

    Cases are whole: windows of the training's size slide over them, and probabilities
    come back to the grid of the file before a class is chosen. A structure that neither
    truth nor prediction has does not count; one that only one of them has has Dice and
    NSD 0 and no finite Hausdorff distance. The mean over cases comes first, then that
    over structures. Leaves cases.csv, what was found in masks/, and cases.npz with
    slices of some.

    The run keeps the checkpoint of the highest validation Dice, over the structures
    that validation cases have: `validation_loss` is 1 less that.

    Args:
      step: from one window to the next, as a part of it; nnU-Net has .5.
      mirror: spatial axes, from 0, over whose flips probabilities are averaged; none
        is ().
      tolerance_mm: of the normalised surface distance.

    Raises:
      ConfigError: if the method tells no masks or a setting cannot be used; if there
        are no cases for validation or test, or a role has none with any foreground.
    """
    _check(context, mirror)
    whole = Whole(context, step, tuple(mirror))
    voxels = context.method.voxels

    def measured(role, params, aux):
        """Yield each case with what was found."""
        source = context.sources[role]
        for i in range(len(source)):
            yield i, whole(source, i, params, aux)

    def during(params, aux):
        structures = range(
            len(names_of(context.sources["validation"].class_names, voxels))
        )
        dice, true = [], []
        for _, case in measured("validation", params, aux):
            dice.append(_case("", "", case, structures, None).dice)
            true.append([_truth(case, k).any() for k in structures])
        # what no case has would count only at checkpoints that make it up
        mean = mean_dice(np.stack(dice)[:, np.any(true, axis=0)])
        return {"validation_loss": 1 - mean, "validation_Dice": mean}

    def final(params, aux):
        source, cases = context.sources["test"], []
        names = names_of(source.class_names, voxels)
        pictures = Pictures(names)
        patients = source.patients
        for i, case in measured("test", params, aux):
            patient = "" if patients is None else patients[i]
            name = source.name(i)
            cases.append(_case(name, patient, case, range(len(names)), tolerance_mm))
            pictures.take(name, case, cases[-1].mean_dice)
            origin, j = source.origin(i)
            if origin.write_mask is not None:
                folder = context.workdir / MASKS
                origin.write_mask(origin.name(j), case.found, folder, names)
        write_cases(context.workdir / "cases.csv", cases, names)
        pictures.save(context.workdir / "cases.npz")
        return results(cases, names, tolerance_mm=tolerance_mm, seed=context.seed)

    return Evaluator(during, final)


def _case(name, patient, case: Segmented, structures, tolerance_mm) -> Case:
    """Measure a case's structures, their surfaces too where there is a tolerance."""
    record, found = case
    ndim = record["image"].ndim - 1
    spacing_mm = record.get("spacing_mm", (1.0,) * ndim)
    overlaps, surfaces = [], []
    for k in structures:
        truth = _truth(case, k)
        prediction = structure(found, k, ndim)
        overlaps.append(overlap(truth, prediction))
        if tolerance_mm is not None:
            surfaces.append(hd95_and_nsd(truth, prediction, spacing_mm, tolerance_mm))
    hd95_mm, nsd = np.array(surfaces).T if surfaces else (None, None)
    in_mm = "spacing_mm" in record
    return Case(name, patient, np.array(overlaps), hd95_mm, nsd, in_mm)


def _truth(case: Segmented, k: int) -> np.ndarray:
    image, mask = case.record["image"], case.record["mask"]
    return structure(mask, k, image.ndim - 1)


def _check(context, mirror):
    if context.predict is None or not any(context.method.voxels):
        raise ConfigError("evaluation 'segment' needs a method of masks: 'segment'")
    ndim = len(context.draw.shape)
    if not set(mirror) <= set(range(ndim)):
        text = f"evaluation.mirror {tuple(mirror)} names other axes than 0 to"
        raise ConfigError(f"{text} {ndim - 1}")
    trained = "train" in context.sources
    for role in ("validation", "test") if trained else ("test",):
        source = context.sources.get(role)
        if source is None or not len(source) or not source.has_masks:
            raise ConfigError(
                f"segment needs cases with masks for {role}: set --config.splits.{role}"
                ".fraction, or give that role a source with data.masks"
            )
        if not _has_foreground(source):
            raise ConfigError(
                f"no {role} case has anything but background in its mask: there is "
                "nothing to be judged by; give that role more cases"
            )
    if trained and not _has_foreground(context.sources["train"]):
        raise ConfigError(
            "no training case has anything but background in its mask: there is "
            "nothing to learn; look at data.masks"
        )


def _has_foreground(source: Source) -> bool:
    return any(len(source[i].get("foreground", ())) for i in range(len(source)))
