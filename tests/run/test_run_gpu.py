"""What XLA is told before there is a GPU."""

import subprocess
import sys

import pytest

from medssl_jax.run import gpu


@pytest.mark.parametrize(
    "plugin, before, after",
    [
        (True, None, "--xla_gpu_force_conv_nhwc=true"),
        (True, "--xla_dump_to=a", "--xla_dump_to=a --xla_gpu_force_conv_nhwc=true"),
        (True, "--xla_gpu_force_conv_nchw=true", "--xla_gpu_force_conv_nchw=true"),
        (False, "--xla_dump_to=a", "--xla_dump_to=a"),
        (False, None, None),
    ],
)
def test_channels_are_last_where_nobody_said_otherwise(
    plugin, before, after, monkeypatch
):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: plugin or None)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if before is not None:
        monkeypatch.setenv("XLA_FLAGS", before)
    gpu.channels_last()
    assert gpu.os.environ.get("XLA_FLAGS") == after


def test_nothing_uses_a_device_before_main_runs():
    """What XLA_FLAGS say is read once: with the first device."""
    code = (
        "import medssl_jax.main; from jax._src import xla_bridge; "
        "assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
