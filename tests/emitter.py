"""Options of `jax.jit` for tests of exact values or programs: XLA emits as for users.

conftest's flag makes it fuse, and so round, in another way; newer versions have one way.
"""

import os

_FLAG = "xla_cpu_use_fusion_emitters"
AS_USERS = {_FLAG: True} if _FLAG in os.environ["XLA_FLAGS"] else None
