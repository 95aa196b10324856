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
# # 1. Pretrain and look
#
# An image encoder learns from scans without labels, here by SimCLR on phantom knees that are
# made as the notebook runs. Then everything is looked at that tells whether it worked: the
# views that the network was fed with, the training's curves, the embeddings, and what the run
# says of their collapse. At the end a second run collapses, on purpose.
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
import json
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import medssl_jax

SMOKE = bool(int(os.environ.get("MEDSSL_SMOKE", "0")))
FAST = jax.default_backend() in ("gpu", "tpu")
IMAGES, EPOCHS = (2048, 40.0) if FAST else (512, 20.0)
TESTED = 256
if SMOKE:
    IMAGES, EPOCHS, TESTED = 128, 2.0, 64
RUNS = Path("runs/smoke" if SMOKE else "runs")
print(*jax.devices(), sep="\n")

# %% [markdown]
# ## A config
#
# An experiment is a file of `configs/`, with a variant after the colon. Each of its fields
# can be set, here as on the command line; a field that there is not is refused.
#
# For scans of your own, take `configs/small.py:simclr:images` and set `config.data.root` to
# the folder of PNG, JPEG or DICOM files.

# %%
config = medssl_jax.load_config("configs/simclr.py:demo")
config.data.count = IMAGES
config.data.cache = "cache"  # images are prepared once
config.splits.probe.count = config.splits.test.count = TESTED
config.train_epochs = EPOCHS
config.log_every_steps = 1
config.checkpoint.every_epochs = EPOCHS / 2
for name, settings in {"method": config.method, **config.views.first}.items():
    print(f"{name}: {settings.to_dict()}")

# %% [markdown]
# ## Pretrain
#
# `run_config` does what `python -m medssl_jax.main --config=...` does. The first step waits
# for XLA to compile. A run that was stopped goes on when the cell is run again; one that is
# finished is only tested again.

# %%
RUN = RUNS / "simclr"
medssl_jax.run_config(config, RUN)

# %% [markdown]
# All that is shown below is in the run's folder, and in its `report.html`, which opens offline.

# %%
print(*sorted(path.name for path in RUN.iterdir()), sep="\n")

# %% [markdown]
# ## The views
#
# SimCLR learns that two views of an image belong together. Look at them first: what the
# views change is what the encoder learns to ignore. A crop that never holds the structure
# that you are after is seen here and nowhere else.

# %%
views = np.load(RUN / "views.npz")
figure, grid = plt.subplots(3, 6, figsize=(9, 4.7), layout="constrained")
for row, name in zip(grid, ("source", "first", "second"), strict=True):
    row[0].set_title(name, loc="left")
    for axes, image in zip(row, views[name], strict=False):
        axes.imshow(image[..., 0], cmap="gray")
        axes.axis("off")

# %% [markdown]
# ## The curves
#
# The loss of guessing which of the batch's other 127 views is the partner is ln 127 = 4.84.
# The share of views that are nearest to their partner says the same in words.

# %%
logged = [json.loads(line) for line in (RUN / "metrics.jsonl").open()]
step = [line["step"] for line in logged]
figure, panels = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained")
panels[0].plot(step, [line["loss"] for line in logged])
panels[0].axhline(np.log(2 * config.batch_size - 1), color="grey", linestyle=":")
panels[0].set(title="loss (dotted: guessing)", xlabel="step")
panels[1].plot(step, [line["contrastive_accuracy"] for line in logged])
_ = panels[1].set(title="views nearest to their partner", xlabel="step", ylim=(0, 1))

# %% [markdown]
# ## The embeddings
#
# Left, all test images in the plane of the two directions in which their embeddings differ
# most, coloured by whether the ligament is torn: a label that the encoder never saw. Right,
# how much embeddings differ in each direction, from the strongest on.


# %%
def spectrum(features):
    """Return the singular values of centred embeddings, over those of a unit spread."""
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    singular = np.linalg.svd(units - units.mean(axis=0), compute_uv=False)
    return singular[: len(features) - 1]  # the mean has taken a direction


def show(run):
    """Draw a run's embeddings in the plane, and the spectrum before and after training."""
    embedded = np.load(run / "embeddings.npz")
    features, torn = embedded["pretrained"], embedded["labels"]
    centred = features - features.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for label, marker, text in ((0, "o", "intact"), (1, "^", "torn")):
        left.scatter(*plane[torn == label].T, s=12, marker=marker, label=text)
    left.set(title="embeddings", xticks=[], yticks=[])
    left.legend(loc="best")
    for name in ("untrained", "pretrained"):
        right.semilogy(spectrum(embedded[name]), label=name)
    right.set(title="singular values", xlabel="direction", ylim=(1e-5, 1e2))
    right.legend()


show(RUN)

# %% [markdown]
# ## What the run says
#
# The table above, under the training, is of a linear classifier and of nearest neighbours on
# the frozen embeddings, against those of the same network before training, with 95 %
# intervals over patients. The verdict is on the embeddings alone, and needs no label: does
# the encoder still tell its inputs apart?


# %%
def said(run):
    """Print a run's headline, and how far and in how many directions embeddings differ."""
    results = json.loads((run / "results.json").read_text())
    print(results["headline"])
    for name, found in results["collapse"].items():
        of = f"{found['rank']:.1f} of {found['most']:.0f}"
        print(f"{name}: spread {found['std']:.3f} of 1, effective rank {of}")


said(RUN)

# %% [markdown]
# ## A run that collapses
#
# BYOL has no negatives: that all images get one embedding would satisfy it. Its slowly
# moving target and its predictor keep it from that, and a learning rate that is much too
# high undoes them. This is what it looks like.

# %%
config = medssl_jax.load_config("configs/byol2d.py:demo")
config.data.count = IMAGES
config.data.cache = str((RUN / "cache").absolute())
config.splits.probe.count = config.splits.test.count = TESTED
config.train_epochs = EPOCHS / 4
config.log_every_steps = 1
config.checkpoint.every_epochs = EPOCHS / 4
config.schedule.peak = 0.1  # 50 times the config's
config.schedule.warmup_epochs = 0.0
config.method.base_tau = 0.0  # the target is the online network itself
COLLAPSED = RUNS / "collapsed"
medssl_jax.run_config(config, COLLAPSED)

# %% [markdown]
# Its loss alone would not tell: it falls, and falls fast. The embeddings tell: they
# differ in few directions only, which the steep curve below shows, and the verdict says.

# %%
logged = [json.loads(line) for line in (COLLAPSED / "metrics.jsonl").open()]
figure, axes = plt.subplots(figsize=(4.5, 2.6), layout="constrained")
axes.plot([line["step"] for line in logged], [line["loss"] for line in logged], ".-")
axes.set(title="loss of the collapsed run", xlabel="step")
show(COLLAPSED)

# %%
said(COLLAPSED)
