"""Many devices: the mesh, the map of one step over it, host arrays onto it."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from medssl_jax.errors import ConfigError
from medssl_jax.step.state import Step

AXIS = "data"


class Parallel(NamedTuple):
    """How one step, written for one device, runs on all of them.

    mesh: the devices, along AXIS.
    compile: step -> compiled (state, batch) -> (state, metrics); donates the state.
    replicate: state of this process -> the same on every device.
    shard: this process's rows of a batch -> spread over its devices.
    to_global, from_global: the state as arrays over all processes, as checkpoints
      hold it, and back.
    """

    mesh: Mesh
    compile: Callable[[Step], Step]
    replicate: Callable[[PyTree], PyTree]
    shard: Callable[[dict[str, np.ndarray]], dict[str, Any]]
    to_global: Callable[[PyTree], PyTree]
    from_global: Callable[[PyTree], PyTree]


def parallel(name: str, devices: Sequence[jax.Device]) -> Parallel:
    """Return `shard_map` or `pmap` over `devices`, of all processes.

    Raises:
      ConfigError: for another name.
    """
    known = {"pmap": _pmap, "shard_map": _shard_map}
    if name not in known:
        raise ConfigError(f"parallel {name!r} is unknown; known: {', '.join(known)}")
    mesh = jax.make_mesh(
        (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )
    return known[name](mesh)


def check_divisible(micro_batch_size: int, devices: int) -> None:
    """Raise ConfigError unless every device gets the same number of samples."""
    if micro_batch_size % devices:
        raise ConfigError(
            f"micro_batch_size {micro_batch_size} is not divisible by {devices} "
            f"devices; use a multiple of {devices}"
        )


def local_copy(tree: PyTree) -> PyTree:
    """Return what every device holds alike, as arrays of this process's first."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def initialize_cluster() -> None:
    """Join the other processes, if a launcher says that there are any.

    `launch/local.sh` says so by the variables JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES and JAX_PROCESS_ID; SLURM, Open MPI, Kubernetes and TPU pods by
    their own, which JAX knows, where MEDSSL_CLUSTER is set.
    """
    if "JAX_NUM_PROCESSES" in os.environ:
        jax.distributed.initialize(
            os.environ["JAX_COORDINATOR_ADDRESS"],
            int(os.environ["JAX_NUM_PROCESSES"]),
            int(os.environ["JAX_PROCESS_ID"]),
        )
    elif os.environ.get("MEDSSL_CLUSTER"):
        jax.distributed.initialize()


def _shard_map(mesh: Mesh) -> Parallel:
    rows = NamedSharding(mesh, P(AXIS))

    def compile(step):
        # check_vma would sum the gradient of replicated params by itself, and the
        # step's own mean would then leave it once per device too large.
        mapped = jax.shard_map(
            step,
            mesh=mesh,
            in_specs=(P(), P(AXIS)),
            out_specs=(P(), P()),
            check_vma=False,
        )
        return jax.jit(mapped, donate_argnums=0)

    def replicate(state):
        return multihost_utils.host_local_array_to_global_array(state, mesh, P())

    def shard(batch):
        return {
            name: jax.make_array_from_process_local_data(rows, array)
            for name, array in batch.items()
        }

    return Parallel(mesh, compile, replicate, shard, _identity, _identity)


def _pmap(mesh: Mesh) -> Parallel:
    local = mesh.local_devices

    def compile(step):
        return jax.pmap(
            step,
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=(None, None),
            donate_argnums=0,
            devices=list(mesh.devices.flat),
        )

    def shard(batch):
        return {
            name: array.reshape(len(local), -1, *array.shape[1:])
            for name, array in batch.items()
        }

    def to_global(state):
        return multihost_utils.host_local_array_to_global_array(state, mesh, P())

    def from_global(state):
        return multihost_utils.global_array_to_host_local_array(state, mesh, P())

    return Parallel(mesh, compile, _identity, shard, to_global, from_global)


def _identity(state):
    return state
