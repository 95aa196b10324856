"""Any dataset that TFDS has prepared as ArrayRecord, read without TensorFlow."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from medssl_jax.data import tree
from medssl_jax.data.decoding import decoding
from medssl_jax.data.host import check
from medssl_jax.data.shards.trusted import FEATURES, check_features
from medssl_jax.data.source import Examples, Record
from medssl_jax.errors import ConfigError, DataError

_INFO = "dataset_info.json"
_MAX_CHANNELS = 4


def tfds(
    *,
    builder: str,
    split: str,
    data_dir: str = "",
    image: str = "image",
    label: str = "label",
    patient: str = "",
) -> Examples:
    """Read one split of a TFDS builder.

    Labels and patients stand in the records, which are all read once for them.

    Args:
      builder: "name", "name/config" or "name/config:1.0.0"; empty: `data_dir` is the
        dataset's own folder, with its dataset_info.json.
      split: as TFDS has it, "train" or "train[:80%]".
      data_dir: TFDS' folder of datasets; empty: ~/tensorflow_datasets.
      image, label, patient: names of features; label and patient may be empty.

    Raises:
      ConfigError: if split or feature are not there; it lists those that are.
      DataError: if the builder is not prepared, or not as ArrayRecord; if a label is
        no class number or vector of them; on reading, if an image is unusable or
        cannot be decoded without TensorFlow.
    """
    opened = _open(builder, data_dir)
    folder = str(opened.data_dir)
    _check_features(folder, opened, image=image, label=label, patient=patient)
    records = _records(folder, split, image, tree.stamp(Path(folder) / _INFO))
    names = [f"{split}/{i:06d}" for i in range(len(records))]
    wanted = [feature for feature in (label, patient) if feature]
    known = _columns(folder, split, wanted) if wanted else {}
    labels = _labels(folder, label, known[label]) if label else None
    patients = [_text(value) for value in known[patient]] if patient else None
    read = _Read(folder, split, image)
    return Examples(names, read, labels, patients, read.stamp)


@dataclass(frozen=True)
class _Read:
    folder: str
    split: str
    image: str

    def __call__(self, name: str) -> Record:
        where = f"{self.folder}, {name}"
        stamp = tree.stamp(Path(self.folder) / _INFO)
        records = _records(self.folder, self.split, self.image, stamp)
        i = int(name.rpartition("/")[2])
        image = _decoded(where, self.image, lambda: records[i][self.image])
        if not isinstance(image, np.ndarray) or image.dtype.kind not in "buif":
            raise DataError(where, f"{self.image!r} holds no image; see data.image")
        if image.ndim == 2 or image.shape[-1] > _MAX_CHANNELS:
            image = image[..., np.newaxis]
        return check({"image": image}, where)

    def stamp(self, name: str) -> str:
        about = tree.stamp(Path(self.folder) / _INFO)
        return f"tfds {self.image} {name} {about}"


@functools.lru_cache(maxsize=16)
def _records(folder: str, split: str, image: str, stamp: str) -> Sequence[Any]:
    """Open a split, once in each process; of a record, only the image is decoded."""
    del stamp  # another dataset under the same name is not the one remembered
    return _source(folder, split, [image])


def _open(builder: str, data_dir: str) -> Any:
    import tensorflow_datasets
    from tensorflow_datasets.core import read_only_builder

    if not builder and not data_dir:
        raise ConfigError(
            "data.builder is empty; name a TFDS builder, or data.data_dir"
        )
    where = data_dir or "~/tensorflow_datasets"
    below = Path(where).expanduser() / builder.partition("/")[0].partition(":")[0]
    for path in below.rglob(FEATURES):
        check_features(path.parent)
    try:
        if not builder:
            return tensorflow_datasets.builder_from_directory(data_dir)
        # from its files, prepared before: no builder's code runs, nothing is fetched
        return read_only_builder.builder_from_files(builder, data_dir=where)
    except (tensorflow_datasets.core.DatasetNotFoundError, OSError) as error:
        name = builder or "NAME"
        raise DataError(
            where,
            f"{f'the builder {builder!r}' if builder else 'a TFDS dataset'} is not "
            "prepared here; where TensorFlow is installed, give:  python -c "
            f"\"import tensorflow_datasets as t; t.builder('{name}', data_dir='DIR')"
            ".download_and_prepare(file_format='array_record')\"  and set "
            "data.data_dir=DIR",
        ) from error


def _check_features(folder: str, opened: Any, **named: str) -> None:
    there = opened.info.features
    known = ", ".join(sorted(there)) if hasattr(there, "keys") else "none with a name"
    for field, feature in named.items():
        if feature and (not hasattr(there, "keys") or feature not in there):
            may = "" if field == "image" else ", or leave it empty"
            raise ConfigError(
                f"data.{field} {feature!r} is no feature of {folder}; it has: {known}"
                f"{may}"
            )
    if not named["image"]:
        raise ConfigError(f"data.image is empty; {folder} has the features {known}")


def _source(folder: str, split: str, features: Sequence[str]) -> Sequence[Any]:
    """Return random access to some features of a split."""
    import tensorflow_datasets

    opened = tensorflow_datasets.builder_from_directory(folder)
    nested = (  # they would need a decoder for each of their parts
        tensorflow_datasets.features.FeaturesDict,
        tensorflow_datasets.features.Sequence,
    )
    decoders = {
        name: tensorflow_datasets.decode.SkipDecoding()
        for name, feature in opened.info.features.items()
        if name not in features and not isinstance(feature, nested)
    }
    try:
        return opened.as_data_source(split, decoders=decoders)
    except NotImplementedError as error:
        raise DataError(
            folder,
            f"is prepared as {opened.info.file_format.value}, which has no random "
            "access; prepare it with file_format='array_record'",
        ) from error
    except (ValueError, KeyError) as error:
        known = ", ".join(opened.info.splits)
        text = f"data.split {split!r} cannot be used ({error}); {folder} has: {known}"
        raise ConfigError(text) from error


def _columns(folder, split, features):
    records = _source(folder, split, features)
    columns = {feature: [] for feature in features}
    for i in tqdm(range(len(records)), desc="reading labels", disable=None):
        record = _decoded(
            f"{folder}, {split}/{i:06d}",
            features,
            functools.partial(records.__getitem__, i),
        )
        for feature in features:
            columns[feature].append(record[feature])
    return columns


def _decoded(where: str, feature: Any, read: Callable[[], Any]) -> Any:
    with decoding(where, f"{feature}"):  # Pillow's text says which images it cannot
        try:
            return read()
        except (NotImplementedError, ImportError) as error:
            said = error or type(error).__name__
            text = f"{feature} cannot be decoded without TensorFlow ({said})"
            raise DataError(where, text) from error


def _labels(folder, feature, values):
    try:
        labels = np.asarray(values)
    except ValueError:  # lists of different lengths
        labels = np.array(None)
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "bui":
        kind = type(values[0]).__name__
        text = (
            f"{feature!r} (of {kind}) is no class number, nor as many for each example"
        )
        raise DataError(folder, f"{text}; set data.label to another feature or ''")
    if labels.shape[1:] == (1,):
        labels = labels[:, 0]
    return labels.astype(np.int64)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
