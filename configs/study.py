"""Which pretraining helps on my scans, and how many labels does it save?

python -m medssl_jax.main --config=configs/study.py
python -m medssl_jax.main --config=configs/study.py:images --config.data.root=DIR \
    --config.data.labels=labels.csv --config.experiment.method.classes=2
python -m medssl_jax.main --config=configs/study.py:segment:nifti \
    --config.data.root=IMAGES --config.data.masks=MASKS \
    --config.experiment.method.classes=3 --config.tasks="('simclr', 'rotation')"

Each of config.tasks is pretrained on all images but those of the test patients, within one
budget: config.budget.minutes of each, by the pace of this machine, or
config.budget.updates. Then label efficiency: the same subsets, seeds and updates from each, and
from random weights of the same network, each at the rate of config.rates that its own
validation chooses. The report says which helps, by how much, from how many labels on, at what
cost, and what collapsed. Kill it, start it again: it goes on.

[TASK:]SOURCE, of which each task has:

(none)   classes or findings of data.labels: images, npz (2D), nifti, itk, dicom, npy (3D), and
         demo and demo_3d, phantom knees. The demo is 75 minutes of one core, and ends with
         SwAV, SimCLR, rotation and BYOL ahead of random weights with few labels, GMML not.
segment  data.masks, or msd's own: images, nifti, itk, msd, demo_3d.
detect   data.boxes: images.

By default that is five pretrainings of 10 minutes, then 105 fine-tunings of 30 epochs each: of
five starts and random weights of two networks, with three shares of the labels, three seeds,
and a run for each of two rates before these; 63 with --config.rates="()". Each pretraining is a
run in WORKDIR/pretraining/NAME, its encoder/ below, which config.init_from takes; fine-tunings
are in WORKDIR/runs/NAME/SHARE/SEED.

Scans without a label are pretrained on, and not fine-tuned on or tested: leave their cell of
data.labels or data.masks empty, or their mask out of the folder data.masks. Of boxes, an image
without any is a healthy one, and data.unlisted=drop leaves those out of which nobody knows.

config.data, config.splits and config.model are those of all; config.pretraining.NAME and
config.experiment have the rest, at the size of configs/small.py. config.tasks names any of
simclr, byol, swav, gmml, rotation, jigsaw, relative_patch_location, exemplar and cpc. GMML has
a network of its own, and random weights of it beside. One's own: --config.model for the
others' network, --config.experiment.method.classes=0 --config.experiment.method.findings=2 for
findings.
"""

from ml_collections import ConfigDict, FieldReference

from medssl_jax.protocols.experiment import load

PRETRAINING = (
    *("simclr", "byol", "swav", "gmml"),
    *("rotation", "jigsaw", "relative_patch_location", "exemplar", "cpc"),
)
DOWNSTREAM = {"classify": "finetune", "segment": "segment", "detect": "detect"}
IMAGES = ("demo", "images", "npz")
VOLUMES = ("demo_3d", "nifti", "itk", "msd", "dicom", "npy")
SOURCES = [
    "demo",
    *(source for source in (*IMAGES, *VOLUMES) if source not in ("demo", "msd")),
    *(f"segment:{source}" for source in ("images", "demo_3d", "nifti", "itk", "msd")),
    "detect:images",
]


# of fine-tuning, or of a method
OF_ITS_OWN = {
    *("label_fraction", "split_seed", "unlabelled"),
    *("sampler", "foreground", "slices"),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    task, _, source = variant.rpartition(":")
    config = ConfigDict()
    config.command = "study"
    config.name = f"study-{variant.replace(':', '-')}"
    config.tasks = ("simclr", "byol", "swav", "gmml", "rotation")
    config.budget = dict(updates=0, minutes=10.0)
    config.repeats = 3
    config.fractions = (0.1, 0.3, 1.0)
    config.rates = (3e-4, 1e-3)
    downstream = DOWNSTREAM[task or "classify"]
    config.experiment = load(__file__, f"small:{downstream}:{source}")
    config.pretraining = ConfigDict()
    for name in PRETRAINING:
        config.pretraining[name] = load(__file__, f"small:{name}:{source}")
    share(config)
    config.experiment.data.unlabelled = "drop"  # pretraining has them too
    if "unmasked" in config.data:
        config.data.unmasked = "keep"
    if source.startswith("demo"):
        demo(config)
    return config


def share(config: ConfigDict) -> None:
    """State once what all have alike: data, test, network."""
    trained = [config.experiment, *config.pretraining.values()]
    config.data = ConfigDict()
    stated = config.experiment.data
    for field in sorted(set(stated) - OF_ITS_OWN):
        shared = FieldReference(stated[field], field_type=stated.get_type(field))
        for data in (config.data, *(one.data for one in trained)):
            with data.ignore_type():  # a size that one states and another leaves open
                data[field] = shared
    config.splits = config.experiment.splits.copy_and_resolve_references()
    for role, one in (
        *(("test", one) for one in trained),
        ("validation", config.experiment),
    ):
        for field in ("fraction", "only"):
            one.splits[role][field] = config.splits[role].get_ref(field)
    config.model = config.experiment.model.to_dict()
    config.own = ConfigDict()
    for name, one in config.pretraining.items():
        if (
            name == "gmml"
        ):  # the class token is not trained: the mean of the others is read
            config.own.gmml = dict(model=one.model.to_dict())
            continue
        one.model = config.model
    config.experiment.model = config.model


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.budget = dict(updates=120, minutes=0.0)
    config.fractions = (0.2, 1.0)
    config.rates = ()
    config.experiment.train_epochs = 8.0
    config.splits.test.fraction = 0.4
