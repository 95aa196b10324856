"""One's own scans on two CPU cores: every task at one small size, each in one command.

python -m medssl_jax.main --config=configs/small.py:simclr:images --config.data.root=DIR \
    --config.data.labels=labels.csv
python -m medssl_jax.main --config=configs/small.py:byol:nifti --config.data.root=DIR
python -m medssl_jax.main --config=configs/small.py:finetune:images \
    --config.init_from=runs/small-simclr-images --config.data.root=DIR \
    --config.data.labels=labels.csv --config.method.classes=2

TASK:SOURCE. Without labels: simclr, byol, swav, gmml, rotation, jigsaw,
relative_patch_location, exemplar, cpc. With labels: finetune; with masks: segment; with
boxes: detect (of images). Sources: images and npz (2D); nifti, itk, msd, dicom and npy (3D); demo and
demo_3d, phantom knees.

Images are brought to 96 x 96, volumes to 48 voxels along their longest side, of which 40 are
cut at random: small networks, some minutes of two cores for a few hundred images. Every
fifth patient is held out, of pretraining and fine-tuning the same where both have one table. What fine-tuning starts from has to
be of its network: images have a ResNet of four blocks, but segmentation the encoder of a
U-Net, which volumes have too, and GMML a transformer:
--config.model from the run's config.json, or configs/study.py, which sees to it.

data.window=hu and data.window_hu are for CT; another data.shape of images wants the same
data.resize. Scale, rates and views are ours; no publication is reproduced: the published
recipes are the variants of each method's own config.
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings
from medssl_jax.protocols.experiment import load

PROXIES = ("rotation", "jigsaw", "relative_patch_location", "exemplar", "cpc")
PRETRAINING = ("simclr", "byol", "swav", "gmml", *PROXIES)
LABELLED = ("finetune", "segment", "detect")
IMAGES = {
    "images": dict(name="images"),
    "npz": dict(name="npz"),
    "demo": dict(name="phantom_slices", count=480, seed=0, size_pixels=(64, 64)),
}
VOLUMES = {
    "nifti": dict(name="nifti"),
    "msd": dict(name="msd"),
    "itk": dict(name="itk"),
    "dicom": dict(name="dicom"),
    "npy": dict(name="npy"),
    "demo_3d": dict(
        name="phantom", count=160, seed=5, size_voxels=(40, 40, 40), masks=True
    ),
}
SIDE = {2: 96, 3: 40}
SOURCES = [
    f"{task}:{source}"
    for task in (*PRETRAINING, *LABELLED)
    for source in (*IMAGES, *VOLUMES)
    if task != "detect" or source == "images"
]
# whose methods these are, in 2D and 3D
FROM = {
    "simclr": ("simclr:images", "pretrain_unet:simclr_nifti"),
    "byol": ("byol2d:images", "pretrain_unet:byol_nifti"),
    "swav": ("swav:xray", "swav:nifti3d"),
    "gmml": ("gmml:images", "gmml:images"),
    **{task: (f"proxy:{task}_2d:images", f"proxy:{task}:nifti") for task in PROXIES},
    "finetune": ("finetune:images", "finetune:images"),
    "segment": ("segment:images", "segment:nifti"),
    "detect": ("detect:images", ""),
}


def get_config(variant: str = "simclr:demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    task, source = variant.split(":")
    ndim = 2 if source in IMAGES else 3
    config = load(__file__, FROM[task][ndim - 2])
    config.name = f"small-{task}-{source}"
    config.seed = 0
    config.batch_size = config.micro_batch_size = 32 if ndim == 2 else 8
    config.train_epochs = 30.0
    config.log_every_steps = 16
    config.checkpoint = dict(every_epochs=1.0, keep=2)
    config.data = data(source, ndim)
    config.splits = dict(test=dict(fraction=0.2, only=""))
    config.schedule = dict(name="cosine", peak=1e-3, scaling="none", warmup_epochs=1.0)
    if task in LABELLED:
        labelled(config, task, ndim)
    else:
        pretraining(config, task, ndim)
    return config


def data(source: str, ndim: int) -> dict:
    found = settings.training(
        settings.source(**(IMAGES | VOLUMES)[source]),
        shape=(SIDE[ndim],) * ndim,
        window="percentiles",
        cache="cache",
        workers=0,
    )
    if source == "npz":  # of one size: see data.shape
        found["window"], found["cache"] = "none", ""
    elif ndim == 2:
        found["resize"] = found["shape"]
    elif source != "demo_3d":
        found["longest_side"] = 48
    return found


def network(task: str, ndim: int) -> dict:
    if task == "gmml":
        return dict(
            name="vit",
            ndim=ndim,
            patch=8,
            width=96,
            heads=3,
            depth=6,
            maps=(3, 4, 5, 6),
            pooling="mean",
        )
    if ndim == 3 or task == "segment":
        return dict(name="unet", ndim=ndim, width=8, levels=4)
    return dict(
        name="resnet",
        ndim=2,
        layers=(1, 1, 1, 1),
        block="basic",
        width=32,
        stem="imagenet",
    )


def pretraining(config: ConfigDict, task: str, ndim: int) -> None:
    """The method of its own config, on a network, rate and views that all have alike."""
    config.model = network(task, ndim)
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    both = view(ndim)
    config.views = dict(first=both, second=both, eval=dict())
    if task in ("simclr", "exemplar", *PROXIES):
        config.data.sampler = "distinct"  # no image twice in a batch
    if task == "simclr":
        config.method.update(hidden_size=256, output_size=64, temperature=0.2)
    elif task == "byol":
        config.method.update(hidden_size=256, output_size=64, base_tau=0.99)
    elif task == "swav":
        config.data.known_labels = 1.0
        config.views = dict(assigned=both, eval=dict())
        config.method.update(hidden_size=256, output_size=64, prototypes=32)
        config.method.update(frozen_updates=40, queue_length=0, queue_from_epoch=0.0)
        config.method.crops = dict(assigned=2)
    elif task == "gmml":
        config.method.align = config.model.patch
        config.optimizer = load(__file__, "gmml:images").optimizer
        config.views = dict(first=both, eval=dict())
    else:
        proxy(config, task, ndim)


def proxy(config: ConfigDict, task: str, ndim: int) -> None:
    """What their own config makes of the side of an image."""
    config.views = dict(first=dict(), eval=dict())
    if task == "exemplar":
        config.views.second = view(ndim)
    if "jitter" in config.method:
        config.method.jitter = max(1, SIDE[ndim] // 3 // 14)
    if task == "cpc":
        patch = SIDE[ndim] // 4
        config.method.update(patch=patch, stride=patch // 2)


def labelled(config: ConfigDict, task: str, ndim: int) -> None:
    config.model = network(task, ndim)
    config.data.update(
        label_fraction=1.0,  # by patient; fewer are fed more often: as many updates
        split_seed=config_dict.placeholder(int),  # None: config.seed
        unlabelled="keep",  # or "drop": leave examples without a label out
    )
    config.splits.validation = dict(fraction=0.15, only="")
    config.optimizer = dict(
        name="adamw",
        b1=0.9,
        b2=0.999,
        weight_decay=1e-2,
        clip_norm=1.0,
        backbone_rate=1.0,
    )
    axes = tuple(range(-ndim, 0))
    config.views = dict(first=moved(axes), eval=dict())
    if task == "segment":
        config.data.foreground = 1 / 3
        config.views.first.flip = dict(axis=axes, probability=0.0)
    if task == "detect":
        config.data.update(longest_side=96, resize=None, most_boxes=16)
        config.method.update(width=32, depth=2, coarser=1, candidates=200, most=16)


def moved(axes: tuple[int, ...]) -> dict:
    return dict(
        affine=dict(
            rotation_degrees=(-10.0, 10.0),
            scale=(0.9, 1.1),
            axes=axes,
            probability=0.8,
        ),
        jitter=dict(brightness=(0.8, 1.2), contrast=(0.8, 1.2), probability=0.8),
    )


def view(ndim: int) -> dict:
    """A crop of a third and more, moved, of another contrast, blurred, with noise."""
    axes = tuple(range(-ndim, 0))
    return dict(
        random_resized_crop=dict(scale=(0.35, 1.0), axes=axes),
        flip=dict(probability=0.5),
        affine=dict(rotation_degrees=(-15.0, 15.0), axes=axes),
        jitter=dict(brightness=(0.6, 1.4), contrast=(0.6, 1.4), probability=0.8),
        gamma=dict(log_gamma=(-0.3, 0.3)),
        gaussian_blur=dict(sigma=(0.3, 1.0), probability=0.5),
        gaussian_noise=dict(std=(0.0, 0.05)),
    )
