"""Eight CPU devices, no room for JAX to guess, shapes checked against annotations."""

import functools
import itertools
import os
from collections import Counter
from importlib.metadata import version
from pathlib import Path

# Before JAX is imported: it reads both once.
_OPTIMIZED = os.environ.get("OPTIMIZED", "0") != "0"
_FLAGS = ["--xla_force_host_platform_device_count=8"]
if not _OPTIMIZED and version("jaxlib").startswith("0.10."):
    # XLA's former way to emit fusions, in a third of the time; newer ones lack the flag
    _FLAGS += ["--xla_cpu_use_fusion_emitters=false"]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS])
os.environ["JAX_PLATFORMS"] = "cpu"

import jaxtyping
from jaxtyping import install_import_hook

install_import_hook("medssl_jax", "shapes.check")

import jax
import optax
import pytest
from scipy import stats

# XLA's optimizations are half of the tests' time; .ci/run's demo has them
jax.config.update("jax_disable_most_optimizations", not _OPTIMIZED)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get(
        "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache/jax")
    ),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


# optax divides gradients by an integer count: its promotions are its own business.
_update = optax.MultiSteps.update
optax.MultiSteps.update = jax.numpy_dtype_promotion("standard")(_update)


_bootstrap = stats.bootstrap


@functools.wraps(_bootstrap)
def _unchecked(*args, **kwargs):
    """Resample without checks, most of the time: of all examples, all was checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        return _bootstrap(*args, **kwargs)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


stats.bootstrap = _unchecked


@pytest.hookimpl(trylast=True)  # what is not run counts for nothing
def pytest_collection_modifyitems(items):
    """Begin with the longest files, that none begins when the others are done."""
    length = Counter()  # in tests; a slow one takes as long as 30
    for item in items:
        length[item.path] += 30 if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -length[item.path])


def pytest_terminal_summary(terminalreporter):
    """Say where the time goes, by file: a suite that grows is cut there."""
    spent = Counter()  # s
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            spent[report.location[0]] += report.duration
    terminalreporter.section(f"longest files of {sum(spent.values()):.0f} s")
    for path, seconds in spent.most_common(40):
        terminalreporter.write_line(f"{seconds:.0f}s {path}")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data, MEDSSL_DATA; say so if there is none."""
    root = os.environ.get("MEDSSL_DATA")
    if not root:
        pytest.skip("MEDSSL_DATA is not set: real files are not tested")
    return Path(root)


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled():
    """Let go of a file's programs: a worker that keeps all of them holds gigabytes."""
    yield
    jax.clear_caches()
