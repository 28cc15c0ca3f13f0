"""A case: contenders that compute the same thing, and the check that they do."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Run = Callable[[], Any]
Build = Callable[[], "Case"]
Check = Callable[[str, Any], None]

KINDS = ("ours", "peer", "hand", "floor")


@dataclass(frozen=True)
class Case:
    """What is measured together, in one shuffle.

    ``ours`` is graypipe through its public API, ``peer`` what public transforms of other libraries do, ``hand`` the
    best NumPy and torch one can write for the case, ``floor`` what no contender can beat. ``check(name, result)``
    raises AssertionError for a wrong result; ``facts`` say which cell of its group the case is.
    """

    name: str
    facts: dict[str, str]
    ours: dict[str, Run]
    peer: dict[str, Run] = field(default_factory=dict)
    hand: dict[str, Run] = field(default_factory=dict)
    floor: dict[str, Run] = field(default_factory=dict)
    check: Check = lambda name, result: None  # noqa: ARG005
    gauge: str = "time"
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def contenders(self) -> dict[str, Run]:
        """Every contender by name."""
        return self.ours | self.peer | self.hand | self.floor

    def kind(self, name: str) -> str:
        """Return the kind of the contender ``name``."""
        return next(kind for kind in KINDS if name in getattr(self, kind))


def admit(case: Case) -> Case:
    """Run every contender once and return the case without the peers that fail, each with its reason.

    graypipe itself must not fail: its errors are raised.
    """
    reasons = {
        name: reason for name in case.contenders if (reason := _fault(case, name))
    }
    kept = {
        kind: {
            name: run
            for name, run in getattr(case, kind).items()
            if name not in reasons
        }
        for kind in KINDS
    }
    return replace(case, left_out=case.left_out | reasons, **kept)


def _fault(case: Case, name: str) -> str | None:
    try:
        case.check(name, case.contenders[name]())
    except Exception as error:
        if case.kind(name) == "ours":
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[0][:160] if lines else ''}"
    return None


def same_as(expected: ArrayLike, tolerance: float = 0.0) -> Check:
    """Return the check that a result equals ``expected``: exactly, dtype and all, or within ``tolerance``.

    The tolerance is absolute below 1 and relative above.
    """
    wanted = np.asarray(expected)

    def check(name: str, result: Any) -> None:
        found = np.asarray(result)
        assert found.shape == wanted.shape, (
            f"{name} has shape {found.shape}, expected {wanted.shape}"
        )
        if not tolerance:
            assert found.dtype == wanted.dtype, (
                f"{name} has dtype {found.dtype}, expected {wanted.dtype}"
            )
            assert np.array_equal(found, wanted), f"{name} has other pixels"
            return
        assert found.dtype == np.float32, (
            f"{name} has dtype {found.dtype}, expected float32"
        )
        off = float(
            np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted)), initial=0)
        )
        assert off <= tolerance, f"{name} is off by {off:.2g}, more than {tolerance:g}"

    return check


def written_into(out: NDArray[Any], check: Check) -> Check:
    """Return ``check`` for contenders that all write into ``out``, which is emptied after each.

    One array serves all, because the pages of memory that an array happened to get can decide more than the code.
    """

    def checked(name: str, result: Any) -> None:
        assert np.may_share_memory(np.asarray(result), out), (
            f"{name} returns memory of its own"
        )
        check(name, result)
        out.fill(0)

    return checked


def expanded(image: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return three equal bands of ``image`` along ``axis``, written band by band."""
    planes = np.empty((3, *image.shape), image.dtype)
    for plane in planes:
        plane[...] = image
    return np.moveaxis(planes, 0, axis)
