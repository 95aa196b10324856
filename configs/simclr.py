"""SimCLR on medical images in 2D.

python -m medssl_jax.main --config=configs/simclr.py
python -m medssl_jax.main --config=configs/simclr.py:chexpert --config.data.root=DIR
python -m medssl_jax.main --config=configs/simclr.py:images --config.data.root=DIR

demo      phantom knee slices, two and a half minutes on two idle CPU cores; ends with a table of
          AUCs.
chexpert  batch 1024, rate .5, 100,000 updates, jitter .5, rotation, no blur; of all patients in
          `train`, of whom configs/finetune.py:chexpert tests a fifth.
derm      batch 512, rate .3, 150,000 updates, SimCLR's own views; a folder of images.
          Neither is run yet: the data is not to be had here. Published, fine-tuned,
          ResNet-152 2x from ImageNet: mean AUC .7729 +- .001, top-1 69.43 +- .43 %.
          Compiled for a TPU v5e:8x8 (benchmarks/aot.py), chexpert's ResNet-152 2x takes 7.7
          of a chip's 16 GiB.
images, npz, medmnist, tfds, shards (of configs/prepare.py, data.resize as here)
          one's own, 200 epochs at batch 256; data.labels is a CSV path,label,patient. With
          it, splits.test.fraction=.2 holds out those whom configs/finetune.py tests.

train_epochs is the paper's updates x batch / images: of n images, set it so.
ResNet-152 2x: --config.model.layers="(3, 8, 36, 3)" --config.model.width=128; the
head follows the width. ResNet-50 4x: width=256. Negatives are those of one micro-batch:
batch_size = micro_batch_size, over as many devices as it takes.

Reproduces arXiv:2101.05224, and SimCLR (arXiv:2002.05709) and its code where silent.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom_slices", count=1024, seed=0, size_pixels=(64, 64)),
    "chexpert": dict(
        name="chexpert", split="train", view="all", uncertain="ignore", blank="zeros"
    ),
    "derm": dict(name="images", channels="rgb"),
    "images": dict(name="images"),
    "medmnist": dict(name="medmnist", split="train"),
    "npz": dict(name="npz"),
    "tfds": dict(name="tfds", split="train"),
    "shards": dict(name="shards", split="train"),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(variant)
    if variant == "chexpert":
        chexpert(config)
    elif variant != "derm":
        own_images(config, variant)
    if variant == "demo":
        demo(config)
    return config


def published(variant: str) -> ConfigDict:
    """The dermatology recipe: SimCLR's defaults."""
    config = ConfigDict()
    config.command = "train"
    config.name = f"simclr-{variant}"
    config.seed = 0
    config.init_from = ""  # a run, an encoder, or torchvision weights (.safetensors)
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 512  # samples, over all devices
    config.train_epochs = 150_000 * 512 / 454_295
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=3)
    config.model = dict(
        name="resnet",
        ndim=2,
        layers=(3, 4, 6, 3),
        block="bottleneck",
        width=64,
        stem="imagenet",
    )
    config.method = dict(name="simclr", output_size=128, layers=2, temperature=0.1)
    config.method.hidden_size = 32 * config.model.get_ref("width")  # the features'
    config.optimizer = dict(
        name="lars",
        weight_decay=1e-6,
        momentum=0.9,
        trust_coefficient=1e-3,
        lr_after_momentum=False,
    )
    # the paper's rates are per 256 samples, as in the code that it used
    config.schedule = dict(
        name="cosine", peak=0.3, scaling="linear", warmup_epochs=10.0
    )
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(256, 256),
        workers=8,
        sampler="distinct",  # no image twice in a batch: it would be its own negative
    )
    config.data.resize = (256,)  # the shorter side
    both = crop(size=(224, 224), least=0.08) | dict(
        color_jitter=dict(strength=1.0, probability=0.8),
        greyscale=dict(probability=0.2),
        gaussian_blur=dict(sigma=(0.1, 2.0), probability=0.5),
    )
    eval_view = dict(centre_crop=dict(size=(224, 224)))
    config.views = dict(first=both, second=both, eval=eval_view)
    config.splits = dict(test=dict(fraction=0.0))
    config.evaluation = (
        ConfigDict(dict(name="probe", neighbours=20, temperature=0.07, floor=True)),
    )
    return config


def crop(size: tuple[int, int], least: float) -> dict:
    return dict(
        random_resized_crop=dict(scale=(least, 1.0), aspect=(0.75, 4 / 3), size=size),
        flip=dict(probability=0.5),
    )


def chexpert(config: ConfigDict) -> None:
    """The one that the paper chose on validation."""
    config.batch_size = config.micro_batch_size = 1024
    config.train_epochs = 100_000 * 1024 / 223_414
    config.schedule.peak = 0.5
    radiograph(config, size=(224, 224))
    config.splits = dict(test=dict(split="valid"))


def radiograph(config: ConfigDict, size: tuple[int, int]) -> None:
    """Views of grey images: turned, without a blur that would hide fine texture."""
    both = crop(size, least=0.08) | dict(
        affine=dict(rotation_degrees=(-45.0, 45.0)),
        color_jitter=dict(strength=0.5, probability=0.8),
    )
    config.views = dict(first=both, second=both, eval=dict(resize=dict(size=size)))


def own_images(config: ConfigDict, variant: str) -> None:
    """Any images."""
    config.batch_size = config.micro_batch_size = 256
    config.train_epochs = 200.0
    config.data.update(workers=2, cache="cache")
    radiograph(config, size=(224, 224))
    if variant in ("images", "shards"):
        config.data.window = "percentiles"
    if variant == "npz":  # of one size already
        config.data.update(shape=(224, 224), resize=None)
    if variant == "medmnist":  # 28 x 28, with splits of its own
        config.data.update(shape=(28, 28), resize=None)
        config.model.update(stem="small", layers=(2, 2, 2, 2), block="basic")
        config.method.hidden_size = 8 * config.model.get_ref("width")
        radiograph(config, size=(28, 28))
        config.splits = dict(test=dict(split="test"))


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(shape=(64, 64), window="percentiles", workers=0, resize=None)
    config.splits = dict(probe=dict(seed=1, count=512), test=dict(seed=2, count=512))
    config.model.update(layers=(1, 1, 1, 1), block="basic", width=16)
    config.method.update(hidden_size=128, output_size=64, temperature=0.2)
    config.batch_size = config.micro_batch_size = 64
    config.train_epochs = 40.0
    config.log_every_steps = 16
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    config.schedule = dict(name="cosine", peak=2e-3, scaling="none", warmup_epochs=1.0)
    # what slices of one knee vary in beside the ligament: pose, contrast, noise
    both = crop(size=(64, 64), least=0.4) | dict(
        affine=dict(rotation_degrees=(-15.0, 15.0)),
        color_jitter=dict(strength=0.5, probability=0.8),
        gaussian_blur=dict(sigma=(0.3, 1.0), probability=0.5),
        gaussian_noise=dict(std=(0.0, 0.08)),
    )
    config.views = dict(first=both, second=both, eval=dict())
