"""Slices of MR with brain metastases: one network segments, the next classifies beside it.

python -m medssl_jax.main --config=configs/metastases.py
python -m medssl_jax.main --config=configs/metastases.py:nifti --config.root=IMAGES \
    --config.masks=MASKS --config.second.init_from=RUN

demo   phantom brains, a quarter of an hour on two CPU cores: of slices AUC .85, average
       precision .72, accuracy at .6 .88 beside the channel, .66, .25, .67 without it.
nifti, itk (MetaImage, NRRD, Analyze)  one's own volumes, axial as they are read, and
       masks paired by name, or a CSV path,mask,patient; sizes as published.

First a 2.5D encoder-decoder learns the masks: of each slice from five, itself in the
middle. What it finds becomes the attention channel: five slices and it are compressed to
three channels by a 1 x 1 convolution, then ResNet-50 w2 says of each slice whether there
is a lesion, of config.second.data.slices.lesion_voxels. Both stages run by this command,
on one split; kill it, start it again: it goes on.

Published (arXiv:2201.01283, section IV D, table III; MPRAGE, 341 cases, 36 to validate, 43
to test): AUC .932, mean average precision .856, accuracy at an operating point of .6 .943
with pretraining; .913, .799, .910 without, which took 300 epochs to an AUC of .90, and
pretrained 10 to .92. Not yet run: these data are not to be had here.

Ours are the first stage (theirs is in its references) and all of its settings, that the
channel holds probabilities, the second's optimizer, rate, batch and epochs; and that no
training volume is segmented by what was trained on it: the first stage is trained
config.folds times, each time without a fold of the training patients (1: once, on all).

config.alone trains the second without the channel too, config.repeats with more seeds:
configs/ensemble.py with config.runs averages them. config.second.init_from is an encoder of
three channels (configs/swav.py), or torchvision's weights (.safetensors).
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings
from medssl_jax.protocols.experiment import load

SOURCES = {
    "demo": dict(
        name="phantom_brains",
        count=128,
        seed=11,
        size_voxels=(16, 64, 64),
        metastasis_fraction=0.8,
    ),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
}
NEIGHBOURS = 2  # on both sides: five slices


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(SOURCES[variant])
    config.name = f"metastases-{variant}"
    if variant == "demo":
        demo(config)
    else:
        for field in ("root", "masks"):
            config[field] = ""
            for stage in (config.first, config.second):
                stage.data[field] = config.get_ref(field)
    return config


def published(source: dict) -> ConfigDict:
    config = ConfigDict()
    config.command = "stages"
    config.first = segmentation(source)
    config.second = classification(source)
    config.folds = 2
    config.repeats = 1
    config.alone = False
    return config


def segmentation(source: dict) -> ConfigDict:
    """Windows of eight slices of 224 x 224 at 1 mm, of which half hold a lesion."""
    config = load(__file__, "segment:nifti")
    config.data = data(source, (8, 224, 224), (None, 1.0, 1.0)) | dict(
        fold=dict(of=1, left_out=0)  # which of config.folds is left out
    )
    config.data.foreground = 0.5
    config.method.update(classes=2, over_batch=True)
    config.model = dict(
        name="with_neighbours",
        neighbours=NEIGHBOURS,
        of=dict(name="unet", ndim=2, width=32, levels=5),
    )
    config.views.first.affine.axes = config.views.first.flip.axis = (-2, -1)
    return config


def classification(source: dict) -> ConfigDict:
    config = load(__file__, "finetune:images")
    config.data = data(source, (224, 224), (1.0, 1.0)) | dict(
        attention=""  # the folder of the first stage's maps
    )
    config.data.slices = dict(
        of_each=160, axis=0, neighbours=NEIGHBOURS, lesion_voxels=8
    )
    config.data.balance = "oversample"
    config.model = dict(name="adapter", channels=3, of=config.model.to_dict())
    config.model.of.width = 128  # w2
    config.batch_size = config.micro_batch_size = 64
    config.train_epochs = 10.0
    config.optimizer = dict(
        name="adam", b1=0.9, b2=0.999, clip_norm=1.0, backbone_rate=1.0
    )
    config.schedule.update(peak=3e-4, warmup_epochs=0.25)
    config.evaluation = (ConfigDict(dict(name="classify", threshold=0.6, floor=True)),)
    config.views = dict(first=view(), eval=dict())
    return config


def data(source: dict, shape: tuple, spacing_mm: tuple) -> dict:
    """What both stages state, in volumes or in slices of them."""
    return settings.training(
        settings.source(**source),
        shape=shape,
        spacing_mm=spacing_mm,
        window="percentiles",
        workers=4,
        cache="cache",
    ) | dict(label_fraction=1.0, split_seed=0, unlabelled="keep")


def view() -> dict:
    """Slices and channel alike: turned, scaled, mirrored; no other contrast of a map."""
    return dict(
        affine=dict(
            rotation_degrees=(-15.0, 15.0),
            scale=(0.85, 1.2),
            axes=(-2, -1),
            probability=0.5,
        ),
        flip=dict(axis=(-1,), probability=0.5),
    )


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    slices, rows, columns = config.first.data.size_voxels
    for stage in (config.first, config.second):
        stage.data.update(spacing_mm=None, workers=0)
        stage.splits = dict(
            validation=dict(seed=12, count=24), test=dict(seed=13, count=64)
        )
        stage.log_every_steps = 16
    # few voxels are lesions: small windows around them, Dice over a batch of these
    config.first.data.update(shape=(4, rows // 2, columns // 2), foreground=0.8)
    config.first.model.of.update(width=8, levels=3)
    config.first.batch_size = config.first.micro_batch_size = 16
    config.first.train_epochs = 100.0  # 400 updates
    config.first.checkpoint.every_epochs = 25.0
    config.first.schedule.peak = 1e-2
    config.second.data.shape = (rows, columns)
    config.second.data.slices.update(of_each=slices, lesion_voxels=2)
    config.second.model.of.update(
        layers=(1, 1, 1, 1), block="basic", width=8, stem="small"
    )
    config.second.batch_size = config.second.micro_batch_size = 32
    config.second.schedule.peak = 2e-3
    config.second.train_epochs = 4.0
    config.alone = True
