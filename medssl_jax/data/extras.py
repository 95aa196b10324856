"""Packages that not everybody needs: extras of setup.py."""

import importlib.util

from medssl_jax.errors import ConfigError


def require(package: str, extra: str, what: str) -> None:
    """Refuse to go on without a package; `what` says what it is for.

    Raises:
      ConfigError: naming what to install.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{what}, which takes {package}; pip install -e '.[{extra}]'")
