"""A learning rate of its own for each initialisation and share of the labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from medssl_jax.errors import ConfigError
from medssl_jax.protocols import choice
from medssl_jax.protocols.experiment import Pace

# A seed of no measured run, and the same however many of these there are: repeats can
# be added to a finished protocol, and what was chosen stands.
APART = 1000

Line = tuple[float, str]  # a share of the labels, and an initialisation


class Choice(NamedTuple):
    """A rate, and the validation metrics of each that was tried, {} if it diverged."""

    rate: float
    tried: Mapping[float, choice.Metrics]


def folders(
    within: Path, lines: Sequence[Line], rates: Sequence[float]
) -> dict[Line, dict[float, Path]]:
    """Return where each rate is tried; nowhere, if there are not two to choose from.

    Raises:
      ConfigError: if a rate is there twice.
    """
    names = {float(rate): f"{rate:g}" for rate in rates}
    if len(set(names.values())) < len(rates):
        raise ConfigError(f"config.rates has a rate twice: {rates}")
    if len(rates) < 2:
        return {}
    return {
        (fraction, start): {
            rate: within / start / f"{fraction:g}" / name
            for rate, name in names.items()
        }
        for fraction, start in lines
    }


def choose(
    experiments: Mapping[Line, ConfigDict],
    tried: Mapping[Line, Mapping[float, Path]],
    *,
    within: Path,
    pace: Pace,
) -> dict[Line, Choice]:
    """Train once at each rate, and choose by validation, each line for itself.

    The lowest validation loss decides, as in `protocols.grid`.

    Raises:
      UserError: if config, data or disk do not allow it, or all rates of a line diverge.
    """
    choices = {}
    for line, folders in tried.items():
        found = {}
        for rate, folder in folders.items():
            changes = {choice.PEAK: rate}
            experiment = experiments[line]
            found[rate] = choice.attempt(experiment, changes, folder, within=within)
            pace.tell()
        at = _named(line)
        best = choice.lowest(list(found.values()), at=at, field="config.rates")
        choices[line] = Choice(list(found)[best], found)
    return choices


def told(choices: Mapping[Line, Choice]) -> str:
    """Say in a sentence how the rates were chosen."""
    first = next(iter(choices.values()))
    rates = ", ".join(f"{rate:g}" for rate in first.tried)
    return (
        f"Each has the learning rate, of {rates}, that its own validation chose at each "
        "share of the labels."
    )


def at_edge(choices: Mapping[Line, Choice]) -> str:
    """Say which rates were chosen at an end of the grid; "" if none was."""
    ends = {
        "highest": {n: c.rate for n, c in choices.items() if c.rate == max(c.tried)},
        "lowest": {n: c.rate for n, c in choices.items() if c.rate == min(c.tried)},
    }
    said = [
        f"the {end} rate, {next(iter(lines.values())):g}, was chosen for "
        f"{', '.join(map(_named, lines))}"
        for end, lines in ends.items()
        if lines
    ]
    if not said:
        return ""
    return f"{'; '.join(said)}: the best may lie beyond; widen config.rates"


def table(choices: Mapping[Line, Choice], *, seed: int) -> dict[str, Any]:
    """Lay out each rate's validation loss, and what was chosen, for results.json.

    `seed` is of the runs that were made for it.
    """
    first = next(iter(choices.values()))
    edge = at_edge(choices)
    edge = edge and f" {edge[0].upper()}{edge[1:]}."
    return {
        "title": "Learning rates, chosen on validation",
        "note": "Validation loss of one run each, as long as those that are measured, of "
        f"a seed that none of these has ({seed}); the lowest is chosen. –: it diverged. "
        f"No test example was looked at.{edge}",
        "columns": ["labels", "of", *(f"at {r:g}" for r in first.tried), "chosen"],
        "rows": [
            [
                _share(line),
                line[1],
                *(metrics.get(choice.LOSS) for metrics in chosen.tried.values()),
                f"{chosen.rate:g}",
            ]
            for line, chosen in choices.items()
        ],
    }


def values(choices: Mapping[Line, Choice]) -> dict[str, float]:
    """Return the chosen rates by name, for results.json."""
    return {
        f"{start}, {fraction:g}": choices[fraction, start].rate
        for fraction, start in choices
    }


def write_csv(path: Path, choices: Mapping[Line, Choice]) -> None:
    """Write a row for each rate that was tried, with all its validation metrics."""
    settings = [
        {
            "fraction": fraction,
            "initialisation": start,
            "rate": rate,
            "chosen": "yes" if rate == chosen.rate else "no",
        }
        for (fraction, start), chosen in choices.items()
        for rate in chosen.tried
    ]
    tried = [m for chosen in choices.values() for m in chosen.tried.values()]
    choice.write_csv(path, settings, tried)


def _share(line: Line) -> str:
    return f"{100 * line[0]:g} %"


def _named(line: Line) -> str:
    return f"{line[1]} with {_share(line)}"
