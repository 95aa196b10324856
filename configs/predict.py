"""What a fine-tuned model says of new scans, with or without labels.

python -m medssl_jax.main --config=configs/predict.py:nifti --config.init_from=RUN \
    --config.data.root=DIR --workdir=OUT

RUN is a fine-tuned run's folder. OUT/predictions.csv gets a row of probabilities for each
scan; of a model that segments, OUT/masks a file for each, in the format of its image
(NIfTI, MetaImage, NRRD, Analyze, PNG), with its name, orientation and grid. Of a DICOM
series it is a DICOM SEG, which viewers lay over the series; it has the series' patient and
study, so keep it where the scans are kept. Scans are brought to [0, 1] as they were for the
model's training, and have as many channels unless data.channels is set. Of a run of
configs/metastases.py each slice gets a row, beside what the first stage finds. The demo
needs runs/segment-demo, of configs/segment.py.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom", count=8, seed=9, size_voxels=(12, 48, 48)),
    **settings.ANY,
    "msd": dict(name="msd", split="test"),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "predict"
    config.name = f"predict-{variant}"
    config.init_from = "runs/segment-demo" if variant == "demo" else ""
    config.batch_size = 16
    config.data = settings.source(**SOURCES[variant]) | dict(on_error="raise")
    return config
