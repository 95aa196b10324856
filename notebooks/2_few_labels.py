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
# # 2. Few labels
#
# What is a pretrained encoder worth where labels are few? Bones are segmented, and torn
# ligaments told from intact ones, each from the encoder of notebook 1 and from random weights,
# on phantom knees. What is compared is paired: the same labels, the same seeds, the same
# test patients, whom pretraining never saw.
#
# It runs on CPU, GPU and TPU; on two CPU cores it takes some minutes. Nothing is downloaded
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
# A GPU or TPU gets more images, longer training and more seeds. `SMOKE` only shortens: it
# shows in minutes that all cells run, and its figures mean nothing.

# %%
import csv
import json
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import medssl_jax

SMOKE = bool(int(os.environ.get("MEDSSL_SMOKE", "0")))
FAST = jax.default_backend() in ("gpu", "tpu")
IMAGES, EPOCHS = (2048, 40.0) if FAST else (512, 20.0)
TESTED, LABELLED, REPEATS = 256, 256, 3 if FAST else 2
FRACTIONS = (0.1, 0.3, 1.0)
TUNED = 10.0  # epochs of fine-tuning
if SMOKE:
    IMAGES, EPOCHS, TESTED = 128, 2.0, 64
    LABELLED, REPEATS, FRACTIONS, TUNED = 64, 1, (0.5, 1.0), 2.0
RUNS = Path("runs/smoke" if SMOKE else "runs")
print(*jax.devices(), sep="\n")

# %% [markdown]
# ## The encoder
#
# The run of notebook 1, which is looked at there. Where it is not in this folder, it is made.

# %%
ENCODER = RUNS / "simclr"
if not (ENCODER / "results.json").exists():
    config = medssl_jax.load_config("configs/simclr.py:demo")
    config.data.count = IMAGES
    config.data.cache = "cache"
    config.splits.probe.count = config.splits.test.count = TESTED
    config.train_epochs = EPOCHS
    config.log_every_steps = 1
    config.checkpoint.every_epochs = EPOCHS / 2
    medssl_jax.run_config(config, ENCODER)
print(json.loads((ENCODER / "results.json").read_text())["headline"])

# %% [markdown]
# ## Segment with a tenth of the labels
#
# The encoder becomes the first half of a U-Net that finds femur, tibia and patella. Its masks
# are of patients of their own, a tenth of which are learnt from. The second run is the same
# but for what it starts from.

# %%
config = medssl_jax.load_config("configs/small.py:segment:demo")
config.data.masks = True
config.data.seed = 5  # other patients than those of the pretraining
config.data.count = 2 * LABELLED
config.data.shape = config.data.resize = (64, 64)
config.data.label_fraction = 0.5 if SMOKE else 0.1
config.method.classes = 4  # the background included
config.model = medssl_jax.load_encoder(ENCODER).spec["model"]
config.train_epochs = 2 * TUNED
config.schedule.peak = 3e-3
config.log_every_steps = 4
config.checkpoint.every_epochs = TUNED

SEGMENTED = {name: RUNS / f"segment-{name}" for name in ("pretrained", "random")}
for name, folder in SEGMENTED.items():
    config.init_from = str(ENCODER) if name == "pretrained" else ""
    medssl_jax.run_config(config, folder)

# %% [markdown]
# The worst, the middle and the best test case of each run, with its Dice: the image, its
# true mask, and what was found.

# %%
figure, grid = plt.subplots(
    3,
    6,
    figsize=(9, 4.8),
    layout="constrained",
    subplot_kw={"xticks": [], "yticks": []},
)
for name, columns in zip(SEGMENTED, (grid[:, :3], grid[:, 3:]), strict=True):
    cases = np.load(SEGMENTED[name] / "cases.npz")
    columns[0, 0].set_title(f"from {name} weights", loc="left")
    for kind, row in zip(("worst", "middle", "best"), columns, strict=True):
        row[0].set_ylabel(f"{kind}, {cases[f'{kind}/score']:.2f}")
        for axes, field in zip(row, ("image", "truth", "found"), strict=True):
            shown = cases[f"{kind}/{field}"][0]
            if field == "image":
                axes.imshow(shown, cmap="gray")
            else:
                axes.imshow(
                    shown, cmap="viridis", vmin=0, vmax=3, interpolation="nearest"
                )
                axes.set_xlabel(field)

# %% [markdown]
# ## Is the difference one?
#
# `configs/compare.py` sets finished runs against each other on the same test cases, with an
# interval by bootstrap over patients. An interval that holds 0 says that these cases do not
# tell the two apart.

# %%
config = medssl_jax.load_config("configs/compare.py")
config.runs = tuple(map(str, SEGMENTED.values()))
COMPARED = RUNS / "compare"
medssl_jax.run_config(config, COMPARED)

# %% [markdown]
# ## Label efficiency
#
# One run with one share of the labels may be luck. The protocol fine-tunes a classifier, torn
# ligament or not, with several shares, from each start, with several seeds: subsets are
# nested and the same for both, all runs have as many updates, and one test. Runs
# that are finished are not made again.
#
# For images of your own it is `configs/label_efficiency.py:small:finetune:images`, with the
# folder and the CSV of labels in `config.experiment.data`.

# %%
config = medssl_jax.load_config("configs/label_efficiency.py")
config.initialisations = (f"pretrained={ENCODER}", "random=")
config.fractions = FRACTIONS
config.repeats = REPEATS
config.experiment.data.count = LABELLED
config.experiment.splits.test.count = TESTED
config.experiment.train_epochs = TUNED
config.experiment.checkpoint.every_epochs = TUNED / 2
EFFICIENCY = RUNS / "label_efficiency"
medssl_jax.run_config(config, EFFICIENCY)

# %% [markdown]
# Left, each run and the mean over seeds. Right, the paired difference of the means with its
# 95 % interval over test patients: above the line the encoder helped, and an interval that
# crosses it leaves that open.

# %%
found = json.loads((EFFICIENCY / "results.json").read_text())
metric = found["label_curves"]["metric"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for curve, marker in zip(found["label_curves"]["curves"], "o^", strict=True):
    shares, scores = 100 * np.array(curve["fractions"]), np.array(curve["scores"])
    (line,) = left.plot(shares, scores.mean(axis=1), label=curve["name"])
    for share, each in zip(shares, scores, strict=True):
        left.scatter([share] * len(each), each, marker=marker, color=line.get_color())
left.set(title=f"test {metric}", xlabel="% of the labels")
left.legend()
gains = [found["values"][f"{metric}, pretrained - random, {f:g}"] for f in FRACTIONS]
value, low, high = (
    np.array([gain[k] for gain in gains]) for k in ("value", "low", "high")
)
right.errorbar(shares, value, [value - low, high - value], fmt="o", capsize=4)
right.axhline(0, color="grey", linestyle=":")
_ = right.set(title=f"{metric}, pretrained - random", xlabel="% of the labels")

# %% [markdown]
# The same as a table, a row for each run, is in `label_efficiency.csv`; every run is a folder
# with a report of its own.

# %%
with (EFFICIENCY / "label_efficiency.csv").open() as file:
    for row in csv.DictReader(file):
        print(
            f"{row['initialisation']:<11} {row['training_examples']:>4} images, "
            f"seed {row['seed']}: {metric} {float(row[metric]):.3f}"
        )
print(f"\n{found['headline']}")

# %% [markdown]
# These are phantoms and small networks, trained for minutes: the figures show how to measure,
# and are no evidence for any method. The documentation's page "Which method" has what was
# measured on real scans.
