"""SwAV for medicine: online clustering, by modality, with labels where there are some.

python -m medssl_jax.main --config=configs/swav.py
python -m medssl_jax.main --config=configs/swav.py:xray --config.data.root=DIR
python -m medssl_jax.main --config=configs/swav.py:multimodal \\
    --config.data.sources[0].root=CT --config.data.sources[1].root=MR \\
    --config.data.sources[2].root=XRAY --config.data.sources[3].root=US
python -m medssl_jax.main --config=configs/swav.py:ct3d --config.data.root=DIR

demo        phantom knees as MR, CT and ultrasound see them, a tenth of the labels;
            five minutes on two CPU cores.
xray        2D, one modality, ResNet-50 w2, 100 epochs at batch 32 per GPU.
multimodal  2D, prototypes, Sinkhorn and queue for each of four; shards or images.
ct3d        3D, densely connected network, batch 4 per GPU.
Not yet run: the data (1.3, 105 million images, 24,440 volumes) is not public. Published,
fine-tuned: lesions in chest X-rays AUC .942, haemorrhage in head CT .94 (test).

Batches are per GPU in the paper, on 32: set batch_size = micro_batch_size to 32 times
what is here on as many. Labels: method.beta=1 and method.classes (or findings) of
data.labels; data.known_labels shows a share of them.

Reproduces arXiv:2201.01283, sections III and IV-B and table I.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

VARIANTS = ("demo", "xray", "multimodal", "ct3d")
MODALITIES = ("ct", "mr", "xray", "us")


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = published(variant)
    config.name = f"swav-{variant}"
    if variant == "demo":
        demo(config)
    return config


def data(variant: str) -> dict:
    """One source, or several with a modality each."""
    images = settings.source("images")
    if variant == "multimodal":
        sources = tuple(ConfigDict(images | {"modality": m}) for m in MODALITIES)
        return settings.training({"sources": sources}, sampler="modalities")
    source = settings.source("dicom") if variant == "ct3d" else images
    return settings.training(source)


def published(variant: str) -> ConfigDict:
    flat = variant != "ct3d"
    config = ConfigDict()
    config.command = "train"
    config.name = ""
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.precision = "auto"
    config.batch_size = config.micro_batch_size = 32 if flat else 4
    config.train_epochs = 100.0
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=3)
    config.method = dict(
        name="swav",
        hidden_size=2048,
        output_size=128,
        crops=dict(assigned=2, small=6 if flat else 4),
        prototypes=3000 if flat else 1500,
        temperature=0.1,
        epsilon=0.03,
        iterations=3,
        frozen_updates=10_000 if flat else 4_000,
        queue_length=3840 if flat else 1920,  # of each modality
        queue_from_epoch=10.0 if flat else 3.0,
        modalities=MODALITIES if variant == "multimodal" else (),
        alpha=1.0,
        beta=0.0,
        classes=0,
        findings=0,
    )
    config.model = resnet() if flat else densenet()
    config.optimizer = dict(
        name="larc", weight_decay=1e-6, momentum=0.9, trust_coefficient=1e-3
    )
    config.schedule = dict(
        name="swav", peak=0.6, start=0.6, end=6e-4, warmup_epochs=0.0, scaling="none"
    )
    config.data = data(variant)
    config.data.update(shape=(1500, 1500) if flat else (40, 320, 260), workers=8)
    config.data.window = "percentiles"
    if flat:
        config.data.resize = (1500, 1500)
        config.views = views(((600, 600), (1200, 1200)), (224, 224), (92, 92))
        config.views.small = config.views.small
    else:
        config.views = views(((224, 192), (250, 200)), (224, 192), (112, 96))
        config.views.small.rescaled_crop.rescaled_to = ((112, 96), (250, 200))
        config.data.update(window="hu", window_hu=(-45.0, 155.0))
    config.splits = dict(test=dict(fraction=0.0))
    config.evaluation = dict(name="probe", neighbours=20, temperature=0.07)
    return config


def resnet() -> dict:
    """ResNet-50 w2; w4 is width 256, ResNet-152 layers (3, 8, 36, 3)."""
    return dict(
        name="resnet",
        ndim=2,
        layers=(3, 4, 6, 3),
        block="bottleneck",
        width=128,
        stem="imagenet",
    )


def densenet() -> dict:
    return dict(
        name="densenet",
        ndim=3,
        blocks=(1, 2, 3, 3, 3),
        in_plane_blocks=2,
        initial_features=16,
        growth=7,
        features=1024,
    )
