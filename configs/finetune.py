"""Fine-tuning on 2D images: one class of several, or several findings each.

python -m medssl_jax.main --config=configs/finetune.py --config.init_from=RUN
python -m medssl_jax.main --config=configs/finetune.py:chexpert --config.data.root=DIR

demo      phantom knee slices, torn ligament or not, minutes on two CPU cores.
chexpert  the published protocol on frontal radiographs as the release lies on disk:
          five findings, 224 px, SGD momentum .9, batch 256, 30,000 updates. Published
          (ResNet-152 2x, SimCLR on ImageNet, then CheXpert): mean AUC .7729 +- .001.
          Not yet run: CheXpert is not to be had here; splits and schedule are ours.
aptos     five grades of retinopathy of APTOS 2019, as the release lies on disk: DenseNet-121
          at 224 px, its backbone frozen for 5 epochs, judged by kappa with quadratic
          weights. Published (a rerun of Taleb et al. 2020, all labels): .725 from random
          weights, .754 after relative patch location; 5 to 100 % of the labels are
          configs/label_efficiency.py:finetune:aptos. Not yet run: it is not to be had
          here; rate, batch, length and splits are ours. After configs/proxy.py's
          TASK_2d:published, of DIR/train_images, which sees those of the test too.
images, npz, medmnist, tfds, shards (of configs/prepare.py, data.resize as here)
          one's own: data.labels is a CSV path,label,patient, or with a column for each
          finding path,edema,effusion,patient; then --config.method.classes=0
          --config.method.findings=2. Grades, whose order counts, are --config.method.classes=5
          --config.method.ordered=True; they are judged by kappa with quadratic weights.

The paper chooses on validation schedule.peak of 10 ** -3.5, -3, ... -0.5 (seven) and
optimizer.weight_decay of 0, 1e-5, 1e-4, 1e-3, and trains the chosen ten times.
init_from is a run, an encoder, torchvision weights (.safetensors), or "" for random;
model is the pretrained one's: after configs/proxy.py:TASK_2d
--config.model='{"name": "unet", "ndim": 2, "width": 16, "levels": 5}'.
Source: arXiv:2101.05224.
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom_slices", count=512, seed=3, size_pixels=(64, 64)),
    # U-Ignore, or zeros, ones; what a report does not mention is absent
    "chexpert": dict(name="chexpert", split="train", uncertain="ignore", blank="zeros"),
    "aptos": dict(name="aptos"),
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
        config.method.update(classes=0, findings=len(config.data.findings))
    elif variant == "aptos":
        aptos(config)
    elif variant == "demo":
        demo(config)
    else:
        own_images(config, variant)
    return config


def published(variant: str) -> ConfigDict:
    config = ConfigDict()
    config.command = "train"
    config.name = f"finetune-{variant}"
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 256
    # 30,000 updates of CheXpert's 191,000 frontal images less a fifth less a tenth
    config.train_epochs = 30_000 * 256 / 137_500
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=2)
    config.method = dict(
        name="supervised",
        classes=2,
        findings=0,
        ordered=False,
        ordinal_head=False,
        hidden_sizes=(),
        frozen_epochs=0.0,
        frozen_statistics=True,
    )
    config.model = dict(
        name="resnet",
        ndim=2,
        layers=(3, 4, 6, 3),
        block="bottleneck",
        width=64,
        stem="imagenet",
    )
    config.optimizer = dict(
        name="sgd",
        momentum=0.9,
        nesterov=False,
        weight_decay=0.0,
        backbone_rate=1.0,  # what its learning rate is multiplied by
    )
    config.schedule = dict(name="cosine", peak=10**-1.5, warmup_epochs=0.0)
    config.views = views(size=(224, 224), least=0.5)
    config.data = settings.training(
        settings.source(**SOURCES[variant]), shape=(256, 256), workers=8
    ) | dict(
        label_fraction=1.0,  # by patient; fewer are fed more often: as many updates
        split_seed=config_dict.placeholder(int),  # None: config.seed
        unlabelled="keep",  # or "drop": leave examples without a label out
    )
    config.data.resize = (256,)  # the shorter side
    config.splits = dict(
        # or other rows of a table that data.only chooses from: only="split=test"
        validation=dict(fraction=0.1, only=""),
        test=dict(fraction=0.2, only=""),
    )
    config.evaluation = (ConfigDict(dict(name="classify", floor=True)),)
    return config


def views(size: tuple[int, int], least: float) -> dict:
    """Random crops and flips to train on, the whole image to predict on.

    Brightness is as in configs/simclr.py: an encoder expects what it was trained on.
    """
    first = dict(
        random_resized_crop=dict(scale=(least, 1.0), aspect=(0.75, 1.33), size=size),
        flip=dict(probability=0.5),
    )
    return dict(first=first, eval=dict(resize=dict(size=size)))


def aptos(config: ConfigDict) -> None:
    """The proxy tasks' 2D judgement, on the encoder that they pretrain."""
    config.method.update(classes=5, ordered=True, frozen_epochs=5.0)
    config.model = dict(
        name="densenet",
        ndim=2,
        blocks=(6, 12, 24, 16),
        initial_features=64,
        growth=32,
        stem="imagenet",
    )
    # photographs of 3000 pixels: decoded and shrunk once
    config.data.update(shape=(224, 224), resize=(224, 224), cache="cache")
    config.data.update(window="percentiles", percentiles=(0.0, 100.0))  # as proxy's
    config.views = views(size=(224, 224), least=0.7)
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999, backbone_rate=1.0)
    config.schedule.peak = 1e-4
    config.batch_size = config.micro_batch_size = 32
    config.train_epochs = 50.0


def own_images(config: ConfigDict, variant: str) -> None:
    """Any labelled images, a fifth of the patients held out for the test."""
    config.data.update(workers=2, cache="cache")
    config.batch_size = config.micro_batch_size = 64
    config.train_epochs = 50.0
    if variant in ("images", "shards"):
        config.data.window = "percentiles"
    if variant == "npz":  # of one size already
        config.data.update(shape=(224, 224), resize=None)
    if variant == "medmnist":  # 28 x 28, with splits of its own
        config.data.update(shape=(28, 28), resize=None)
        config.model.update(stem="small", layers=(2, 2, 2, 2), block="basic")
        config.views = views(size=(28, 28), least=0.7)
        config.splits = dict(validation=dict(split="val"), test=dict(split="test"))


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(shape=(64, 64), window="percentiles", workers=0, resize=None)
    config.data.cache = "cache"
    config.splits.test = dict(seed=2, count=512)
    config.model.update(layers=(1, 1, 1, 1), block="basic", width=16)
    config.batch_size = config.micro_batch_size = 32
    config.train_epochs = 20.0
    config.log_every_steps = 16
    config.views = views(size=(64, 64), least=0.7)
