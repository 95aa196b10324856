"""Detection: boxes with probabilities around findings, in one pass over the image.

python -m medssl_jax.main --config=configs/detect.py
python -m medssl_jax.main --config=configs/detect.py:images --config.data.root=DIR \\
    --config.data.boxes=BOXES.csv --config.data.kinds="('nodule','mass')" --config.method.kinds=2
python -m medssl_jax.main --config=configs/detect.py:coco --config.data.root=DIR \\
    --config.data.boxes=INSTANCES.json --config.method.kinds=80
python -m medssl_jax.main --config=configs/detect.py:nifti --config.data.root=IMAGES \\
    --config.data.masks=MASKS --config.data.spacing_mm="(3.0, 1.5, 1.5)"

demo    nodules and pneumothorax in phantom chest radiographs, minutes on two CPU cores;
        ends with FROC .81, AUC of cases .95, average precision at .5 .77, and pictures of
        what was missed.
xray    the published detector on one's own radiographs: ResNet-50 w2, whole images,
        several scales, boxes in one pass; nodules or masses, and pneumothorax. Published
        (fine-tuned from 1.3 million radiographs): AUC of cases with a lesion .942, of
        random weights .77, with half of the labels .91 and .73. Not yet run: the data is not
        public. Side, rate, batch and length are ours, as is FCOS: the paper says "fully
        convolutional, multi-scale, in one pass" of its own network.
images  a folder of images, and a CSV path,x0,y0,x1,y1,label,patient of pixels; images
        without a row are healthy. With data.labels, only the images it lists.
coco    a folder of images and COCO's JSON.
shards  of configs/prepare.py.
brains  3D: metastases in phantom brains, half an hour of one CPU core; ends with FROC .44,
        AUC of brains with a metastasis .83, average precision at .5 .12.
nifti, itk (MetaImage, NRRD, Analyze), msd  one's own volumes and masks, each connected
        piece of which becomes a box, if it has data.lesion_boxes voxels; its kind is its
        class, without the background. data.shape has to hold a whole volume at
        data.spacing_mm.

init_from is a run, an encoder, torchvision weights (.safetensors), or "" for random;
model is the pretrained one's. data.kinds names the boxes' labels, in their order; if it is
(), a CSV's labels are numbers from 0, and COCO's categories are in the order of their ids.
data.most_boxes is a limit on boxes of an image.
Source: arXiv:2201.01283, section IV-A; FCOS, arXiv:1904.01355.
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom_chests", count=1024, seed=0, size_pixels=(96, 96)),
    "xray": dict(name="images", kinds=("lesion", "pneumothorax")),
    "images": dict(name="images"),
    "coco": dict(name="images"),
    "shards": dict(name="shards", split="train"),
    "brains": dict(
        name="phantom_brains",
        count=256,
        seed=0,
        size_voxels=(16, 64, 64),
        metastasis_fraction=0.5,
    ),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "msd": dict(name="msd"),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = published(variant)
    if variant == "demo":
        demo(config)
    elif variant in ("brains", "nifti", "itk", "msd"):
        volumes(config)
        if variant == "brains":
            brains(config)
    elif variant != "xray":
        own_images(config)
    return config


def published(variant: str) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.name = f"detect-{variant}"
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 8
    config.train_epochs = 50.0
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=2)
    config.method = dict(
        name="detect",
        kinds=2,
        levels=3,
        coarser=2,
        width=256,
        depth=4,
        middle=True,
        alpha=0.25,
        gamma=2.0,
        least_points=8.0,
        candidates=1000,
        most=100,
        overlap=0.6,
        frozen_epochs=0.0,
        frozen_statistics=True,
    )
    config.model = dict(  # ResNet-50 w2
        name="resnet",
        ndim=2,
        layers=(3, 4, 6, 3),
        block="bottleneck",
        width=128,
        stem="imagenet",
    )
    config.optimizer = dict(
        name="adamw",
        b1=0.9,
        b2=0.999,
        weight_decay=1e-4,
        clip_norm=1.0,
        backbone_rate=1.0,  # what its learning rate is multiplied by
    )
    config.schedule = dict(name="cosine", peak=1e-4, warmup_epochs=1.0)
    config.views = views(degrees=10.0)
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(1024, 1024),
        longest_side=1024,  # whole, and padded to a square
        window="percentiles",
        most_boxes=16,
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
    config.evaluation = (ConfigDict(dict(name="detect", hit="centre")),)
    return config


def views(degrees: float) -> dict:
    """Turned, scaled, shifted and of another contrast; left stays left."""
    first = dict(
        affine=dict(
            rotation_degrees=(-degrees, degrees),
            scale=(0.9, 1.1),
            translation=(-0.05, 0.05),
        ),
        jitter=dict(brightness=(0.8, 1.2), contrast=(0.8, 1.2), probability=0.8),
        gamma=dict(log_gamma=(-0.3, 0.3)),
    )
    return dict(first=first, eval=dict())


def own_images(config: ConfigDict) -> None:
    """Any images with boxes, a fifth of the patients held out for the test."""
    config.data.update(shape=(256, 256), longest_side=256, workers=2)
    config.model.update(layers=(2, 2, 2, 2), block="basic", width=64)  # ResNet-18
    config.method.update(width=128, depth=2)
    config.batch_size = config.micro_batch_size = 16
    config.schedule.peak = 5e-4


def volumes(config: ConfigDict) -> None:
    """Whole volumes, turned in the plane; boxes around the pieces of their masks."""
    config.data.update(shape=(48, 128, 128), longest_side=None, workers=2)
    config.data.update(lesion_boxes=8, most_boxes=32)
    config.model.update(ndim=3, layers=(1, 1, 1, 1), block="basic", width=32)
    config.model.stem = "small"
    config.method.update(kinds=1, width=64, depth=2, coarser=1)
    config.batch_size = config.micro_batch_size = 2
    config.schedule.peak = 5e-4
    config.views.first.affine.axes = (-2, -1)


def brains(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(shape=(16, 64, 64), workers=0, most_boxes=8)
    config.splits = dict(
        validation=dict(seed=1, count=48), test=dict(seed=2, count=128)
    )
    config.model.width = 16
    config.method.update(width=32, coarser=0, candidates=200, most=8)
    config.batch_size = config.micro_batch_size = 8
    config.train_epochs = 10.0
    config.log_every_steps = 32
    config.schedule.peak = 2e-3


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(shape=(96, 96), longest_side=96, workers=0, most_boxes=4)
    config.splits = dict(
        validation=dict(seed=1, count=128), test=dict(seed=2, count=384)
    )
    # points two pixels apart: a nodule is as small as four
    config.model.update(layers=(1, 1, 1, 1), block="basic", width=16, stem="small")
    config.method.update(width=32, depth=2, coarser=1, candidates=200, most=8)
    config.batch_size = config.micro_batch_size = 16
    config.train_epochs = 8.0
    config.log_every_steps = 32
    config.schedule.peak = 2e-3
