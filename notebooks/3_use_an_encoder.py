# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. Use an encoder
#
# A pretrained encoder is two files and a function: images in, vectors out. Here it embeds a
# folder of images, finds those that are alike, and shows where it looks; then it is saved
# for this package, for PyTorch and for JAX alone. The encoder is a small vision transformer, which this notebook pretrains by
# SimCLR on phantom knees.
#
# It runs on CPU, GPU and TPU; on two CPU cores it takes a few minutes. Nothing is downloaded
# but the package. This is research software, and no medical device.

# %%
# Installs medssl_jax where this kernel has none, and leaves its JAX and NumPy as they are.
import importlib.metadata
import importlib.util
import os
import subprocess
import sys

REPOSITORY = ""  # on Colab: the URL of the repository that this notebook is from

if getattr(importlib.util.find_spec("medssl_jax"), "origin", None) is None:
    if not REPOSITORY:
        sys.exit(
            "medssl_jax is not installed in this kernel: put the repository's URL into "
            "REPOSITORY above and run this cell again, or run `pip install -e .` in a clone"
        )
    CLONE = os.path.abspath("medssl_jax_clone")
    with open("as_it_is.txt", "w") as file:
        for found in importlib.metadata.distributions():
            name = found.name.lower().replace("_", "-")
            if name in ("jax", "jaxlib", "libtpu", "numpy") or name.startswith("jax-"):
                print(f"{name}=={found.version}", file=file)
    pip = [sys.executable, "-m", "pip", "install", "-c", "as_it_is.txt"]
    commands = [["git", "clone", "--depth=1", REPOSITORY, CLONE], [*pip, "-e", CLONE]]
    for command in commands[os.path.isdir(CLONE) :]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = f"{done.stdout}{done.stderr}"[-2000:]  # why comes last
            sys.exit(f"{' '.join(command)} failed:\n{said}")
    sys.path.insert(0, CLONE)  # this kernel started before it was installed

# %% [markdown]
# ## Sizes
#
# A GPU or TPU gets more images and longer training. `SMOKE` only shortens: it shows in a
# minute that all cells run, and its figures mean nothing.

# %%
from pathlib import Path

import jax
import jax.export
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import medssl_jax
from medssl_jax.data.sources.phantom_slices import phantom_slices

SMOKE = bool(int(os.environ.get("MEDSSL_SMOKE", "0")))
FAST = jax.default_backend() in ("gpu", "tpu")
IMAGES, EPOCHS = (2048, 60.0) if FAST else (512, 30.0)
TESTED, FILES = 256, 300
if SMOKE:
    IMAGES, EPOCHS, TESTED, FILES = 128, 2.0, 64, 40
RUNS = Path("runs/smoke" if SMOKE else "runs")
print(*jax.devices(), sep="\n")

# %% [markdown]
# ## An encoder
#
# Any run's will do, of this package or another folder that `Encoder.save` wrote: set
# `ENCODER` to it and leave this cell out. This one is a transformer, since attention is shown
# below; the evaluator `attention` keeps it for some test images.

# %%
ENCODER = RUNS / "simclr_vit"
config = medssl_jax.load_config("configs/simclr.py:demo")
config.model = dict(
    name="vit", ndim=2, patch=8, width=96, heads=3, depth=4, maps=(4,), pooling="class"
)
config.method.hidden_size = 128
config.data.count = IMAGES
config.data.cache = "cache"
config.splits.probe.count = config.splits.test.count = TESTED
config.train_epochs = EPOCHS
config.schedule.peak = 1e-3
config.checkpoint.every_epochs = EPOCHS / 2
config.evaluation += (dict(name="attention", block=4, examples=6),)
medssl_jax.run_config(config, ENCODER)

# %% [markdown]
# `load_encoder` takes the run's folder. Images are bytes, or numbers from 0 to 1, with a
# channel; `spec` says what the encoder is and how its images were prepared.

# %%
encoder = medssl_jax.load_encoder(ENCODER)
images = np.random.default_rng(0).random((2, 64, 64, 1), np.float32)
print(encoder(images).shape, encoder(images).dtype)
print(encoder.spec["model"], encoder.spec["host"], sep="\n")

# %% [markdown]
# ## The features of a folder
#
# `FOLDER` can be one of yours, of PNG, JPEG or DICOM files. Here it is filled with phantom
# knees that the encoder never saw, one to four images of each.

# %%
FOLDER = RUNS / "images"
FOLDER.mkdir(parents=True, exist_ok=True)
knees = phantom_slices(count=FILES, seed=11, size_pixels=(64, 64))
for i in range(FILES):
    image = knees[i]["image"][..., 0]
    image = image / image.max()
    Image.fromarray((255 * image).astype(np.uint8)).save(FOLDER / f"{i:04d}.png")

config = medssl_jax.load_config("configs/features.py:images")
config.init_from = str(ENCODER)
config.data.root = str(FOLDER)
medssl_jax.run_config(config, RUNS / "features")
stored = np.load(RUNS / "features" / "features.npz")
features, names = stored["features"], stored["names"]
print(features.shape, names[:3])

# %% [markdown]
# The same for one image, as its file has it; the largest difference is printed:

# %%
first = np.asarray(Image.open(FOLDER / names[0]))[..., np.newaxis]
print(np.abs(encoder.of_record({"image": first}) - features[0]).max())

# %% [markdown]
# ## Nearest neighbours by image
#
# Images are alike where their vectors point the same way. A row for each query, and its five
# nearest among the other patients' images; the frame is blue where these have the
# query's finding, a torn ligament or an intact one, which the encoder was never told. With
# a folder of your own, patients and findings are those of your table.

# %%
patients, torn = np.array(knees.patients), np.array(knees.labels)


def neighbours(vectors):
    """Return for each image the five most alike of other patients, and how much they are."""
    units = vectors - vectors.mean(axis=0)  # what all have in common is no likeness
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    alike = np.where(patients[:, None] == patients, -np.inf, units @ units.T)
    nearest = np.argsort(-alike, axis=1)[:, :5]
    return nearest, np.take_along_axis(alike, nearest, axis=1)


nearest, alike = neighbours(features)
figure, grid = plt.subplots(4, 6, figsize=(9, 6.2), layout="constrained")
for row, query in zip(grid, np.linspace(0, FILES - 1, 4).astype(int), strict=True):
    titles = ["query", *(f"{cosine:.2f}" for cosine in alike[query])]
    for axes, i, title in zip(row, [query, *nearest[query]], titles, strict=True):
        axes.imshow(np.asarray(Image.open(FOLDER / names[i])), cmap="gray")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, loc="left")
        framed = title != "query" and torn[i] == torn[query]
        plt.setp(axes.spines.values(), color="C0" if framed else "none", linewidth=4)

# %% [markdown]
# How often do the five nearest have the query's finding? An encoder that is not ahead of the
# pixels themselves is not worth sharing.

# %%
pixels = np.stack([np.asarray(Image.open(FOLDER / name)).ravel() for name in names])
share = {
    "of the encoder": (torn[nearest] == torn[:, None]).mean(),
    "of the pixels": (torn[neighbours(pixels / 255)[0]] == torn[:, None]).mean(),
    "of any images": (torn[:, None] == torn).mean(),
}
for name, same in share.items():
    print(f"neighbours {name}: {same:.1%} have the same finding")

# %% [markdown]
# ## Where it looks
#
# The attention of the class token in the last block, over test images, in the mean over
# heads, as the run has kept it: dark where it does not look.

# %%
kept = np.load(ENCODER / "attention.npz")
figure, grid = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for axes in grid.flat:
    axes.axis("off")
shown = zip(grid.T, kept["image"], kept["attention"], strict=True)
for (above, below), image, looks in shown:
    above.imshow(image[..., 0], cmap="gray")
    below.imshow(image[..., 0], cmap="gray", extent=(0, 64, 64, 0))
    below.imshow(
        looks, cmap="inferno", vmin=0, vmax=1, alpha=0.6, extent=(0, 64, 64, 0)
    )

# %% [markdown]
# ## Take it along
#
# An encoder's folder holds `weights.safetensors` and `encoder.json`, and nothing in them is
# executed when they are read. What is loaded gives the same vectors.

# %%
encoder.save(RUNS / "taken_along")
again = medssl_jax.load_encoder(RUNS / "taken_along")
difference = np.abs(np.asarray(again(images)) - np.asarray(encoder(images))).max()
print(f"largest difference: {difference}")

# %% [markdown]
# `configs/export.py` writes a folder to share: the same two files, a state dict with timm's
# names for PyTorch, a program that JAX runs without this package, and a model card. The
# lines that load it elsewhere are printed, and are in the card.

# %%
config = medssl_jax.load_config("configs/export.py:encoder")
config.init_from = str(ENCODER)
config.licence = "cc-by-4.0"  # yours to choose; so is whether the data allow it
EXPORTED = RUNS / "exported"
medssl_jax.run_config(config, EXPORTED)

# %% [markdown]
# The program, without the package:

# %%
program = jax.export.deserialize((EXPORTED / "model.stablehlo").read_bytes())
vectors = jax.jit(program.call)(images)
apart = np.abs(np.asarray(vectors) - np.asarray(encoder(images))).max()
print(f"{vectors.shape}, largest difference: {apart:.1e}")
