"""BYOLMed3D: 3D BYOL with gradient accumulation.

python -m medssl_jax.main --config=configs/byol3d.py
python -m medssl_jax.main --config=configs/byol3d.py:mrnet --config.data.root=DIR
python -m medssl_jax.main --config=configs/byol3d.py:nifti --config.data.root=DIR

demo   phantom knees, some two minutes on two idle CPU cores; ends with a table of AUCs.
mrnet  the published recipe in full (R3D-18, 16 x 224 x 224, 4 x 64 = 256, LARS .2,
       cosine, 200 epochs). Not yet run: MRNet is not to be had here. Four clips on a
       TPU v5e take 5.0 of its 16 GiB (compiled for it by benchmarks/aot.py).
nifti, itk (MetaImage, NRRD, Analyze), dicom, npy, medmnist, shards (of
       configs/prepare.py)  one's own volumes at 32 x 64 x 64 (medmnist: 28^3); set data.shape and
       data.spacing_mm to the anatomy, data.window=hu and data.window_hu for CT. With the
       same data.labels, splits.test.fraction=.2 holds out those whom
       configs/finetune_mrnet.py tests.
The encoder half of a U-Net, for segmentation: configs/pretrain_unet.py.

Reproduces BYOLMed3D (2022), and BYOL (arXiv:2006.07733) where it is silent.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom", count=1024, seed=0, size_voxels=(12, 32, 32)),
    "mrnet": dict(name="mrnet", split="train", plane="sagittal", task="acl"),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "dicom": dict(name="dicom"),
    "npy": dict(name="npy"),
    "medmnist": dict(name="medmnist", split="train"),
    "shards": dict(name="shards", split="train"),
}
TESTS = {"mrnet": "valid", "medmnist": "test"}  # the splits of those that have one


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(variant)
    if variant == "demo":
        demo(config)
    elif variant != "mrnet":
        own_scans(config, variant)
    return config


def published(variant: str) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.name = f"byol3d-{variant}"
    config.seed = 0
    config.init_from = ""  # a run, an encoder, or torchvision weights (.safetensors)
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = 256  # samples per update, over all devices
    config.micro_batch_size = 4  # samples per step, over all devices
    config.train_epochs = 200.0
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=3)
    config.method = dict(name="byol", hidden_size=4096, output_size=256, base_tau=0.996)
    config.model = dict(
        name="resnet", ndim=3, layers=(2, 2, 2, 2), block="basic", width=64, stem="r3d"
    )
    config.optimizer = dict(
        name="lars",
        weight_decay=1.5e-6,
        momentum=0.9,
        trust_coefficient=1e-3,
        lr_after_momentum=True,
    )
    config.schedule = dict(name="cosine", peak=0.2, warmup_epochs=0.0)
    config.views = dict(
        first=view(size=(224, 224), blur=0.6),
        second=view(size=(224, 224), blur=0.4),
        eval=dict(centre_crop=dict(size=(224, 224)), standardise=dict()),
    )
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(16, 256, 256),
        frames="random",
        workers=8,
    )
    config.splits = dict(test=dict(fraction=0.0))
    if variant in TESTS:
        config.splits = dict(test=dict(split=TESTS[variant]))
    config.evaluation = (
        ConfigDict(dict(name="probe", neighbours=20, temperature=0.07, floor=True)),
    )
    return config


def view(size: tuple[int, int], blur: float) -> dict:
    """Views of the public code: the paper says only that there are two."""
    return dict(
        random_resized_crop=dict(scale=(0.5, 1.0), size=size),
        flip=dict(probability=0.0),  # it would swap left and right knees
        jitter=dict(brightness=(0.6, 1.4), contrast=(0.6, 1.4), probability=0.8),
        gaussian_blur=dict(sigma=(0.8, 2.0), probability=blur),
        standardise=dict(),
    )


def own_scans(config: ConfigDict, variant: str) -> None:
    """Any volumes, windowed by percentiles; MedMNIST's are bytes, 28 voxels wide."""
    shape = (28, 28, 28) if variant == "medmnist" else (32, 64, 64)
    config.data.update(shape=shape, frames="all", workers=2)
    if variant != "medmnist":
        config.data.update(window="percentiles", cache="cache")
    config.views.first = view(size=shape[1:], blur=0.6)
    config.views.second = view(size=shape[1:], blur=0.4)
    config.views.eval = dict(standardise=dict())


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(
        shape=(12, 32, 32), window="percentiles", workers=0, cache="cache"
    )
    config.splits = dict(probe=dict(seed=1, count=512), test=dict(seed=2, count=2048))
    config.model.width = 8
    config.batch_size, config.micro_batch_size = 32, 16
    config.train_epochs = 6.0
    config.log_every_steps = 16
    # 192 updates, not 200 epochs: a faster optimizer and target
    config.method.update(hidden_size=256, output_size=64, base_tau=0.97)
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    config.schedule.update(peak=2e-3, warmup_epochs=0.5)
    # what phantoms vary in beside the ligament: pose, side, contrast, noise; with less
    # rotation and translation the encoder learns pose and coil first
    both = dict(
        random_resized_crop=dict(scale=(0.5, 1.0), aspect=(0.8, 1.25), size=(32, 32)),
        affine=dict(rotation_degrees=(-20.0, 20.0), translation=(-0.15, 0.15)),
        flip=dict(axis=-3, probability=0.5),
        jitter=dict(brightness=(0.6, 1.4), contrast=(0.6, 1.4), probability=0.8),
        gamma=dict(log_gamma=(-0.3, 0.3)),
        gaussian_blur=dict(sigma=(0.3, 1.0), probability=0.5),
        gaussian_noise=dict(std=(0.0, 0.08)),
        standardise=dict(),
    )
    config.views = dict(first=both, second=both, eval=dict(standardise=dict()))
