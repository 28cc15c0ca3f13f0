"""Values that a message must not print, and the error that a call raises for one."""

import numpy as np
import pytest

HUGE = [
    np.zeros((300, 300)),
    np.zeros((2, 300, 300, 7), np.uint8),
    np.array(["x" * 5000] * 9),
    [0.5] * 10_000,
    ["x"] * 10_000,
    {f"k{i}": i for i in range(5000)},
    {f"k{i}": np.zeros(9) for i in range(5000)},
    [np.zeros((50, 50))],
    10**400,
    None,
]


def error_of(call, value):
    """Return what ``call(value)`` raises, or None."""
    try:
        call(value)
    except (Exception, pytest.fail.Exception) as error:
        return error
    return None
