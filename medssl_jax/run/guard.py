"""Stop a run whose gradients stay broken, naming the files that it met last."""

from collections.abc import Mapping, Sequence

from medssl_jax.errors import Diverged

LIMIT = 10  # micro-batches in a row


class Guard:
    """Count skipped micro-batches; raise when `LIMIT` come in a row."""

    def __init__(self, total: int = 0):
        self.total = total
        self._in_a_row = 0

    def see(self, metrics: Mapping, step: int, names: Sequence[str]) -> None:
        """Take the metrics of micro-batch `step`, made of the examples `names`.

        Raises:
          Diverged: after `LIMIT` gradients in a row that were not finite.
        """
        if not metrics["skipped"]:
            self._in_a_row = 0
            return
        self.total += 1
        self._in_a_row += 1
        if self._in_a_row == LIMIT:
            raise Diverged(
                f"the gradient was not finite in {LIMIT} micro-batches in a row, the "
                f"last at step {step}, of: {', '.join(names)}. The last checkpoint is "
                "good. Look at these files, or lower the learning rate."
            )
