"""Epochs become optimizer updates and micro-batches, once, in one place."""

from dataclasses import dataclass

from medssl_jax.errors import ConfigError


@dataclass(frozen=True)
class Durations:
    """How long a run is: `examples` an epoch, `batch_size` an update.

    `batch_size` and `micro_batch_size` count samples over all devices and processes;
    their ratio is the accumulation. A run is a whole number of updates.
    """

    examples: int
    batch_size: int
    micro_batch_size: int
    epochs: float

    def __post_init__(self):
        if self.batch_size % self.micro_batch_size:
            raise ConfigError(
                f"batch_size {self.batch_size} is not divisible by micro_batch_size "
                f"{self.micro_batch_size}; use a multiple of it"
            )
        if self.examples < 1:
            raise ConfigError("the training source has no examples")

    @property
    def accumulation(self) -> int:
        """Micro-batches per update."""
        return self.batch_size // self.micro_batch_size

    @property
    def updates_per_epoch(self) -> float:
        """Updates in one pass over the examples, in general not a whole number."""
        return self.examples / self.batch_size

    @property
    def updates(self) -> int:
        """Optimizer updates of the run."""
        return self.to_updates(self.epochs)

    @property
    def steps(self) -> int:
        """Micro-batches of the run."""
        return self.updates * self.accumulation

    def to_updates(self, epochs: float) -> int:
        """Round a number of epochs to updates; a positive one is one update or more."""
        return max(round(epochs * self.updates_per_epoch), int(epochs > 0))

    def to_steps(self, epochs: float) -> int:
        """Round a number of epochs to micro-batches, one or more."""
        return max(round(epochs * self.examples / self.micro_batch_size), 1)

    def epoch(self, step: int) -> float:
        """Return the epochs that `step` micro-batches have consumed."""
        return step * self.micro_batch_size / self.examples
