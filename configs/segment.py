"""Segmentation of volumes and images: a U-Net on any pretrained encoder.

python -m medssl_jax.main --config=configs/segment.py
python -m medssl_jax.main --config=configs/segment.py:msd --config.data.root=DIR
python -m medssl_jax.main --config=configs/segment.py:nifti --config.data.root=IMAGES \
    --config.data.masks=MASKS --config.method.classes=3 --config.init_from=RUN

demo      the bones of phantom knees, six minutes on two CPU cores; ends with a table of
          Dice per bone and a report with cases to look at.
msd       the decathlon's layout (dataset.json); volumes of several channels too.
nifti     a folder of volumes, and one of masks paired by name, or a CSV path,mask,patient.
itk       the same of MetaImage, NRRD and Analyze.
images    2D images, and PNG masks, likewise.
shards    of configs/prepare.py.
pancreas  Taleb et al. 2020 on the decathlon's Task07: 3D U-Net of 16 to 256 channels, 128^3,
          Dice, Adam 1e-3, gradients cut at 1, batch 2, the encoder frozen for 25 of 400
          epochs. Not yet run: the data is not to be had here. A step takes 1.9 GiB of an H100,
          and does not fit a TPU v5e (16.1 of 16 GiB: its rows of 128 hold 16 channels).
brats     the same on Task01: four MR channels, three regions that overlap. Not yet run.

init_from is a run, an encoder, or "" for random weights, which are not to be frozen:
method.frozen_epochs=0; model is that of the pretraining, of any backbone;
configs/pretrain_unet.py and configs/proxy.py pretrain the U-Net's encoder. Cases are judged
whole, in the geometry of their files. data.spacing_mm resamples first; data.shape is the
window that the network sees. Thick slices are turned in their plane alone:
views.first.affine.axes="(-2, -1)".
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings

# the decathlon's: 1 necrosis, 2 oedema, 3 enhancing
REGIONS = (("whole", (1, 2, 3)), ("core", (1, 3)), ("enhancing", (3,)))
SOURCES = {
    "demo": dict(
        name="phantom", count=160, seed=5, size_voxels=(12, 48, 48), masks=True
    ),
    "msd": dict(name="msd"),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "images": dict(name="images"),
    "shards": dict(name="shards", split="train"),
    "pancreas": dict(name="msd"),
    "brats": dict(name="msd", regions=REGIONS),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(variant)
    if variant == "demo":
        demo(config)
    elif variant == "images":
        own_images(config)
    elif variant in ("msd", "nifti", "itk", "shards"):
        own_volumes(config)
    elif variant == "brats":
        config.method.update(classes=0, regions=3)
    return config


def published(variant: str) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.name = f"segment-{variant}"
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 2
    config.train_epochs = 400.0
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=10.0, keep=2)
    config.method = dict(
        name="segment",
        classes=3,  # the background included
        regions=0,
        dice=1.0,
        cross_entropy=0.0,
        background=False,
        over_batch=False,
        deep_supervision=False,
        frozen_epochs=25.0,
        frozen_statistics=True,
    )
    config.model = dict(name="unet", ndim=3, width=16, levels=5)
    config.optimizer = dict(
        name="adam", b1=0.9, b2=0.999, clip_norm=1.0, backbone_rate=1.0
    )
    config.schedule = dict(name="cosine", peak=1e-3, warmup_epochs=0.0)
    config.views = dict(first=dict(), eval=dict())  # the paper names no augmentation
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(128, 128, 128),
        window="percentiles",
        workers=8,
        cache="cache",
    ) | dict(
        label_fraction=1.0,  # by patient; fewer are fed more often: as many updates
        split_seed=config_dict.placeholder(int),  # None: config.seed
        unlabelled="keep",  # or "drop": leave examples without a label out
    )
    config.splits = dict(
        # or other rows of a table that data.only chooses from: only="split=test"
        validation=dict(fraction=0.1, only=""),
        test=dict(fraction=0.2, only=""),
    )
    config.evaluation = (
        # two axes of 0 to 2, say, average over mirrored windows
        ConfigDict(dict(name="segment", step=0.5, mirror=(), tolerance_mm=2.0)),
    )
    return config


def own_volumes(config: ConfigDict) -> None:
    """Windows of 32 x 64 x 64, a third of them around a structure, as nnU-Net has it."""
    config.data.update(shape=(32, 64, 64), foreground=1 / 3, workers=2)
    config.train_epochs = 100.0
    config.method.update(cross_entropy=1.0, frozen_epochs=0.0)
    config.views.first = view(axes=(-3, -2, -1))


def own_images(config: ConfigDict) -> None:
    config.data.update(shape=(128, 128), foreground=1 / 3, workers=2, resize=(160,))
    config.model.ndim = 2
    config.batch_size = config.micro_batch_size = 16
    config.train_epochs = 50.0
    config.checkpoint.every_epochs = 5.0
    config.method.update(classes=2, cross_entropy=1.0, frozen_epochs=0.0)
    config.views.first = view(axes=(-2, -1))


def view(axes: tuple[int, ...]) -> dict:
    """Turned, scaled and of another contrast; mirrored where sides do not matter."""
    return dict(
        affine=dict(
            rotation_degrees=(-15.0, 15.0),
            scale=(0.85, 1.2),
            axes=axes,
            probability=0.5,
        ),
        flip=dict(axis=axes, probability=0.0),
        jitter=dict(brightness=(0.8, 1.2), contrast=(0.7, 1.3), probability=0.5),
        gamma=dict(log_gamma=(-0.3, 0.3)),
        gaussian_noise=dict(std=(0.0, 0.05)),
    )


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    own_volumes(config)
    config.data.update(shape=(12, 48, 48), workers=0)
    config.splits = dict(validation=dict(seed=6, count=16), test=dict(seed=7, count=48))
    config.model.update(width=8, levels=4)
    config.method.classes = 5  # 1 femur, 2 tibia, 3 patella, 4 fibula
    config.batch_size = config.micro_batch_size = 4
    config.train_epochs = 20.0  # at 16 the fibula, the smallest, is not found yet
    config.checkpoint.every_epochs = 5.0
    config.log_every_steps = 16
    config.schedule.peak = 3e-3  # a network half as wide
    config.views.first = view(axes=(-2, -1))
