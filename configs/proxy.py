"""Five proxy tasks in 3D and 2D: rotation, jigsaw, relative patch location, exemplar, CPC.

python -m medssl_jax.main --config=configs/proxy.py:rotation
python -m medssl_jax.main --config=configs/proxy.py:jigsaw:nifti --config.data.root=DIR
python -m medssl_jax.main --config=configs/proxy.py:cpc_2d:images --config.data.root=DIR

TASK is rotation, jigsaw, relative_patch_location, exemplar or cpc; or joint, which is
rotation, jigsaw and exemplar at once on one network, their losses weighed. With _2d behind
it, it is the same on images. After a colon comes what it learns from:

demo       phantom knees (volumes 32^3, or slices), minutes on two CPU cores; the default.
published  Taleb et al. 2020: volumes of the decathlon's layout, cropped to the body, their
           longest side brought to 128 and the others filled up (the public code stretches
           them), a 3D U-Net, Adam 1e-4, 1000 epochs, batches of 8 (jigsaw), 32 (relative
           patch location, CPC), 4 (rotation) and 2 (exemplar). In 2D a folder of fundus
           images in colour at 224, on DenseNet-121. Not yet run: the data is not to be had.
           None of joint, which nobody has published.
nifti, itk, msd, dicom (3D), images (2D), npy, npz, medmnist, shards
           one's own, batches of 32, 200 epochs. Of msd a fifth is held out, the cases that
           configs/segment.py:msd tests; of the others nobody: splits.test.fraction=.2,
           and the table of the fine-tuning where it has one.

A grid of patches has 3 cells a side: 128 voxels make cells of 42, of which 3 are jitter.
configs/segment.py and configs/finetune.py start from the result: config.init_from=RUN,
config.method.frozen_epochs=25 or 5; after jigsaw, relative patch location and CPC, whose
encoder saw patches only, config.method.frozen_statistics=False. Departures from the public
codes stand in the methods.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

TASKS = ("rotation", "jigsaw", "relative_patch_location", "exemplar", "cpc")
# of joint, and what makes their losses alike where they guess: ln 10, ln 100 and .1
WEIGHTS = dict(rotation=1.0, jigsaw=0.5, exemplar=20.0)
PUBLISHED_BATCH = dict(
    rotation=4, jigsaw=8, relative_patch_location=32, exemplar=2, cpc=32
)
DEMO = {
    3: dict(name="phantom", count=512, seed=0, size_voxels=(32, 32, 32)),
    2: dict(name="phantom_slices", count=1024, seed=0, size_pixels=(64, 64)),
}
OWN = {
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "msd": dict(name="msd"),
    "dicom": dict(name="dicom"),
    "images": dict(name="images"),
    "npy": dict(name="npy"),
    "npz": dict(name="npz"),
    "medmnist": dict(name="medmnist", split="train"),
    "shards": dict(name="shards", split="train"),
}
OF_NDIM = {3: ("nifti", "itk", "msd", "dicom"), 2: ("images",)}
OF_ANY = ("npy", "npz", "medmnist", "shards")
# of each variant: the task, the axes of its images, where these are from
SOURCES = {
    f"{task}{'_2d' if ndim == 2 else ''}{f':{source}' if source else ''}": (
        task,
        ndim,
        source,
    )
    for task in (*TASKS, "joint")
    for ndim in (3, 2)
    for source in ("", "published", *OF_NDIM[ndim], *OF_ANY)
    if (task, source) != ("joint", "published")
}


def get_config(variant: str = "rotation") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    task, ndim, source = SOURCES[variant]
    config = shared(ndim)
    config.name = f"proxy-{variant.replace(':', '-')}"
    if not source:
        demo(config, task, ndim)
    elif source == "published":
        published(config, task, ndim)
    else:
        own(config, ndim, source)
    # CPC's grid: 7 patches a side, 3 in the demo
    patch = config.data.shape[-1] // (4 if source else 2)
    config.method = method(task, side=config.data.shape[-1], patch=patch)
    config.views = views(task, ndim)
    return config


def shared(ndim: int) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 32
    config.log_every_steps = 16
    config.checkpoint = dict(every_epochs=1.0, keep=2)
    config.model = dict(name="unet", ndim=ndim, width=16, levels=5)
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    config.schedule = dict(name="cosine", peak=1e-3, scaling="none", warmup_epochs=1.0)
    config.splits = dict(test=dict(fraction=0.0))
    config.evaluation = (
        ConfigDict(dict(name="probe", neighbours=20, temperature=0.07, floor=True)),
    )
    return config


def method(task: str, side: int, patch: int) -> dict:
    """Settings of a task on images of `side` voxels; `patch` is the side of CPC's."""
    if task == "joint":
        tasks = {one: method(one, side, patch) for one in WEIGHTS}
        for settings in tasks.values():
            settings["weight"] = WEIGHTS[settings.pop("name")]
        return dict(name="joint", tasks=tasks)
    cell = side // 3
    of_patches = dict(jitter=max(1, cell // 14), standardise=True, hidden_sizes=(1024,))
    return (
        dict(name=task)
        | {
            "rotation": dict(hidden_sizes=(1024,)),
            "jigsaw": dict(orders=100, seed=0, **of_patches),
            "relative_patch_location": of_patches,
            # a margin of 1, as published, is never reached by sigmoid codes
            "exemplar": dict(output_size=1024, margin=0.1, hardest=False),
            "cpc": dict(
                patch=patch,
                stride=patch // 2,
                standardise=True,
                code_size=128,
                context_size=256,
                steps=2,
                temperature=0.1,
                negatives="images",
            ),
        }[task]
    )


def views(task: str, ndim: int) -> dict:
    """What the task changes, and it alone.

    Exemplar's second has the published ranges and flips. There rotation is drawn for each plane,
    half of it by right angles, and zoom at .15: here one draw decides of all of these.
    """
    axes = tuple(range(-ndim, 0))
    plain = dict()
    if task not in ("exemplar", "joint"):
        return dict(first=plain, eval=plain)
    altered = dict(
        flip=dict(axis=axes, probability=0.5),
        affine=dict(
            rotation_degrees=(-90.0, 90.0), scale=(0.8, 1.2), axes=axes, probability=0.5
        ),
        linear=dict(offset=(-0.125, 0.125), probability=0.5),  # brightness
        contrast=dict(factor=(0.5, 1.5), probability=0.5),
    )
    return dict(first=plain, second=altered, eval=plain)


def demo(config: ConfigDict, task: str, ndim: int) -> None:
    """Small enough for two cores."""
    shape = (32,) * 3 if ndim == 3 else (64, 64)
    config.data = settings.training(
        settings.source(**DEMO[ndim]),
        shape=shape,
        window="percentiles",
        workers=0,
        cache="cache",
        sampler="distinct",
    )
    config.splits = dict(probe=dict(seed=1, count=256), test=dict(seed=2, count=512))
    config.model.update(width=8, levels=4)
    config.batch_size = config.micro_batch_size = 16
    # volumes of several tasks, or of many patches, take three times as long
    config.train_epochs = 3.0 if ndim == 3 and task in ("joint", "cpc") else 6.0


def own(config: ConfigDict, ndim: int, source: str) -> None:
    """Any images, or volumes that data.shape cuts cubes of."""
    config.data = settings.training(
        settings.source(**OWN[source]),
        shape=(64,) * 3 if ndim == 3 else (128, 128),
        window="none" if source == "medmnist" else "percentiles",
        workers=2,
        cache="cache",
        sampler="distinct",
    )
    if ndim == 2:
        config.data.resize = (128, 128)
    if source == "msd":  # configs/segment.py:msd tests on these: they are not seen
        config.splits.test.fraction = 0.2
    config.train_epochs = 200.0
    config.checkpoint.every_epochs = 10.0


def published(config: ConfigDict, task: str, ndim: int) -> None:
    own(config, ndim, "msd" if ndim == 3 else "images")
    config.data.update(
        shape=(128,) * 3 if ndim == 3 else (224, 224),
        percentiles=(0.0, 100.0),  # lowest and highest of each volume
        workers=8,
    )
    if ndim == 2:
        config.data.update(resize=(224, 224), channels="rgb")
        config.model = dict(
            name="densenet",
            ndim=2,
            blocks=(6, 12, 24, 16),
            initial_features=64,
            growth=32,
            stem="imagenet",
        )
    else:
        config.data.update(crop_to_body=True, longest_side=128)
    config.train_epochs = 1000.0
    config.schedule = dict(name="cosine", peak=1e-4, scaling="none", warmup_epochs=0.0)
    config.batch_size = config.micro_batch_size = PUBLISHED_BATCH[task]
