"""A saved model in one folder that others can use: for us, JAX alone, PyTorch."""

import importlib.metadata
import re
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.report import card
from medssl_jax.report.run import read_run
from medssl_jax.saved import foreign, stablehlo
from medssl_jax.saved.encoder import Encoder, load_encoder
from medssl_jax.saved.predictor import Predictor, load_predictor

_LOAD = {"encoder": load_encoder, "predictor": load_predictor}
_FORMATS = ("torch", "stablehlo")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_OURS = {
    "weights.safetensors": "the weights, for medssl_jax",
    "encoder.json": "what they are",
    "predictor.json": "what they are",
}
_THEIRS = {
    foreign.FILE: "the weights, for PyTorch",
    stablehlo.FILE: "program and weights, for JAX alone",
}


def run(config: ConfigDict, workdir: Path) -> None:
    """Write the encoder or predictor of `config.init_from` into `workdir`, with a card.

    Raises:
      ConfigError: if a field cannot be used, or PyTorch has no such network.
      DataError: if there is no such model.
    """
    formats = _checked(config)
    model = _LOAD[config.kind](config.init_from)
    if "channels" not in model.spec:
        described = Path(config.init_from) / f"{config.kind}.json"
        text = 'does not say of how many channels images are; add "channels" to it'
        raise DataError(described, text)
    if "torch" in formats:
        foreign.check(model.spec["model"])
    if jax.process_index() != 0:
        return
    for name in (*_THEIRS, card.FILE):  # of another export
        (workdir / name).unlink(missing_ok=True)
    model.save(workdir)
    lines = foreign.write(workdir, model) if "torch" in formats else ""
    if "stablehlo" in formats:
        stablehlo.write(workdir, model)
    path = card.build(
        workdir,
        _described(model, workdir, lines, formats, config.licence),
        _run(config),
    )
    if lines:
        print(f"PyTorch, from {workdir}:\n\n{lines}")
    print(f"to be shared as it is: {workdir}; {path.name} says what it is")


def _checked(config: ConfigDict) -> tuple[str, ...]:
    """Return what is written beside our own files.

    Raises:
      ConfigError: if a field cannot be used.
    """
    types = {"init_from": str, "kind": str, "licence": str}
    resolve.fields(config, types | {"formats": tuple[str, ...]})
    if not config.init_from:
        raise ConfigError("config.init_from is empty; name a run's folder")
    if config.kind not in _LOAD:
        known = ", ".join(_LOAD)
        raise ConfigError(f"config.kind is {config.kind!r}; known: {known}")
    if unknown := [name for name in config.formats if name not in _FORMATS]:
        text = f"config.formats has {unknown[0]!r}; known: {', '.join(_FORMATS)}"
        raise ConfigError(text)
    if config.kind == "predictor" and "torch" in config.formats:
        raise ConfigError(
            "config.formats has torch, and config.kind is predictor: heads stay here; "
            "export the encoder, or leave torch out"
        )
    if not _LICENCE.fullmatch(config.licence):
        raise ConfigError(
            f"config.licence is {config.licence!r}; use an identifier in lower case, "
            "such as apache-2.0, cc-by-nc-4.0, other or unknown"
        )
    if "stablehlo" in config.formats:
        stablehlo.check_writable()
    return tuple(config.formats)


def _described(
    model: Encoder | Predictor,
    folder: Path,
    torch: str,
    formats: tuple[str, ...],
    licence: str,
) -> card.Model:
    shape = (1, *model.host.shape, model.spec["channels"])
    found = jax.eval_shape(model, jax.ShapeDtypeStruct(shape, jnp.float32))
    found = found if isinstance(found, dict) else {"features": found}
    returns = {
        name: f"(n{''.join(f', {size}' for size in leaf.shape[1:])})"
        for name, leaf in found.items()
    }
    named = _OURS | _THEIRS
    files = {name: what for name, what in named.items() if (folder / name).is_file()}
    wrote = importlib.metadata.version("jax") if "stablehlo" in formats else ""
    return card.Model(
        model.spec, model.parameters, returns, files, torch, wrote, licence
    )


def _run(config: ConfigDict):
    """Read the run that has the model: its folder, or the one around the model's."""
    folder = Path(config.init_from)
    inside = (folder / f"{config.kind}.json").is_file()
    return read_run(folder.resolve().parent if inside else folder)
