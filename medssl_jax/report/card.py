"""A model card: what is known of a saved model, for whoever it is shared with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from medssl_jax.files import write_text
from medssl_jax.report.blocks import cell
from medssl_jax.report.run import Json, Run
from medssl_jax.run.private import without_folders

FILE = "README.md"
_PIPELINES = {"mask": "image-segmentation", "boxes": "object-detection"}
_OF_HOST = {  # settings that say how images were prepared, and what they are then
    "spacing_mm": "voxels in mm",
    "resize": "resized to",
    "longest_side": "longest side, voxels",
    "crop_to_body": "cropped to the body",
    "window": "intensities",
    "frames": "frames",
}
_OF_WINDOW = {"percentiles": "percentiles", "hu": "window_hu"}
_SETTINGS = ("optimizer", "schedule")
_DURATIONS = ("epochs", "updates", "samples per update")
_DEVICES = ("devices", "processes", "precision")
_VERSIONS = ("medssl_jax", "jax", "flax")


class Model(NamedTuple):
    """What a card says of a model, beside its run.

    spec: as `saved` has it.
    parameters: how many.
    returns: what it makes of images (b, *s, c), by name, each one's shape: (n, ...).
    files: what the folder holds, name and what it is.
    torch: lines that load it with PyTorch, or "".
    stablehlo: the version of JAX that wrote such a file, or "".
    licence: of the weights.
    """

    spec: Mapping[str, Any]
    parameters: int
    returns: Mapping[str, str]
    files: Mapping[str, str]
    torch: str
    stablehlo: str
    licence: str


def build(folder: Path, model: Model, run: Run) -> Path:
    """Write README.md, with what the Hugging Face hub reads, into a model's folder.

    It names no path and no file of the data. What the run's folder lacks, it says.
    """
    text = (
        _environment()
        .get_template("card.md.jinja")
        .render(
            model=model,
            spec=model.spec,
            kind="encoder" if "method" not in model.spec else "predictor",
            shape=_times(model.spec["host"]["shape"]),
            pipeline=_pipeline(model),
            tags=_tags(model.spec, run),
            input=_input(model.spec),
            data=_data(run.run),
            task=_task(model.spec),
            recipe=_recipe(model, run),
            phantoms=any(name.startswith("phantom") for name, _ in _sources(run)),
            start=_start(_training(run).get("init_from", "")),
            headline=without_folders((run.results or {}).get("headline", "")),
            tables=(run.results or {}).get("tables", ()),
            files=[
                (name, _size((folder / name).stat().st_size), what)
                for name, what in model.files.items()
            ],
        )
    )
    write_text(folder / FILE, text)
    return folder / FILE


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medssl_jax", "report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"text": _text, "yaml": json.dumps}
    return environment


def _text(value: Any) -> str:
    """Write a value where Markdown has a line or a table's cell of plain text."""
    said = without_folders(" ".join(cell(value).split()))
    for sign in "\\`*_[]|#":
        said = said.replace(sign, f"\\{sign}")
    return said.replace("<", "&lt;")


def _pipeline(model: Model) -> str:
    if "method" not in model.spec:
        return "image-feature-extraction"
    found = [_PIPELINES[name] for name in model.returns if name in _PIPELINES]
    return [*found, "image-classification"][0]


def _tags(spec: Mapping[str, Any], run: Run) -> list[str]:
    """List what a search finds the model by: axes, task, modalities."""
    modalities = sorted({modality for _, modality in _sources(run)})
    axes = f"{len(spec['host']['shape'])}d"
    tags = ["medical-imaging", "jax", axes, spec["model"]["name"]]
    return [tag for tag in [*tags, _task(spec).get("name", ""), *modalities] if tag]


def _input(spec: Mapping[str, Any]) -> list[tuple[str, Any]]:
    host = spec["host"]
    rows = [("shape, channels last", _times([*host["shape"], spec["channels"]]))]
    rows += [
        (name, _plain(host[field]))
        for field, name in _OF_HOST.items()
        if host.get(field)
    ]
    limits = _OF_WINDOW.get(host["window"])
    if limits:
        rows.append((limits.replace("_", " "), _plain(host.get(limits))))
    inside = [_setting(name, given) for name, given in spec["view"].items()]
    return [*rows, ("done by the model itself", "; ".join(inside) or "nothing")]


def _data(facts: Json | None) -> list[tuple[str, Any, Any, str]]:
    """Return role, examples, patients and labels of each part of the data."""
    of_roles = (facts or {}).get("data", {})
    return [
        (role, found["count"], found["patients"], _counts(found["label_counts"] or {}))
        for role, found in of_roles.items()
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label}: {count:,}" for label, count in counts.items())


def _recipe(model: Model, run: Run) -> list[tuple[str, Any]]:
    config, facts = _training(run), run.run or {}
    rows = [
        ("task", _setting("", _task(model.spec))),
        ("network", _setting("", model.spec["model"])),
        ("parameters", model.parameters),
    ]
    if "members" in model.spec:
        rows.append(("members of the ensemble", model.spec["members"]))
    if "init_from" in config and "optimizer" in config:  # a training's own
        rows.append(("started from", _start(config["init_from"])))
        rows += [(part, _setting("", config[part])) for part in _SETTINGS]
        rows.append(("views", "; ".join(_views(config["views"]))))
        rows.append(("seed", config["seed"]))
    if sources := _sources(run):
        named = (f"{name} ({kind})" if kind else name for name, kind in sources)
        rows.append(("data, by their format", ", ".join(named)))
    rows += [(k, v) for k, v in facts.get("durations", {}).items() if k in _DURATIONS]
    if "seconds" in facts:
        rows.append(("hours", facts["seconds"] / 3600))
    rows += [(k, v) for k, v in facts.get("devices", {}).items() if k in _DEVICES]
    versions = facts.get("versions", {})
    known = [f"{name} {versions[name]}" for name in _VERSIONS if name in versions]
    return [*rows, ("versions", ", ".join(known) or None)]


def _task(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the method that trained a model; older files do not say."""
    return spec.get("provenance", {}).get("method", {})


def _sources(run: Run) -> list[tuple[str, str]]:
    """Return the name of each source's format, and its modality where there is one."""
    data = _training(run).get("data", {})
    sources = data.get("sources", [data] if data else [])
    return [(one.get("name", ""), one.get("modality", "")) for one in sources]


def _training(run: Run) -> Json:
    """Return the config of the training, which a protocol's has inside."""
    config = run.config or {}
    return config.get("experiment", config)


def _views(views: Json) -> list[str]:
    return [f"{name}: {', '.join(ops) or 'as it is'}" for name, ops in views.items()]


def _start(init_from: str) -> str:
    """Say what a training started from: of our own runs no name, which a user chose."""
    if init_from.endswith(".safetensors"):
        return Path(init_from).name
    return "an encoder of another run" if init_from else "random weights"


def _setting(name: str, given: Mapping[str, Any]) -> str:
    """Write a name and its settings in a line."""
    settings = {k: v for k, v in given.items() if k != "name"}
    said = f"{name or given.get('name', 'not known')}"
    return f"{said} ({_plain(settings)})" if settings else said


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        each = ((name, _plain(inner)) for name, inner in value.items())
        inside = {name for name, inner in value.items() if isinstance(inner, Mapping)}
        return ", ".join(f"{k} ({v})" if k in inside else f"{k} {v}" for k, v in each)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"({', '.join(map(_plain, value))})"
    return str(value)


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
