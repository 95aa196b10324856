"""Write the features of a whole source to a file."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from medssl_jax import resolve
from medssl_jax.data import settings
from medssl_jax.data.order import roles
from medssl_jax.data.pipeline import eval_batches
from medssl_jax.data.source import has_findings
from medssl_jax.files import write_arrays
from medssl_jax.ranges import Count
from medssl_jax.run.provenance import plain
from medssl_jax.saved.encoder import load_encoder


def run(config: ConfigDict, workdir: Path) -> None:
    """Encode every example of `config.data`; write `workdir`/features.npz.

    Raises:
      UserError: if the encoder or the data cannot be used.
    """
    resolve.fields(config, {"batch_size": Count})
    encoder = load_encoder(config.init_from)
    host = encoder.host
    data = settings.following(plain(config.data), encoder.spec)
    source = roles.whole(data, host.prepare, workdir)
    size = config.batch_size
    batches = tqdm(
        eval_batches(source, host.draw, size=size),
        total=-(-len(source) // size),
        desc="encoding",
        disable=None,
    )
    features = np.concatenate(
        [np.asarray(encoder(b["image"]))[: len(b["index"])] for b in batches]
    )
    labels = {} if source.labels is None else {"labels": np.asarray(source.labels)}
    if has_findings(source):
        labels["label_names"] = np.array(source.label_names)
    names = np.array([source.name(i) for i in range(len(source))])
    path = workdir / "features.npz"
    write_arrays(path, {"features": features, "names": names, **labels})
    print(f"{features.shape[0]} x {features.shape[1]} features: {path}")
