"""The guard: broken gradients in a row, and only in a row."""

import pytest

from medssl_jax.errors import UserError
from medssl_jax.run.guard import LIMIT, Guard

BROKEN, WHOLE = {"skipped": True}, {"skipped": False}


def test_ten_in_a_row_stop_the_run_and_name_the_last_files():
    guard = Guard()
    for step in range(LIMIT - 1):
        guard.see(BROKEN, step, ["a.nii"])
    with pytest.raises(UserError, match=r"at step 9, of: b\.nii, c\.nii\."):
        guard.see(BROKEN, 9, ["b.nii", "c.nii"])
    assert LIMIT == 10


def test_a_whole_gradient_between_them_starts_the_count_again():
    guard = Guard()
    for metrics in [BROKEN] * 9 + [WHOLE] + [BROKEN] * 9:
        guard.see(metrics, 0, ["a.nii"])
    assert guard.total == 18
