"""BYOL on images in 2D, with the data and views of configs/simclr.py.

python -m medssl_jax.main --config=configs/byol2d.py
python -m medssl_jax.main --config=configs/byol2d.py:images --config.data.root=DIR

Variants are those of configs/simclr.py; demo takes minutes on two CPU cores. Heads,
optimizer and target decay are BYOL's (arXiv:2006.07733, section 3.3 and app. J): rate
.2 per 256 samples, 1.5e-6 of weight decay, tau from .996. BYOL needs no negatives, so
batch_size can be accumulated from smaller micro-batches.

For comparisons on one split and seed. No published recipe on medical images in 2D is
reproduced.
"""

from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load

SOURCES = ("demo", "images", "medmnist", "npz", "tfds", "shards")


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = load(__file__, f"simclr:{variant}")
    config.name = f"byol2d-{variant}"
    config.data.sampler = "shuffled"
    config.method = dict(name="byol", hidden_size=4096, output_size=256, base_tau=0.996)
    if variant == "demo":
        config.method.update(hidden_size=128, output_size=64, base_tau=0.97)
        return config
    config.optimizer.update(weight_decay=1.5e-6, lr_after_momentum=True)
    config.schedule.peak = 0.2
    return config
