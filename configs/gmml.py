"""GMML on slices and images: a ViT makes up what is hidden of them (SB-SSL).

python -m medssl_jax.main --config=configs/gmml.py
python -m medssl_jax.main --config=configs/gmml.py:mrnet --config.data.root=DIR
python -m medssl_jax.main --config=configs/gmml.py:nifti --config.data.root=DIR

demo      phantom knee slices, minutes on two CPU cores; ends with a table of AUCs, and
          pictures of what was hidden and made up.
mrnet     the published recipe: ViT-S at 256 x 256 on the slices of MRNet's sagittal
          knees, zeros in up to 70 % of the pixels, batch 256, 800 epochs. Not yet run:
          MRNet is not to be had here. ViT-T: --config.model.width=192
          --config.model.heads=3; ViT-B: 768 and 12. 64 slices on each of four TPU v5e
          take 4.7 of 16 GiB (compiled by benchmarks/aot.py).
nifti, itk, msd, dicom  one's own volumes, 32 slices of each: data.slices says how many, along
          which axis, and how many neighbours are channels of a slice.
images, npz, medmnist, shards  one's own images; shards of volumes with data.slices too.
Whole volumes, by a transformer in 3D: configs/small.py:gmml:nifti.

configs/finetune_slices.py and configs/finetune.py start from the result; with the same
data.labels, splits.test.fraction=.2 holds out those whom they test. method.fill is
"zeros", "ones", "noise", "image", another image's place, or "none", a plain autoencoder.
The loss is the mean over each image's hidden pixels: accumulation is exact.

Published (accuracy, AUC of anterior cruciate ligament tears after fine-tuning, five models
averaged): ViT-T 85.8 %, .952; ViT-S 88.3 %, .954; ViT-B 89.2 %, .954; ViT-S from random
weights 70.0 %, .721. Source: arXiv:2208.13923; what it leaves open is the public code's of
GMML, arXiv:2205.14986: AdamW, rate x batch / 256, gradients cut at 3. Warm-up, views' ranges
and the number of slices are ours.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom_slices", count=1024, seed=0, size_pixels=(64, 64)),
    "mrnet": dict(name="mrnet", split="train", plane="sagittal"),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "msd": dict(name="msd"),
    "dicom": dict(name="dicom"),
    "images": dict(name="images"),
    "npz": dict(name="npz"),
    "medmnist": dict(name="medmnist", split="train"),
    "shards": dict(name="shards", split="train"),
}
VOLUMES = ("mrnet", "nifti", "itk", "msd", "dicom")


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(variant)
    if variant == "demo":
        demo(config)
    elif variant != "mrnet":
        own_images(config, variant)
    return config


def published(variant: str) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.name = f"gmml-{variant}"
    config.seed = 0
    config.init_from = ""  # a run, an encoder, or timm's or DINO's .safetensors
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 256
    config.train_epochs = 800.0
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=2)
    config.method = dict(
        name="gmml",
        fill="zeros",
        most=0.7,
        side=0.3,
        align=16,  # the patches' grid
    )
    config.model = dict(
        name="vit",
        ndim=2,
        patch=16,
        width=384,
        heads=6,
        depth=12,
        maps=(6, 8, 10, 12),
        pooling="mean",  # the class token is not trained
    )
    config.optimizer = dict(
        name="adamw",
        b1=0.9,
        b2=0.999,
        weight_decay=dict(start=0.04, end=0.4),
        clip_norm=3.0,
    )
    config.schedule = dict(
        name="cosine", peak=5e-4, scaling="linear", warmup_epochs=10.0
    )
    config.views = views(size=(256, 256), least=0.5)
    config.data = settings.training(
        settings.source(**SOURCES[variant]), shape=(256, 256), workers=8
    )
    if variant in VOLUMES:
        config.data.slices.of_each = 32
        config.data.cache = "cache"
    config.splits = dict(test=dict(fraction=0.0))
    config.evaluation = (
        ConfigDict(dict(name="probe", neighbours=20, temperature=0.07, floor=True)),
        ConfigDict(dict(name="reconstruct", examples=6)),
    )
    return config


def views(size: tuple[int, int], least: float) -> dict:
    """The paper's, without hue and saturation, which are void on grey images."""
    first = dict(
        random_resized_crop=dict(scale=(least, 1.0), aspect=(0.75, 4 / 3), size=size),
        flip=dict(probability=0.5),
        sharpness=dict(factor=(0.5, 1.5), probability=0.5),
        contrast=dict(factor=(0.6, 1.4), probability=0.8),
        gaussian_blur=dict(sigma=(0.1, 2.0), probability=0.5),
    )
    return dict(first=first, eval=dict(resize=dict(size=size)))


def own_images(config: ConfigDict, variant: str) -> None:
    """Any volumes or images, cut at random from those that are larger."""
    config.batch_size = config.micro_batch_size = 64
    config.train_epochs = 200.0
    size = (28, 28) if variant == "medmnist" else (224, 224)
    config.data.update(workers=2, cache="cache", shape=size)
    if variant == "medmnist":
        config.model.patch = config.method.align = 4
    elif variant not in ("npz",):
        config.data.window = "percentiles"
        config.data.resize = size
    config.views = views(size=size, least=0.5)


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(shape=(64, 64), window="percentiles", workers=0)
    config.splits = dict(probe=dict(seed=1, count=512), test=dict(seed=2, count=512))
    config.model.update(patch=8, width=96, heads=3, depth=6, maps=(3, 4, 5, 6))
    config.method.align = 8
    config.batch_size = config.micro_batch_size = 16
    config.train_epochs = 30.0
    config.log_every_steps = 64
    config.schedule = dict(name="cosine", peak=1e-3, scaling="none", warmup_epochs=2.0)
    # most of a slice, as the ligament is in its middle
    config.views = views(size=(64, 64), least=0.8)
    config.views.first.gaussian_blur.sigma = (0.1, 1.0)
