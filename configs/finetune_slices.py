"""Volumes by a transformer of slices: class tokens of some slices, one classifier (SB-SSL).

python -m medssl_jax.main --config=configs/finetune_slices.py --config.init_from=RUN
python -m medssl_jax.main --config=configs/finetune_slices.py:mrnet \
    --config.data.root=DIR --config.init_from=RUN

demo   phantom knees, torn ligament or not, after configs/gmml.py's demo.
mrnet  the published protocol: ViT-S at 256 x 256, the class tokens of 16 evenly spaced
       slices one behind the other, a layer with GELU as wide as one of them, a linear
       one; the rare class oversampled; optimizer and views of the pretraining. Not yet
       run: MRNet is not to be had here.
       Slices, batch, epochs and the patient-wise 90:10 are ours: the paper has none.
nifti, itk, dicom, npy, medmnist, shards  one's own labelled volumes; data.labels is a CSV
       path,label,patient.

init_from is a run or encoder of slices (configs/gmml.py), timm's or DINO's weights
(.safetensors), or "" for random ones. model.of is that of the pretraining, but for maps
and pooling; any model of images will do. data.shape begins with how many slices; a volume with
fewer repeats some.

Published (accuracy, AUC; MRNet's 120 validation exams, five models averaged): ViT-S 88.3 %, .954, from
random weights 70.0 %, .721. Source: arXiv:2208.13923, section 4.
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings
from medssl_jax.protocols.experiment import load

SOURCES = {
    "demo": dict(name="phantom", count=384, seed=3, size_voxels=(12, 64, 64)),
    "mrnet": dict(name="mrnet", split="train", plane="sagittal", task="acl"),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "dicom": dict(name="dicom"),
    "npy": dict(name="npy"),
    "medmnist": dict(name="medmnist", split="train"),
    "shards": dict(name="shards", split="train"),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    # encoder, optimizer and views are those that it was pretrained with
    config = load(__file__, "gmml:demo" if variant == "demo" else "gmml:mrnet")
    config.name = f"finetune-slices-{variant}"
    of = config.model.to_dict() | dict(pooling="class")
    config.model = dict(name="slicewise", of=of)
    config.method = dict(
        name="supervised",
        classes=2,
        findings=0,
        ordered=False,
        ordinal_head=False,
        frozen_epochs=0.0,
        frozen_statistics=True,
        hidden_sizes=(of["width"],),
    )
    config.optimizer.backbone_rate = 1.0
    config.evaluation = (
        ConfigDict(dict(name="classify", floor=True)),
        ConfigDict(dict(name="attention", block=of["depth"] - 2, examples=4)),
    )
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(16, *config.data.shape),
        frames="even",
        workers=8,
        cache="cache",
        balance="oversample",
    ) | dict(
        label_fraction=1.0,  # by patient; fewer are fed more often: as many updates
        split_seed=config_dict.placeholder(int),  # None: config.seed
        unlabelled="keep",  # or "drop": leave examples without a label out
    )
    config.batch_size = config.micro_batch_size = 16
    config.train_epochs = 50.0
    config.schedule.warmup_epochs = 5.0
    config.splits = dict(validation=dict(fraction=0.1), test=dict(split="valid"))
    if variant == "demo":
        demo(config)
    elif variant != "mrnet":
        own_volumes(config, variant)
    return config


def own_volumes(config: ConfigDict, variant: str) -> None:
    """Any labelled volumes, a fifth of the patients held out for the test."""
    size = (28, 28) if variant == "medmnist" else (224, 224)
    config.data.update(shape=(16, *size), workers=2)
    config.splits = dict(
        # or other rows of data.labels: only="split=test"
        validation=dict(fraction=0.1, only=""),
        test=dict(fraction=0.2, only=""),
    )
    config.views.first.random_resized_crop.size = size
    config.views.eval.resize.size = size
    if variant == "medmnist":  # bytes, with splits of its own
        config.model.of.patch = 4
        config.data.cache = ""
        config.splits = dict(validation=dict(split="val"), test=dict(split="test"))
    else:
        config.data.update(window="percentiles", resize=size)


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(shape=(8, 64, 64), window="percentiles", workers=0)
    config.splits.test = dict(seed=2, count=256)
    config.train_epochs = 12.0
    config.log_every_steps = 16
    config.schedule.update(peak=3e-4, warmup_epochs=1.0)
