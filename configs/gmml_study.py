"""What a choice in pretraining is worth, downstream: one is varied, all else kept.

python -m medssl_jax.main --config=configs/gmml_study.py:corruption
python -m medssl_jax.main --config=configs/gmml_study.py:corruption:nifti --config.root=DIR
python -m medssl_jax.main --config=configs/gmml_study.py:length:images --config.root=DIR \
    --config.width=192 --config.heads=3

Each variant of configs/gmml.py is pretrained, then fine-tuned by configs/finetune_slices.py
(volumes) or configs/finetune.py (images), with the labels that config.fractions names, and
set against random weights: the same budget, splits, subsets and seeds, paired differences.
The questions are the paper's:

corruption  what stands in the rectangles: zeros, ones, noise, or nothing is hidden.
length      a tenth of the pretraining, three tenths, all of it.
size        is a study of each, against random weights of its own size: ViT-T by
            --config.width=192 --config.heads=3, ViT-S 384 and 6, ViT-B 768 and 12, and
            --config.experiment.method.hidden_sizes="(192,)" as the width.

After a colon comes what it learns from, as in the two configs: demo, on phantoms, mrnet, nifti, dicom, images, npz, medmnist, shards (of images). A field of
one variant is --config.pretraining.zeros.train_epochs=..., those of the fine-tuning are
--config.experiment's. Kill it, start it again: it goes on.

Of one's own data pretraining holds out the fifth that fine-tuning tests: root and labels are
those of both, and so are the splits. Shards have theirs from data.split.

Published (arXiv:2208.13923): zeros, ones and noise are on par, and better than no corruption;
gains grow with the epochs. Asked of three brain tumours by these configs' parts
(benchmarks/RESULTS.md): 200 epochs +10 points of accuracy, 50 nothing that can be told, and
less than nothing with noise. MRNet is not to be had here.
"""

from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load

FILLS = ("none", "zeros", "ones", "noise")
TENTHS = (1, 3, 10)
OF_VOLUMES = ("demo", "mrnet", "nifti", "itk", "dicom")
OF_IMAGES = ("images", "npz", "medmnist", "shards")
SOURCES = [
    f"{question}{source and f':{source}'}"
    for question in ("corruption", "length")
    for source in ("", *OF_VOLUMES[1:], *OF_IMAGES)
]


def get_config(variant: str = "corruption") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    question, _, source = variant.partition(":")
    source = source or "demo"
    config = ConfigDict()
    config.command = "study"
    config.name = f"gmml-study-{variant.replace(':', '-')}"
    config.pretraining = pretraining(question, source)
    config.experiment = experiment(source)
    config.repeats = 3
    config.fractions = (1.0,)
    config.rates = ()
    config.own = dict()
    config.tasks = tuple(config.pretraining)
    config.budget = dict(updates=0, minutes=0.0)
    share(config)
    return config


def pretraining(question: str, source: str) -> ConfigDict:
    """Return the variants by name."""
    found = ConfigDict()
    if question == "corruption":
        for fill in FILLS:
            found[fill] = load(__file__, f"gmml:{source}")
            found[fill].method.fill = fill
    else:
        for tenths in TENTHS:
            one = load(__file__, f"gmml:{source}")
            one.train_epochs *= tenths / 10
            one.schedule.warmup_epochs *= tenths / 10
            found[f"epochs_{one.train_epochs:g}"] = one
    return found


def experiment(source: str) -> ConfigDict:
    """Return the fine-tuning, of the network and with the optimizer of the pretraining."""
    if source in OF_VOLUMES:
        return load(__file__, f"finetune_slices:{source}")
    config, before = (
        load(__file__, f"finetune:{source}"),
        load(__file__, f"gmml:{source}"),
    )
    config.model = before.model
    config.model.pooling = "class"
    config.method.hidden_sizes = (before.model.width,)
    config.optimizer, config.schedule = before.optimizer, before.schedule
    config.views, config.data.shape = before.views, before.data.shape
    config.data.resize = before.data.resize
    return config


def share(config: ConfigDict) -> None:
    """State once what all have alike: width, heads, and one's own data and test."""
    trained = [*config.pretraining.values(), config.experiment]
    nets = [one.model.get("of", one.model) for one in trained]
    for field in ("width", "heads"):
        config[field] = nets[0][field]
        for net in nets:
            net[field] = config.get_ref(field)
    for field in ("root", "labels"):
        if field in config.experiment.data:
            config[field] = config.experiment.data[field]
            for one in trained:
                one.data[field] = config.get_ref(field)
    test = config.experiment.splits.test
    if "fraction" in test:  # what is tested is not pretrained on
        for one in config.pretraining.values():
            one.splits.test.fraction = test.fraction
