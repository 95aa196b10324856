"""Damaged files, saved models and settings that nobody meant: what is said of them?

python benchmarks/faults.py --kind=files --count=1500 --first=0
python benchmarks/faults.py --kind=saved --count=500
python benchmarks/faults.py --kind=settings --count=1000

Each input is one mutation of something that works, tried in a process of its own. It is
clean if a UserError names the file or the field, accepted if nothing is said, raw if
anything else is raised; a hang if it takes 8 seconds, heavy if it takes 4 GiB. Every raw
one, hang and heavy one is printed with its seed; `--first=SEED --count=1` does it again.
Files go through each source as training reads them, settings through all that a run
builds before its first step. benchmarks/kills.py kills runs.
"""

import collections
import json
import math
import os
import pickle
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from absl import app, flags
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

_KIND = flags.DEFINE_enum("kind", "files", ["files", "saved", "settings"], "of inputs")
_COUNT = flags.DEFINE_integer("count", 100, "inputs")
_HANGS = flags.DEFINE_float("hangs", 8.0, "seconds that are too long")
_FIRST = flags.DEFINE_integer("first", 0, "seed of the first; each has the next one")

_FIELD = re.compile(
    r"\b(?:config|data|model|method|splits|views?|optimizer|schedule)\b|_"
)
HEAVY_KIB = 4 * 2**20
ROOT = Path(__file__).parents[1]

Case = Callable[[random.Random, Path], tuple[str, Callable[[], None]]]


# what works


def volumes(folder: Path, suffix: str = ".nii.gz", masks: bool = False) -> None:
    values = np.random.RandomState(0)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(3):
        data = values.randint(0, 3 if masks else 900, (7, 8, 9)).astype(np.int16)
        nib.save(
            nib.Nifti1Image(data, np.diag([1.0, 1.5, 2.0, 1])), folder / f"{i}{suffix}"
        )


def table(path: Path, names: list[str], mask: str = "") -> None:
    header = "path,label,patient" + (",mask" if mask else "")
    rows = [
        f"{name},{i % 2},p{i}" + (f",{mask.format(i)}" if mask else "")
        for i, name in enumerate(names)
    ]
    path.write_text("\n".join([header, *rows]) + "\n")


def nifti(folder: Path) -> dict:
    volumes(folder / "images")
    volumes(folder / "masks", masks=True)
    return {
        "name": "nifti",
        "root": str(folder / "images"),
        "masks": str(folder / "masks"),
    }


def nifti_labels(folder: Path) -> dict:
    volumes(folder / "images", ".nii")
    table(folder / "labels.csv", [f"{i}.nii" for i in range(3)])
    labels = str(folder / "labels.csv")
    return {"name": "nifti", "root": str(folder / "images"), "labels": labels}


def msd(folder: Path) -> dict:
    volumes(folder / "imagesTr")
    volumes(folder / "labelsTr", masks=True)
    cases = [
        {"image": f"./imagesTr/{i}.nii.gz", "label": f"./labelsTr/{i}.nii.gz"}
        for i in range(3)
    ]
    about = {"modality": {"0": "MR"}, "labels": {"0": "background", "1": "a", "2": "b"}}
    (folder / "dataset.json").write_text(
        json.dumps({**about, "training": cases, "test": []})
    )
    return {"name": "msd", "root": str(folder)}


def dicom(folder: Path) -> dict:
    values = np.random.RandomState(0)
    (folder / "ct").mkdir(parents=True)
    for i in range(4):
        data = pydicom.Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{i}"
        data.SeriesInstanceUID, data.Rows, data.Columns = "1.2.3", 6, 7
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelRepresentation = 0
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient, data.PixelSpacing = [0, 0, 2.5 * i], [0.5, 0.75]
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = values.randint(0, 4096, (6, 7)).astype("<u2").tobytes()
        data.save_as(folder / f"ct/{i}.dcm", enforce_file_format=True)
    return {"name": "dicom", "root": str(folder)}


def images(folder: Path) -> dict:
    values = np.random.RandomState(0)
    (folder / "images").mkdir(parents=True)
    for i in range(3):
        pixels = Image.fromarray(values.randint(0, 255, (20, 24)).astype(np.uint8))
        pixels.save(folder / f"images/{i}.{'jpg' if i else 'png'}")
        Image.fromarray(values.randint(0, 2, (20, 24)).astype(np.uint8)).save(
            folder / f"{i}.png"
        )
    table(folder / "t.csv", ["0.png", "1.jpg", "2.jpg"], "../{}.png")
    return {
        "name": "images",
        "root": str(folder / "images"),
        "masks": str(folder / "t.csv"),
    }


def npy(folder: Path) -> dict:
    (folder / "a").mkdir(parents=True)
    for i in range(3):
        np.save(folder / f"a/{i}.npy", np.random.RandomState(i).rand(6, 7, 8))
    table(folder / "labels.csv", [f"{i}.npy" for i in range(3)])
    return {
        "name": "npy",
        "root": str(folder / "a"),
        "labels": str(folder / "labels.csv"),
    }


def npz(folder: Path) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.RandomState(0)
    arrays = {"images": values.randint(0, 255, (6, 12, 12)).astype(np.uint8)}
    arrays |= {"labels": np.arange(6) % 2, "who": np.array([f"p{i}" for i in range(6)])}
    np.savez(folder / "a.npz", **arrays)
    return {"name": "npz", "root": str(folder / "a.npz"), "patients": "who"}


def medmnist(folder: Path) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    values, arrays = np.random.RandomState(0), {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = values.randint(0, 255, (4, 8, 8, 8)).astype(
            np.uint8
        )
        arrays[f"{split}_labels"] = np.arange(4)[:, None] % 2
    np.savez(folder / "a.npz", **arrays)
    return {"name": "medmnist", "root": str(folder / "a.npz"), "split": "train"}


def shards(folder: Path) -> dict:
    from medssl_jax.commands.prepare import run
    from medssl_jax.data import settings

    given = npy(folder / "raw")
    from ml_collections import ConfigDict

    data = settings.source(**given) | {
        "shape": (4, 4, 4),
        "spacing_mm": None,
        "resize": None,
        "window": "percentiles",
        "percentiles": (0.5, 99.5),
        "window_hu": None,
        "on_error": "raise",
    }
    config = ConfigDict(
        {
            "data": data,
            "splits": {},
            "examples_per_shard": 2,
            "workers": 0,
            "beam": False,
            "beam_options": (),
        }
    )
    with open(os.devnull, "w") as quiet:
        said, sys.stdout = sys.stdout, quiet
        run(config, folder / "shards")
        sys.stdout = said
    shutil.rmtree(folder / "raw")
    return {"name": "shards", "root": str(folder / "shards"), "split": "train"}


SOURCES = [nifti, nifti_labels, msd, dicom, images, npy, npz, medmnist, shards]


# what is done to it


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with one thing wrong."""
    if not content:
        return b"\0"
    place = rng.randrange(min(len(content), rng.choice((64, 400, 10**9))))
    size = rng.choice((1, 2, 4, 8, 64))
    extreme = rng.choice(
        (b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\xc0\x7f", b"\xff" * 8)
    )
    return rng.choice(
        (
            lambda: content[:place],
            lambda: (
                content[:place]
                + bytes([content[place] ^ 1 << rng.randrange(8)])
                + content[place + 1 :]
            ),
            lambda: content[:place] + bytes(size) + content[place + size :],
            lambda: content[:place] + extreme + content[place + len(extreme) :],
            lambda: content[:place] + rng.randbytes(size) + content[place:],
            lambda: content + content[: rng.randrange(len(content))],
            lambda: content[:place] + content[place + size :],
        )
    )()


WORDS = [
    "",
    "-1",
    "1e999",
    "nan",
    "0",
    "[]",
    "{}",
    "null",
    '"x"',
    "../..",
    "\x00",
    "9" * 30,
    "=1+1",
    "é",
    "1_0",
]


def edited(content: bytes, rng: random.Random) -> bytes:
    """Return a text with one token exchanged, or damaged as bytes."""

    text = content.decode("utf-8", "replace")
    tokens = list(re.finditer(r"[\w./-]+|\"[^\"]*\"", text))
    if not tokens or rng.random() < 0.3:
        return damaged(content, rng)
    token = rng.choice(tokens)
    return (text[: token.start()] + rng.choice(WORDS) + text[token.end() :]).encode()


def spoil(folder: Path, rng: random.Random) -> str:
    """Damage one file below a folder; say which."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    change = edited if path.suffix in (".csv", ".json") else damaged
    if rng.random() < 0.05:
        path.unlink()
    elif rng.random() < 0.05:
        path.write_bytes(rng.choice(files).read_bytes())
    else:
        path.write_bytes(change(path.read_bytes(), rng))
    return path.relative_to(folder).as_posix()


def of_files(rng: random.Random, folder: Path):
    from medssl_jax import resolve
    from medssl_jax.data.host import HostTransform
    from medssl_jax.data.order import roles

    make = rng.choice(SOURCES)
    settings = _made(make, folder)
    what = f"{make.__name__}: {spoil(folder, rng)}"
    flat = settings["name"] in ("images", "npz")
    window = "none" if settings["name"] == "medmnist" else "percentiles"
    spacing = (
        (2.0, 2.0, 2.0)
        if settings["name"] in ("nifti", "msd", "dicom") and rng.random() < 0.5
        else None
    )

    def read():
        host = resolve.call(
            "data",
            HostTransform,
            {
                "shape": (4, 4) if flat else (4, 4, 4),
                "spacing_mm": spacing,
                "window": window,
                "frames": "all",
            },
        )
        source = roles.whole(
            {**settings, "on_error": "raise", "cache": ""}, host.prepare, folder
        )
        for i in range(len(source)):
            host.draw(source[i], None)
            _ = source.labels, source.patients, source.name(i)

    return what, read


def of_saved(rng: random.Random, folder: Path):
    import medssl_jax

    shutil.copytree(_saved(), folder, dirs_exist_ok=True)
    which = rng.choice(("encoder", "predictor"))
    what = f"{which}: {spoil(folder / which, rng)}"
    load = {"encoder": medssl_jax.load_encoder, "predictor": medssl_jax.load_predictor}[
        which
    ]

    def use():
        record = {"image": np.random.RandomState(0).rand(9, 10, 11, 1)}
        load(folder / which).of_record(record)

    return what, use


def of_settings(rng: random.Random, folder: Path):
    from ml_collections import ConfigDict

    from medssl_jax.run import task
    from medssl_jax.run.provenance import flat

    name = rng.choice(
        ("byol3d", "simclr", "segment", "finetune", "swav", "finetune_mrnet")
    )
    config = _config(name)
    fields = list(flat(config).items())
    field, value = rng.choice(fields)
    others = [v for _, v in fields if type(v) is not type(value)]
    bad = rng.choice(
        (
            *(
                -1,
                0,
                2**31,
                10**20,
                0.5,
                -0.5,
                math.nan,
                math.inf,
                1e30,
                "",
                "x",
                "../x",
                None,
                (),
                (0,),
            ),
            *((math.nan, 1), (4.5, 16, 16), (-1, -1), (1,) * 9, True, {}, {"a": 1}),
            *([value * 2] if isinstance(value, int | float) else []),
            rng.choice(others),
        )
    )
    changed = ConfigDict(config.to_dict())
    *parents, leaf = field.split(".")
    part = changed
    for parent in parents:
        part = part[parent]
    with changed.ignore_type():
        part[leaf] = bad

    def build():
        task.build(changed, folder)

    return f"{name}: {field}={bad!r}", build


def _config(name):
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, ROOT / f"configs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.unlock()
    return config


_KEPT = Path(tempfile.gettempdir()) / f"faults-{os.getpid()}"


def _made(make, folder: Path) -> dict:
    """Copy what `make` wrote once; its settings name the copy."""
    kept = _KEPT / make.__name__
    if not kept.exists():
        settings = make(kept)
        (kept / ".settings").write_bytes(pickle.dumps(settings))
    settings = pickle.loads((kept / ".settings").read_bytes())
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    (folder / ".settings").unlink()
    return {
        name: value.replace(str(kept), str(folder)) if isinstance(value, str) else value
        for name, value in settings.items()
    }


def _saved() -> Path:
    return _KEPT / "saved"


def _save() -> None:
    """Write an encoder and a predictor, in a process of its own: it starts JAX."""
    import jax
    import jax.numpy as jnp

    from medssl_jax.saved.encoder import Encoder, backbone
    from medssl_jax.saved.predictor import Predictor, method_of

    model = {
        "name": "resnet",
        "ndim": 3,
        "layers": (1, 1),
        "block": "basic",
        "width": 4,
        "stem": "small",
    }
    host = {
        "shape": (4, 8, 8),
        "spacing_mm": None,
        "window": "percentiles",
        "frames": "all",
    }
    spec = {
        "model": model,
        "view": {"standardise": {}},
        "host": host,
        "provenance": {},
        "channels": 1,
    }
    network = backbone(model, dtype=jnp.float32, axis_name=None)
    x = jnp.zeros((1, 4, 8, 8, 1))
    Encoder(network.init(jax.random.key(0), x), spec).save(_saved() / "encoder")
    spec |= {
        "method": {"name": "supervised", "classes": 2},
        "evaluation": [{"name": "classify"}],
        "label_names": None,
    }
    params, aux = method_of(spec).init(jax.random.key(0), {"image": x})
    Predictor(params, aux, spec).save(_saved() / "predictor")


# one input


def attempt(seed: int, make: Case) -> tuple[str, str, str]:
    """Try one input in a process of its own: (outcome, input, what was said)."""
    folder = Path(tempfile.mkdtemp(prefix="fault-"))
    reading, writing = os.pipe()
    began, child = time.monotonic(), os.fork()
    if child == 0:
        os.close(reading)
        _in_child(seed, make, folder, writing)
    os.close(writing)
    said = b""
    while (left := began + _HANGS.value - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            continue
        if not (more := os.read(reading, 2**16)):
            break
        said += more
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status, usage = os.wait4(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    what, _, told = said.decode(errors="replace").partition("\0")
    outcome, _, text = told.partition("\0")
    if os.WIFSIGNALED(status):
        outcome = "hang" if os.WTERMSIG(status) == signal.SIGKILL else "crash"
    if usage.ru_maxrss > HEAVY_KIB:
        outcome = "heavy"
    return outcome or "crash", what, text


def _in_child(seed, make, folder, writing) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    from medssl_jax.errors import UserError

    def tell(text):
        os.write(writing, text.encode(errors="replace"))

    what, use = make(random.Random(seed), folder)
    tell(f"{what}\0")
    try:
        use()
        tell("accepted\0")
    except UserError as error:
        text = str(error)
        named = str(folder) in text or _FIELD.search(text)
        tell(f"{'clean' if named else 'unnamed'}\0{text}")
    except BaseException:  # noqa: BLE001
        tell(f"raw\0{traceback.format_exc()}")
    os._exit(0)


def tried(kind: str, first: int, count: int) -> collections.Counter:
    """Try inputs of a kind; print what should not be; return how many there were."""
    make = {"files": of_files, "saved": of_saved, "settings": of_settings}[kind]
    _KEPT.mkdir(exist_ok=True)
    child = os.fork()  # what starts JAX or TFDS may not be in the process that forks
    if child == 0:
        if kind == "saved":
            _save()
        if kind == "files":
            for source in SOURCES:
                _made(source, Path(tempfile.mkdtemp(dir=_KEPT)))
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("what works could not be written")
    counts = collections.Counter()
    try:
        for seed in range(first, first + count):
            outcome, what, text = attempt(seed, make)
            counts[outcome] += 1
            if outcome not in ("clean", "accepted"):
                print(
                    f"{outcome}, --kind={kind} --first={seed}: {what}\n{text[-1500:]}",
                    flush=True,
                )
    finally:
        shutil.rmtree(_KEPT, ignore_errors=True)
    return counts


def main(_) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import medssl_jax.commands.train  # noqa: F401  loaded once, before the forks

    counts = tried(_KIND.value, _FIRST.value, _COUNT.value)
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    print(f"{_COUNT.value} inputs: {told}")


if __name__ == "__main__":
    app.run(main)
