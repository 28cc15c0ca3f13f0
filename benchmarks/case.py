"""A case: contenders that compute the same result, and the check that they do."""

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
    """Contenders that are measured together.

    Attributes
    ----------
    name : str
        Name of the case, unique in its group.
    facts : dict of str
        Size, dtype, layout and so on, by which targets select their cases.
    ours : dict of callables
        graypipe, through its public API.
    peer : dict of callables
        Public functions of other libraries.
    hand : dict of callables
        The fastest NumPy and torch code for this case alone.
    floor : dict of callables
        Work that no contender can avoid, such as writing the output.
    check : callable
        Raises AssertionError for the name and the wrong result of a contender.
    gauge : str
        What is measured: a key of ``running.GAUGES``.
    left_out : dict of str
        Why a peer does not take part, by its name.
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
    """Run every contender once and leave out the peers that fail, each with its reason.

    An error of graypipe itself is raised.
    """
    reasons = {}
    for name in case.contenders:
        reason = _fault(case, name)
        if reason is not None:
            reasons[name] = reason
    admitted = {}
    for kind in KINDS:
        contenders = getattr(case, kind)
        admitted[kind] = {
            name: run for name, run in contenders.items() if name not in reasons
        }
    return replace(case, left_out=case.left_out | reasons, **admitted)


def _fault(case: Case, name: str) -> str | None:
    """Return why a contender cannot take part, or None if it can."""
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
    """Return ``check`` for contenders that write into ``out``, which is cleared after each.

    All of them share one array, because the memory pages of an array can matter more than the code that writes it.
    """

    def checked(name: str, result: Any) -> None:
        assert np.may_share_memory(np.asarray(result), out), (
            f"{name} returns memory of its own"
        )
        check(name, result)
        out.fill(0)

    return checked


def expanded(image: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return three equal bands of ``image`` along ``axis``."""
    planes = np.empty((3, *image.shape), image.dtype)
    for plane in planes:
        plane[...] = image
    return np.moveaxis(planes, 0, axis)
