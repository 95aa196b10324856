"""A trained model in one folder that can be shared: for medssl_jax, JAX alone, PyTorch.

python -m medssl_jax.main --config=configs/export.py:encoder --config.init_from=RUN \
    --config.licence=cc-by-nc-4.0 --workdir=OUT
python -m medssl_jax.main --config=configs/export.py:predictor --config.init_from=RUN \
    --workdir=OUT

OUT holds the model as the run's own folder does, model.safetensors (an encoder's state
dict under torchvision's or timm's names; the lines that load it are printed), model.stablehlo
(a program that JAX runs without this package, of any number of images, on CPU, CUDA and
TPU) and README.md, a model card as the Hugging Face hub reads it: data, recipe, figures,
limits. It takes seconds.
"""

from ml_collections import ConfigDict

FORMATS = {"encoder": ("torch", "stablehlo"), "predictor": ("stablehlo",)}


def get_config(variant: str = "encoder") -> ConfigDict:
    if variant not in FORMATS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(FORMATS)}")
    config = ConfigDict()
    config.command = "export"
    config.name = f"export-{variant}"
    config.init_from = ""  # a run's folder, or that of the model in it
    config.kind = variant
    config.formats = FORMATS[variant]
    config.licence = "unknown"  # as the hub spells it: apache-2.0, cc-by-4.0, ...
    return config
