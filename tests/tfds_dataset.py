"""A TFDS dataset as TFDS itself writes it, from examples in memory."""

from pathlib import Path
from typing import Any

import tensorflow_datasets


def write(folder: Path, examples: list[dict], features: dict[str, Any]) -> Path:
    """Let TFDS prepare the dataset "scans"; return its own folder, below `folder`.

    The first three quarters are the split "train", the rest is "test".
    """
    first = len(examples) * 3 // 4

    class Scans(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tensorflow_datasets.core.Version("1.0.0")
        name = "scans"

        def _info(self):
            return tensorflow_datasets.core.DatasetInfo(
                builder=self,
                features=tensorflow_datasets.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            parts = {"train": examples[:first], "test": examples[first:]}
            return {split: enumerate(part) for split, part in parts.items()}

        def _generate_examples(self):
            raise AssertionError("splits generate their own")

    builder = Scans(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)
