"""A trained encoder in PyTorch against itself here, on images of its run.

python benchmarks/torch_parity.py RUN [RUN ...]

Of each run's folder: the encoder is written for PyTorch, the lines that load it are run as
they are printed, and both encode the images that the report shows (views.npz). Printed are
the largest difference of a feature, the largest feature, and their ratio. It needs the
extra [bench]. Exit status 1 where a ratio is not 1e-5 or less.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from absl import app

sys.path.append(str(Path(__file__).parent))
from peers.vision import torchvision  # noqa: F401, the lines import it

from medssl_jax.saved import foreign
from medssl_jax.saved.encoder import load_encoder

_CLOSE = 1e-5


def main(arguments) -> None:
    is_close = True
    for path in arguments[1:]:
        with np.load(Path(path) / "views.npz") as views:
            images = views["source"].astype(np.float32)
        encoder = load_encoder(path)
        expected = np.asarray(encoder(images))
        apart = np.abs(_in_torch(encoder, images) - expected).max()
        largest = np.abs(expected).max()
        is_close &= bool(apart <= _CLOSE * largest)  # NaN is not
        name = f"{encoder.spec['model']['name']}, {'x'.join(map(str, images.shape))}"
        print(f"{path} ({name}): {apart:.1e} of {largest:.2f}, {apart / largest:.1e}")
    sys.exit(int(not is_close))


def _in_torch(encoder, images: np.ndarray) -> np.ndarray:
    loaded = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(foreign.write(Path(folder), encoder), loaded)  # noqa: S102
        return loaded["encode"](torch.tensor(np.moveaxis(images, -1, 1).copy())).numpy()


if __name__ == "__main__":
    app.run(main)
