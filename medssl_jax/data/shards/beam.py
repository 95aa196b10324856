"""The same shards from many machines: Apache Beam, where it is installed."""

from collections.abc import Sequence

from medssl_jax.data.shards.write import Shard, WriteShard
from medssl_jax.errors import ConfigError, UserError


def write_by_beam(
    write: WriteShard, shards: Sequence[Shard], options: Sequence[str]
) -> None:
    """Write the shards as a Beam pipeline.

    `options` are the runner's flags, "--runner=DataflowRunner" and so on; without,
    Beam runs in this process. Workers have to see the data and the folder.

    Raises:
      ConfigError: if Apache Beam is not installed.
      UserError: if the pipeline fails; it holds the text of what a worker raised.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ConfigError(
            f"beam is set, but Apache Beam cannot be imported ({error}): "
            "pip install 'medssl_jax[beam]', or set beam=False and workers"
        ) from error
    try:
        with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | "shards" >> apache_beam.Create(list(shards))
                | "to all workers" >> apache_beam.Reshuffle()
                | "write" >> apache_beam.Map(write)
            )
    except Exception as error:  # runners wrap what a worker raised in anything
        raise UserError(f"the Beam pipeline failed: {error}") from error
