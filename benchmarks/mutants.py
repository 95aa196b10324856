"""Bugs put in, one at a time: which of them do the tests notice?

python benchmarks/mutants.py --only=methods --shard=0/2

Each is what a tired engineer might write. It is put into a copy of the checkout, the
test files beside it are run there, and it is noticed if one of them fails. Prints every
bug that passes, and the share that was noticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from absl import app, flags

_ONLY = flags.DEFINE_string("only", "", "those whose file or tests have this in them")
_SHARD = flags.DEFINE_string("shard", "0/1", "I/N: every N-th, from I")
_TIMEOUT = flags.DEFINE_integer("timeout", 600, "seconds of tests for each")

ROOT = Path(__file__).parents[1]


class Bug(NamedTuple):
    """`old` becomes `new`, once, in a file of the package; `tests` should notice."""

    file: str
    old: str
    new: str
    tests: str


PAIRS = "methods/test_methods_pairs.py"
SWAV = "methods/test_methods_swav.py"
SEGMENT = "methods/test_methods_segment.py"
SUPERVISED = "methods/test_methods_supervised.py"
STATE = "step/test_step_state.py"
PROBE = "evals/test_evals_probe.py"
CLASSIFY = "evals/test_evals_classify.py"
CASES = "evals/test_evals_segment.py"
DRAW, HOST = "data/test_data_draw.py", "data/test_data_host.py"
ORDER = "data/order"
BUGS = [
    # losses and views of methods
    Bug("methods/byol.py", "target[::-1]", "target", PAIRS),
    Bug("methods/byol.py", "normalized_mse)(p, ", "normalized_mse)(z, ", PAIRS),
    Bug("methods/byol.py", ".sum(axis=0)\n", ".mean(axis=0)\n", PAIRS),
    Bug("methods/byol.py", "lax.stop_gradient(target)", "target", PAIRS),
    Bug("methods/byol.py", '["second"](second, ', '["second"](first, ', PAIRS),
    Bug("methods/byol.py", '["second"](second, ', '["first"](second, ', PAIRS),
    Bug("methods/byol.py", "1.0 - tau(update)\n", "tau(update)\n", PAIRS),
    Bug("methods/byol.py", '(aux["target"], *given)', "(params, *given)", PAIRS),
    Bug("methods/simclr.py", '["second"](second, ', '["second"](first, ', PAIRS),
    Bug("methods/simclr.py", 'example.get("partner", image)', "image", PAIRS),
    Bug("methods/simclr.py", "temperature=temperature", "temperature=1.0", PAIRS),
    Bug("methods/simclr.py", "* (layers - 1)", "* layers", PAIRS),
    Bug("methods/swav.py", "total *= alpha", "total *= 1.0", SWAV),
    Bug("methods/swav.py", "total += beta *", "total += 1.0 *", SWAV),
    Bug("methods/segment.py", "dice * ", "", SEGMENT),
    Bug("methods/segment.py", "cross_entropy * ", "", SEGMENT),
    Bug(
        "losses.py",
        "logsumexp(scores, axis=1) - positive\n    return _per",
        "logsumexp(scores, axis=1) + positive\n    return _per",
        "test_losses.py",
    ),
    # the step
    Bug(
        "step/state.py",
        "state.aux, aux\n        )\n        # Not",
        "aux, aux\n        )\n        # Not",
        STATE,
    ),
    Bug(
        "step/state.py",
        "opt_state.gradient_step > update",
        "opt_state.gradient_step >= update",
        STATE,
    ),
    Bug(
        "step/state.py",
        "fold_in(jax.random.key(seed), step)",
        "fold_in(jax.random.key(seed), 0)",
        STATE,
    ),
    Bug("step/state.py", "/ 255.0", "/ 256.0", STATE),
    Bug("step/state.py", "gradient = _mean(gradient, axis_name)\n", "", STATE),
    Bug("step/state.py", "lax.axis_index(axis_name) * count", "0", STATE),
    # optimizers and schedules
    Bug("optim/optimizers.py", "leaf.ndim > 1", "leaf.ndim > 0", "optim"),
    Bug(
        "optim/optimizers.py",
        "move if lr_after_momentum",
        "move if not lr_after_momentum",
        "optim",
    ),
    Bug("optim/optimizers.py", "nesterov=nesterov", "nesterov=False", "optim"),
    Bug(
        "optim/schedules.py",
        "durations.batch_size / 256",
        "durations.batch_size / 128",
        "optim",
    ),
    Bug("optim/schedules.py", "peak, warmup - 1", "peak, warmup", "optim"),
    Bug("optim/schedules.py", "staircase=True", "staircase=False", "optim"),
    Bug("optim/schedules.py", "1.0 - one_minus_tau", "one_minus_tau", "optim"),
    Bug(
        "optim/durations.py",
        "self.examples / self.batch_size",
        "self.examples / self.micro_batch_size",
        "optim",
    ),
    # evaluation
    Bug(
        "evals/probe.py",
        "Encoder(context.untrained(), context.spec)",
        "Encoder(context.method.encoder(params, aux), context.spec)",
        PROBE,
    ),
    Bug(
        "evals/probe.py",
        "_features(e, train, context) for",
        "_features(e, test, context) for",
        PROBE,
    ),
    Bug(
        "evals/probe.py",
        '"probe", context.sources["train"]',
        '"train", context.sources["train"]',
        PROBE,
    ),
    Bug(
        "evals/classify.py",
        'p = probabilities("validation", params, aux)',
        'p = probabilities("test", params, aux)',
        CLASSIFY,
    ),
    Bug("evals/classify.py", "loss = log_loss(", "loss = -log_loss(", CLASSIFY),
    Bug("evals/classify.py", '{"groups": source.patients', '{"groups": None', CLASSIFY),
    Bug(
        "evals/classify.py",
        'p = probabilities("test", params, aux)',
        'p = probabilities("validation", params, aux)',
        CLASSIFY,
    ),
    Bug("evals/segment.py", "1 - mean, ", "mean, ", CASES),
    Bug(
        "evals/segment.py",
        'measured("validation", params',
        'measured("test", params',
        CASES,
    ),
    Bug("evals/segment_tables.py", "groups if any(groups) else None", "None", CASES),
    Bug(
        "evals/surface.py",
        "sampling=spacing_mm",
        "sampling=None",
        "evals/test_evals_surface.py",
    ),
    Bug(
        "evals/bootstrap.py",
        "labels[examples], scores[examples]",
        "labels[examples], scores[np.sort(examples)]",
        "evals/test_evals_bootstrap.py",
    ),
    Bug(
        "evals/knn.py",
        "temperature",
        "1.0 * temperature ** 0",
        "evals/test_evals_knn.py",
    ),
    # data
    Bug(
        "data/draw.py",
        "np.sort(rng.choice(available, wanted, replace=False))",
        "rng.choice(available, wanted, replace=False)",
        DRAW,
    ),
    Bug(
        "data/draw.py",
        "(low + high) // 2 if rng is None",
        "low if rng is None",
        f"{DRAW} {HOST}",
    ),
    Bug(
        "data/draw.py",
        "(np.arange(wanted) + 0.5)",
        "np.arange(wanted)",
        f"{DRAW} {HOST}",
    ),
    Bug(
        "data/host.py",
        "(image.astype(np.float32) - low) / (high - low)",
        "(image.astype(np.float32) - low) / high",
        HOST,
    ),
    Bug("data/host.py", "mask == k)", "mask >= k)", f"{DRAW} {HOST}"),
    Bug(
        "data/pipeline.py",
        "range(start, min(start + size, len(source)))",
        "range(start, min(start + size, len(source) - 1))",
        "data/test_data_pipeline.py",
    ),
    Bug(
        "data/pipeline.py",
        "np.int32(source.labels[index])",
        "np.int32(source.labels[0])",
        "data/test_data_pipeline.py",
    ),
    Bug(
        "data/pipeline.py",
        "[self._seed, position], spawn_key",
        "[self._seed, 0], spawn_key",
        "data/test_data_pipeline.py",
    ),
    Bug(
        "data/order/splits.py",
        "parts[: share.numerator]",
        "parts[: share.numerator + 1]",
        ORDER,
    ),
    Bug(
        "data/order/splits.py",
        "_, groups = np.unique(np.asarray(ids), return_inverse=True)\n    patients",
        "groups = np.arange(len(source))\n    patients",
        ORDER,
    ),
    Bug(
        "data/order/subsets.py", "round(fraction * len(members))", "len(members)", ORDER
    ),
    Bug(
        "data/order/subsets.py",
        "labelled[chosen[patient]]",
        "np.flatnonzero(chosen[patient])",
        ORDER,
    ),
    Bug("data/order/sampler.py", "done * self.count + place", "place", ORDER),
    Bug(
        "data/orient.py",
        "tuple(by_axis[axis] for axis in range(3))",
        "spacing_mm",
        "data/test_data_nifti.py data/test_data_dicom.py",
    ),
    Bug(
        "data/orient.py",
        "volume, change)\n    by_axis",
        "volume, change)[::-1]\n    by_axis",
        "data/test_data_nifti.py",
    ),
    Bug(
        "data/relabel.py",
        "labels[shown] = np.asarray(source.labels)[shown]",
        "labels[: len(shown)] = np.asarray(source.labels)[shown]",
        "data/test_data_relabel.py data/order",
    ),
    Bug("data/cache.py", "repr(self.prepare)", "''", "data/test_data_cache.py"),
    Bug(
        "data/sources/dicom.py",
        "np.argsort(heights)",
        "np.arange(len(heights))",
        "data/test_data_dicom.py",
    ),
    # what is saved, and starts
    Bug("saved/fit.py", "if found not in wanted:", "if False:", "saved"),
    Bug("saved/fit.py", "np.isfinite(x).all()]", "True]", "saved"),
    Bug(
        "run/task.py",
        "backbone if given is None else starting_from(backbone, given)",
        "backbone",
        "commands/test_commands_train.py run",
    ),
    Bug("run/meter.py", 'progress.get("window", ())', "()", "run"),
    Bug(
        "run/checkpoint.py",
        "if checksums != found",
        "if False and checksums != found",
        "run",
    ),
    Bug("run/guard.py", "self._in_a_row = 0\n            return", "return", "run"),
    Bug(
        "views/spatial.py",
        "_rotation(angle, plane, shape)",
        "_rotation(-angle, plane, shape)",
        "views",
    ),
    Bug(
        "saved/encoder.py",
        "host.draw(prepared, None)",
        "host.draw(prepared, np.random.default_rng(0))",
        "saved",
    ),
    Bug(
        "files.py",
        "draft.replace(path)",
        "draft.replace(path.with_suffix('.x'))",
        "test_files.py",
    ),
    Bug("files.py", "cell.startswith(_FORMULA)", "False", "test_files.py"),
]


def noticed(bug: Bug, folder: Path) -> bool | None:
    """Run the bug's tests with it; None where the code has no such text any more."""
    path = folder / "medssl_jax" / bug.file
    text = path.read_text("utf-8")
    if bug.old not in text or bug.old == bug.new:
        return None
    path.write_text(text.replace(bug.old, bug.new, 1), "utf-8")
    try:
        tests = [f"tests/{name}" for name in bug.tests.split()]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", *tests]
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            timeout=_TIMEOUT.value,
            check=False,
        )
        return done.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(text, "utf-8")


def main(_) -> None:
    start, every = map(int, _SHARD.value.split("/"))
    chosen = [bug for bug in BUGS if _ONLY.value in f"{bug.file} {bug.tests}"]
    counts = {True: 0, False: 0, None: 0}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "checkout")
        ignored = shutil.ignore_patterns(".git", ".cache", "runs", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=ignored)
        for bug in chosen[start::every]:
            found = noticed(bug, folder)
            counts[found] += 1
            word = {True: "noticed", False: "PASSED", None: "absent"}[found]
            print(f"{word}: {bug.file}: {bug.old!r} -> {bug.new!r}", flush=True)
    tried = counts[True] + counts[False]
    print(f"{counts[True]} of {tried} noticed; {counts[None]} are not in the code")


if __name__ == "__main__":
    app.run(main)
