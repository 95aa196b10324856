"""MICLe: SimCLR whose two views are of two images of one patient, where there are two.

python -m medssl_jax.main --config=configs/micle.py
python -m medssl_jax.main --config=configs/micle.py:derm --config.data.root=DIR \\
    --config.init_from=RUN

demo  phantom knee slices, after configs/simclr.py's demo; minutes on two CPU cores.
derm  batch 128, rate .1, 100,000 updates from a SimCLR run, views as there. Not yet
      run: the data is not to be had here. Published, ResNet-152 2x: top-1 70.02 +- .22 %.
      For one's own: data.labels is a CSV path,label,patient; a bag is a patient.
npz   one's own radiographs, arrays in one file; data.patients is their ids' key there.

An epoch is one pass over the bags, and no patient is twice in a batch. train_epochs is
the paper's updates x batch / cases: of n patients, set it so. model is that of
init_from, which gives the backbone; the head starts anew. Larger ones and views for
X-rays are in configs/simclr.py.

Reproduces arXiv:2101.05224, section 3.2; its public code declares the option only.
"""

from ml_collections import ConfigDict, config_dict

SOURCES = {
    "demo": dict(
        name="phantom_slices",
        count=1024,
        seed=0,
        size_pixels=(64, 64),
        images_per_patient=(1, 4),
    ),
    "derm": dict(name="images", root="", labels="", unlisted="raise", channels="rgb"),
    "npz": dict(
        name="npz",
        root="",
        images="images",
        labels="labels",
        patients="patient",
        names="",
        findings="",
        channels_last=False,
    ),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(SOURCES[variant])
    config.name = f"micle-{variant}"
    if variant == "demo":
        demo(config)
    if variant == "npz":
        radiographs(config)
    return config


def published(source: dict) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.name = ""
    config.seed = 0
    config.init_from = ""  # a SimCLR run
    config.parallel = "shard_map"
    config.precision = "auto"
    config.batch_size = config.micro_batch_size = 128  # bags, over all devices
    config.train_epochs = 100_000 * 128 / 15_340
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
        name="cosine", peak=0.1, scaling="linear", warmup_epochs=10.0
    )
    config.data = source | dict(
        shape=(256, 256),
        frames="all",
        spacing_mm=config_dict.placeholder(tuple),
        resize=config_dict.placeholder(tuple),
        window="none",
        percentiles=(0.5, 99.5),
        window_hu=config_dict.placeholder(tuple),
        workers=8,
        cache="",
        on_error="raise",
        balance="",
        sampler="bags",
    )
    config.data.resize = (256,)  # the shorter side
    both = dict(
        random_resized_crop=dict(
            scale=(0.08, 1.0), aspect=(0.75, 4 / 3), size=(224, 224)
        ),
        flip=dict(probability=0.5),
        color_jitter=dict(strength=1.0, probability=0.8),
        greyscale=dict(probability=0.2),
        gaussian_blur=dict(sigma=(0.1, 2.0), probability=0.5),
    )
    eval_view = dict(centre_crop=dict(size=(224, 224)))
    config.views = dict(first=both, second=both, eval=eval_view)
    config.splits = dict(test=dict(fraction=0.0))
    config.evaluation = dict(name="probe", neighbours=20, temperature=0.07)
    return config


def radiographs(config: ConfigDict) -> None:
    """One's own grey images of 224 x 224 in an archive, with views for X-rays."""
    config.data.update(shape=(224, 224), resize=None, workers=2)
    config.train_epochs = 100.0
    both = dict(
        random_resized_crop=dict(
            scale=(0.08, 1.0), aspect=(0.75, 4 / 3), size=(224, 224)
        ),
        flip=dict(probability=0.5),
        affine=dict(rotation_degrees=(-45.0, 45.0)),
        color_jitter=dict(strength=0.5, probability=0.8),
    )
    config.views = dict(first=both, second=both, eval=dict())


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.init_from = "runs/simclr-demo"
    config.data.update(shape=(64, 64), window="percentiles", workers=0, resize=None)
    config.data.cache = "cache"
    config.splits = dict(probe=dict(seed=1, count=512), test=dict(seed=2, count=512))
    config.model.update(layers=(1, 1, 1, 1), block="basic", width=16)
    config.method.update(hidden_size=128, output_size=64, temperature=0.2)
    config.batch_size = config.micro_batch_size = 64
    config.train_epochs = 20.0
    config.log_every_steps = 8
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    config.schedule = dict(name="cosine", peak=1e-3, scaling="none", warmup_epochs=1.0)
    both = dict(
        random_resized_crop=dict(scale=(0.4, 1.0), aspect=(0.75, 4 / 3), size=(64, 64)),
        flip=dict(probability=0.5),
        affine=dict(rotation_degrees=(-15.0, 15.0)),
        color_jitter=dict(strength=0.5, probability=0.8),
        gaussian_blur=dict(sigma=(0.3, 1.0), probability=0.5),
        gaussian_noise=dict(std=(0.0, 0.08)),
    )
    config.views = dict(first=both, second=both, eval=dict())
