"""Fine-tuning of an encoder, or of random weights, with labels.

python -m medssl_jax.main --config=configs/finetune_mrnet.py --config.init_from=RUN
python -m medssl_jax.main --config=configs/finetune_mrnet.py:mrnet \
    --config.data.root=DIR

demo   phantom knees, torn ligament or not, minutes on two CPU cores.
mrnet  BYOLMed3D's downstream task: ACL tear, 16 random frames at 224 x 224, Adam 1e-4,
       x .1 at .6 and .8 of 50 epochs, patient-wise 90:10, the rare class oversampled,
       the lowest validation loss selected; test = the official validation exams.
       Published: accuracy .758, AUC .824, sensitivity .574, specificity .909.
       Not yet run: MRNet is not to be had here.
nifti, itk (MetaImage, NRRD, Analyze), dicom, npy, medmnist, shards (of
       configs/prepare.py)  one's own labelled volumes; data.labels is a CSV path,label,patient.

init_from is a run, an encoder, torchvision weights (.safetensors), or "" for random.
The decay per epoch of the paper: --config.schedule.name=per_epoch
--config.schedule.factor=.98; steps of x .1 are name=multistep, factor=.1.
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom", count=512, seed=3, size_voxels=(12, 32, 32)),
    "mrnet": dict(name="mrnet", split="train", plane="sagittal", task="acl"),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "dicom": dict(name="dicom"),
    "npy": dict(name="npy"),
    "medmnist": dict(name="medmnist", split="train"),
    "shards": dict(name="shards", split="train"),
}


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
    config.name = f"finetune-mrnet-{variant}"
    config.seed = 0
    config.init_from = ""
    config.parallel = "shard_map"
    config.running = dict(precision="auto", recompute=False, drop_path=0.0)
    config.batch_size = config.micro_batch_size = 4
    config.train_epochs = 50.0
    config.log_every_steps = 64
    config.checkpoint = dict(every_epochs=1.0, keep=2)
    config.method = dict(
        name="supervised", classes=2, frozen_epochs=0.0, frozen_statistics=True
    )
    config.model = dict(
        name="resnet", ndim=3, layers=(2, 2, 2, 2), block="basic", width=64, stem="r3d"
    )
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999, backbone_rate=1.0)
    config.schedule = dict(name="multistep", peak=1e-4, factor=0.1, at=(0.6, 0.8))
    crop = dict(centre_crop=dict(size=(224, 224)), standardise=dict())
    config.views = dict(first=crop, eval=crop)  # the paper names no augmentation
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(16, 256, 256),
        frames="random",
        workers=8,
        balance="oversample",
    ) | dict(
        label_fraction=1.0,  # by patient; fewer are fed more often: as many updates
        split_seed=config_dict.placeholder(int),  # None: config.seed
        unlabelled="keep",  # or "drop": leave examples without a label out
    )
    config.splits = dict(validation=dict(fraction=0.1), test=dict(split="valid"))
    config.evaluation = (ConfigDict(dict(name="classify", floor=True)),)
    return config


def own_scans(config: ConfigDict, variant: str) -> None:
    """Any labelled volumes, a fifth of the patients held out for the test."""
    config.data.update(shape=(32, 64, 64), frames="all", workers=2)
    config.data.update(window="percentiles", cache="cache")
    config.views = dict(first=dict(standardise=dict()), eval=dict(standardise=dict()))
    config.splits = dict(
        # or other rows of data.labels: only="split=test"
        validation=dict(fraction=0.1, only=""),
        test=dict(fraction=0.2, only=""),
    )
    if variant == "medmnist":  # bytes, 28 voxels wide, with splits of its own
        config.data.update(shape=(28, 28, 28), window="none", cache="")
        config.splits = dict(validation=dict(split="val"), test=dict(split="test"))


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.data.update(shape=(12, 32, 32), window="percentiles", workers=0)
    config.data.cache = "cache"
    config.splits.test = dict(seed=2, count=512)
    config.model.width = 8
    config.batch_size = config.micro_batch_size = 16
    config.train_epochs = 12.0
    config.log_every_steps = 16
    config.schedule.peak = 1e-3  # a network an eighth as wide
    config.views = dict(first=dict(standardise=dict()), eval=dict(standardise=dict()))
