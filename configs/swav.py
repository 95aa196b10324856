"""SwAV for medicine: online clustering, by modality, with labels where there are some.

python -m medssl_jax.main --config=configs/swav.py
python -m medssl_jax.main --config=configs/swav.py:xray --config.data.root=DIR
python -m medssl_jax.main --config=configs/swav.py:multimodal \\
    --config.data.sources[0].root=CT --config.data.sources[1].root=MR \\
    --config.data.sources[2].root=XRAY --config.data.sources[3].root=US
python -m medssl_jax.main --config=configs/swav.py:ct3d --config.data.root=DIR

demo        phantom knees as MR, CT and ultrasound see them, a tenth of the labels;
            tested on MR; five minutes on two CPU cores.
xray        2D, one modality, ResNet-50 w2, 100 epochs at batch 32 per GPU.
multimodal  2D, prototypes, Sinkhorn and queue for each of four; shards or images. 16 on a
            TPU v5e take 5.3 of its 16 GiB (compiled for it by benchmarks/aot.py).
ct3d        3D, densely connected network, batch 4 per GPU; a TPU v5e holds 2 (13.0 of 16 GiB).
nifti3d     the same on NIfTI, itk3d on MetaImage, NRRD and Analyze;
            data.window=percentiles is for MR.
The published three are not yet run: the data (1.3, 105 million images, 24,440 volumes)
is not public. Published, fine-tuned: lesions in chest X-rays AUC .942, haemorrhage in
head CT .94 (test). Small images of one's own: configs/swav_small.py.

Batches are per GPU in the paper, on 32: set batch_size = micro_batch_size to 32 times
what is here on as many. With the fine-tuning's table, splits.test.fraction=.2 holds out those
whom it tests. Labels: method.beta=1 and method.classes (or findings) of
data.labels; data.known_labels shows a share of them.

Reproduces arXiv:2201.01283, sections III and IV-B and table I.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SIGMAS = (2.0, 4.0, 8.0, 16.0, 32.0)  # pixels, doubling as in Philipsen et al. 2015


def phantoms(scanner: str, **chosen) -> dict:
    chosen.update(modality=scanner, scanner=scanner, size_pixels=(64, 64))
    return dict(name="phantom_slices", **chosen)


SOURCES = {
    "demo": [
        phantoms("mr", seed=0, count=1024),
        phantoms("ct", seed=1, count=512),
        phantoms("us", seed=2, count=256),
    ],
    "xray": [dict(name="images")],
    "multimodal": [
        dict(name="images", modality=kind) for kind in ("ct", "mr", "xray", "us")
    ],
    "ct3d": [dict(name="dicom")],
    "nifti3d": [dict(name="nifti")],
    "itk3d": [dict(name="itk")],
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "train"
    config.name = f"swav-{variant}"
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=3)
    config.optimizer = dict(
        name="larc", weight_decay=1e-6, momentum=0.9, trust_coefficient=1e-3
    )
    config.schedule = dict(
        name="swav", peak=0.6, start=0.6, end=6e-4, warmup_epochs=0.0, scaling="none"
    )
    several = len(SOURCES[variant]) > 1
    config.data = settings.training(
        settings.mixture(*SOURCES[variant])
        if several
        else settings.source(**SOURCES[variant][0])
    )
    config.data.known_labels = 1.0  # the share of the labels that method.beta weighs
    config.splits = dict(test=dict(fraction=0.0))
    config.evaluation = (
        ConfigDict(dict(name="probe", neighbours=20, temperature=0.07, floor=True)),
    )
    volumes(config) if variant in ("ct3d", "nifti3d", "itk3d") else images(config)
    if several:
        config.data.sampler = "modalities"
        config.method.modalities = tuple(s["modality"] for s in SOURCES[variant])
    if variant == "demo":
        demo(config)
    return config


def images(config: ConfigDict) -> None:
    """2D: table I's first column."""
    config.batch_size = config.micro_batch_size = 32
    config.train_epochs = 100.0
    config.model = dict(  # ResNet-50 w2; w4 is width 256; 152: layers (3, 8, 36, 3)
        name="resnet",
        ndim=2,
        layers=(3, 4, 6, 3),
        block="bottleneck",
        width=128,
        stem="imagenet",
    )
    config.method = method(6, 3000, frozen=10_000, queue=3840, queue_from=10.0)
    config.data.update(shape=(1500, 1500), window="percentiles", workers=8)
    config.data.resize = (1500, 1500)
    sizes = ((600, 600), (1200, 1200))
    config.views = dict(
        assigned=view(sizes, (224, 224)),
        small=view(sizes, (92, 92)),
        eval=evaluated((224, 224)),
    )


def volumes(config: ConfigDict) -> None:
    """3D: table I's second column; its one assigned crop has to be two."""
    config.batch_size = config.micro_batch_size = 4
    config.train_epochs = 100.0
    config.model = dict(
        name="in_plane_densenet",
        ndim=3,
        blocks=(1, 2, 3, 3, 3),
        in_plane_blocks=2,
        initial_features=16,
        growth=7,
        features=1024,
    )
    config.method = method(4, 1500, frozen=4_000, queue=1920, queue_from=3.0)
    config.data.update(shape=(40, 320, 260), window="hu", workers=8)
    config.data.window_hu = (-45.0, 155.0)  # head: centre 55, width 200
    config.views = dict(
        # not from (112, 96) on: these crops do not fit into that
        assigned=view(((224, 192), (250, 200)), (224, 192)),
        small=view(((112, 96), (250, 200)), (112, 96)),
        eval=evaluated((224, 192)),
    )


def method(
    small: int, prototypes: int, *, frozen: int, queue: int, queue_from: float
) -> dict:
    return dict(
        name="swav",
        hidden_size=2048,
        output_size=128,
        crops=dict(assigned=2, small=small),
        prototypes=prototypes,
        temperature=0.1,
        epsilon=0.03,
        iterations=3,
        frozen_updates=frozen,
        queue_length=queue,
        queue_from_epoch=queue_from,
        modalities=(),
        alpha=1.0,
        beta=0.0,
        classes=0,
        findings=0,
    )


def view(sizes: tuple, crop: tuple[int, int]) -> dict:
    """Section III-C; how often each is done is not said, and here it is always."""
    return dict(
        energy_bands=dict(sigmas=SIGMAS, mean=(), std=()),  # measured as the run starts
        rescaled_crop=dict(rescaled_to=sizes, size=crop, border=0.1),
        gamma=dict(exponent=(1.8, 2.6)),
        linear=dict(factor=(0.9, 1.1), offset=(-0.2, 0.2)),
    )


def evaluated(size: tuple[int, int]) -> dict:
    """The whole image, as bright as the middle of what was trained on."""
    return dict(
        energy_bands=dict(sigmas=SIGMAS, mean=(), std=0.0),
        resize=dict(size=size),
        gamma=dict(exponent=2.2),
    )


def demo(config: ConfigDict) -> None:
    """Small enough for two cores. Tested on MR, which shows the ligament."""
    config.batch_size = config.micro_batch_size = 120
    config.train_epochs = 45.0
    config.log_every_steps = 16
    config.data.update(shape=(64, 64), workers=0, resize=None, known_labels=0.1)
    config.model.update(layers=(1, 1, 1, 1), block="basic", width=16)
    config.method.update(
        hidden_size=128,
        output_size=64,
        prototypes=16,
        frozen_updates=16,
        queue_length=80,
        queue_from_epoch=36.0,  # while much is learnt, what it holds is out of date
        beta=2.0,
        classes=2,
    )
    config.method.crops = dict(assigned=2)  # a smaller crop seldom holds the ligament
    # LARC hardly moves in so few updates, or collapses
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    config.schedule = dict(name="cosine", peak=2e-3, scaling="none", warmup_epochs=1.0)
    assigned = dict(
        random_resized_crop=dict(scale=(0.4, 1.0), aspect=(0.75, 4 / 3), size=(64, 64)),
        flip=dict(probability=0.5),
        affine=dict(rotation_degrees=(-15.0, 15.0)),
        color_jitter=dict(strength=0.5, probability=0.8),
        gaussian_blur=dict(sigma=(0.3, 1.0), probability=0.5),
        gaussian_noise=dict(std=(0.0, 0.08)),
    )
    config.views = dict(assigned=assigned, eval=dict())
    config.splits = dict(
        probe=settings.mixture(phantoms("mr", seed=3, count=512)),
        test=settings.mixture(phantoms("mr", seed=4, count=512)),
    )
