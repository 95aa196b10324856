"""MICLe: SimCLR whose two views are of two images of one patient, where there are two.

python -m medssl_jax.main --config=configs/micle.py
python -m medssl_jax.main --config=configs/micle.py:derm --config.data.root=DIR \
    --config.init_from=RUN

demo  phantom knee slices, after configs/simclr.py's demo; minutes on two CPU cores.
derm  batch 128, rate .1, 100,000 updates from a SimCLR run; a folder of images. Not
      yet run: the data is not to be had here. Published, ResNet-152 2x: top-1 70.02
      +- .22 %.
images, npz, tfds, shards
      one's own, 100 epochs. Who the patient is says data.labels, a CSV
      path,label,patient, or data.patients (npz) or data.patient (tfds), a key there.

All that is not said here is of configs/simclr.py's variant of that name. An epoch is
one pass over the bags, one for each patient, and no patient is twice in a batch.
train_epochs is the paper's updates x batch / cases: of n patients, set it so. model is
that of init_from, which gives the backbone; the head starts anew.

Reproduces arXiv:2101.05224, section 3.2; its public code declares the option only.
"""

from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load

# what differs from the data of configs/simclr.py's variant
SOURCES = {
    "demo": dict(),
    "derm": dict(),
    "images": dict(),
    "npz": dict(patients="patient", cache=""),
    "tfds": dict(patient="patient"),
    "shards": dict(),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = load(__file__, f"simclr:{variant}")
    config.name = f"micle-{variant}"
    config.data.update(sampler="bags", **SOURCES[variant])
    if variant == "demo":
        demo(config)
        return config
    # 100,000 updates of 15,340 patients' bags
    config.batch_size = config.micro_batch_size = 128  # bags, over all devices
    config.train_epochs = 100_000 * 128 / 15_340 if variant == "derm" else 100.0
    config.schedule.peak = 0.1  # per 256 bags
    if variant == "npz":  # of one size already
        config.views.eval = dict()
    return config


def demo(config: ConfigDict) -> None:
    """Small enough for two cores."""
    config.init_from = "runs/simclr-demo"
    config.train_epochs = 20.0
    config.log_every_steps = 8
    config.schedule.peak = 1e-3
