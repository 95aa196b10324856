"""Optimizers, what they leave frozen, schedules and durations."""

from medssl_jax.optim.optimizers import adam as adam
from medssl_jax.optim.optimizers import adamw as adamw
from medssl_jax.optim.optimizers import is_kernel as is_kernel
from medssl_jax.optim.optimizers import larc as larc
from medssl_jax.optim.optimizers import lars as lars
from medssl_jax.optim.optimizers import optimizer as optimizer
from medssl_jax.optim.optimizers import sgd as sgd
