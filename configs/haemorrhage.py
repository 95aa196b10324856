"""Haemorrhage in head CT: a volume's label, with auxiliary heads for types and slices.

python -m medssl_jax.main --config=configs/haemorrhage.py
python -m medssl_jax.main --config=configs/haemorrhage.py:dicom --config.data.root=DIR \\
    --config.data.labels=LABELS.csv --config.data.planes=SLICES.csv
python -m medssl_jax.main --config=configs/ablation.py:haemorrhage

demo   phantom heads, half of them with up to five kinds of blood, twenty minutes of one
       shared CPU core; ends with the AUC of any blood in the volume, .88 (two other seeds:
       .78, .82), those of the heads (slices .74, types .47 to .87), and of pixels alone, .56.
ct     the published recipe on one's own DICOM: 40 x 224 x 192 voxels, HU with centre 55 and
       width 200, the densely connected network. Published (test AUC): .87 from the volume's
       label alone, .94 with the heads for types and slices and with pretraining. Not yet run:
       the data is not public. Rates, batch, length and the heads' weights are ours; the
       brain is not cropped by landmarks: data.crop_to_body cuts to the head.
dicom  the same data, a network and a batch for one small GPU.
nifti, itk (MetaImage, NRRD, Analyze)  volumes in HU, likewise.

data.labels is path,any,epidural,subdural,subarachnoid,intraparenchymal,intraventricular,
patient; the first is the volume's label. data.planes is path,slice,label. A cell that is empty
is not known, and has no part in the loss. Each of method.heads has its weight, and
configs/ablation.py measures what each is worth. init_from is the pretraining of
configs/swav.py:ct3d.
Source: arXiv:2201.01283, section IV-E.
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings

TYPES = 5
SOURCES = {
    "demo": dict(
        name="phantom_heads",
        count=384,
        seed=0,
        size_voxels=(16, 64, 64),
        unknown_planes=0.3,
        unknown_types=0.2,
    ),
    "ct": dict(name="dicom"),
    "dicom": dict(name="dicom"),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(variant)
    if variant == "demo":
        demo(config)
    elif variant != "ct":
        own_volumes(config)
    return config


def published(variant: str) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.name = f"haemorrhage-{variant}"
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 16
    config.train_epochs = 100.0
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=2)
    config.method = dict(
        name="supervised",
        classes=2,
        findings=0,
        ordered=False,
        ordinal_head=False,
        hidden_sizes=(),
        frozen_epochs=0.0,
        frozen_statistics=True,
        heads=dict(
            types=dict(findings=tuple(range(1, 1 + TYPES)), planes=False, weight=1.0),
            slices=dict(findings=(), planes=True, weight=1.0),
        ),
    )
    config.model = dict(
        name="in_plane_densenet",
        ndim=3,
        blocks=(1, 2, 3, 3, 3),
        in_plane_blocks=2,
        initial_features=16,
        growth=7,
        features=1024,
    )
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999, backbone_rate=1.0)
    config.schedule = dict(name="cosine", peak=1e-3, warmup_epochs=1.0)
    config.views = dict(first=view(), eval=dict())
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(40, 224, 192),
        frames="even",  # forty slices of all: labels of slices go with theirs
        window="hu",
        window_hu=(-45.0, 155.0),  # centre 55, width 200
        workers=8,
        cache="cache",
    ) | dict(
        label_fraction=1.0,  # by patient; fewer are fed more often: as many updates
        split_seed=config_dict.placeholder(int),  # None: config.seed
        unlabelled="keep",  # or "drop": leave examples without a label out
    )
    config.data.resize = (224, 192)
    config.splits = dict(
        # or other rows of a table that data.only chooses from: only="split=test"
        validation=dict(fraction=0.1, only=""),
        test=dict(fraction=0.2, only=""),
    )
    config.evaluation = (
        ConfigDict(dict(name="classify", floor=True)),
        ConfigDict(dict(name="heads")),
    )
    return config


def view() -> dict:
    """Turned, scaled and mirrored in the plane, a little brighter or darker."""
    return dict(
        affine=dict(rotation_degrees=(-10.0, 10.0), scale=(0.9, 1.1)),
        flip=dict(probability=0.5),
        jitter=dict(brightness=(0.9, 1.1), contrast=(0.9, 1.1), probability=0.8),
    )


def own_volumes(config: ConfigDict) -> None:
    """Half as many rows and columns."""
    config.data.update(shape=(40, 128, 112), resize=(128, 112), workers=2)
    config.batch_size = config.micro_batch_size = 8
    config.train_epochs = 50.0


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    # as many heads in a batch as fit the minutes: slices of one head are much alike
    config.data.update(
        shape=(16, 32, 32), resize=(32, 32), crop_to_body=True, workers=0
    )
    config.data.window_hu = (0.0, 120.0)
    known = dict(unknown_planes=0.0, unknown_types=0.0)
    config.splits = dict(
        validation=dict(seed=1, count=96, **known),
        test=dict(seed=2, count=256, **known),
    )
    config.model.update(blocks=(2, 2, 2), in_plane_blocks=3, growth=16, features=128)
    config.batch_size = config.micro_batch_size = 16
    config.train_epochs = 20.0
    config.log_every_steps = 24
    config.schedule.peak = 3e-3
