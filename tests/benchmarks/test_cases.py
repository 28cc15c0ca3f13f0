"""Every case runs once on tiny images: its contenders agree, or are left out for a known reason."""

import pytest

from benchmarks import groups
from benchmarks.case import Case, admit, same_as
from benchmarks.scale import FULL, QUICK, TINY

KNOWN_REASONS = (
    "writes HWC only",
    "writes CHW only",
    "reads and writes HWC only",
    "takes one image, not a batch",
    "has no RGB mode for uint16",
    "has no RGB mode for float32",
    "cannot write into an existing array",
)


def is_known(name, reason):
    """Return whether a peer is left out as expected; TensorFlow cannot tile uint16."""
    if name == "tf.image.grayscale_to_rgb" and "DataType : uint16" in reason:
        return True
    return reason in KNOWN_REASONS


# torchvision announces that a later version will have no decoders.
@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
@pytest.mark.parametrize("group", groups.GROUPS)
def test_contenders_of_every_case_compute_the_same(group):
    names = []
    for build in groups.cases(group, TINY):
        case = admit(build())
        for name, reason in case.left_out.items():
            assert is_known(name, reason), (case.name, name, reason)
        assert case.ours, case.name
        names.append(case.name)

    assert names
    assert sorted(set(names)) == sorted(names)


def test_a_quick_run_leaves_large_images_away():
    for group in ("normalise", "views", "zero_copy"):
        assert len(groups.cases(group, QUICK)) < len(groups.cases(group, FULL))


def test_images_are_about_as_large_as_their_name_says():
    for size in ("32", "224", "256", "512", "1024", "2048", "4096"):
        height, width = FULL.shape(size)
        assert height != width
        assert height * width == pytest.approx(int(size) ** 2, rel=0.03)


def test_a_peer_with_another_result_is_left_out():
    case = Case(
        "sum",
        {},
        ours={"graypipe": lambda: 3.0},
        peer={"other": lambda: 4.0},
        check=same_as(3.0),
    )

    admitted = admit(case)

    assert list(admitted.contenders) == ["graypipe"]
    assert admitted.left_out == {"other": "AssertionError: other has other pixels"}


def test_a_peer_that_fails_is_left_out_with_its_error():
    def fail():
        raise TypeError("no such type\nand a long story")

    case = Case(
        "sum",
        {},
        ours={"graypipe": lambda: 3.0},
        hand={"other": fail},
        check=same_as(3.0),
    )

    assert admit(case).left_out == {"other": "TypeError: no such type"}


def test_graypipe_itself_is_never_left_out():
    case = Case("sum", {}, ours={"graypipe": lambda: 4.0}, check=same_as(3.0))

    with pytest.raises(AssertionError, match="graypipe has other pixels"):
        admit(case)


@pytest.mark.parametrize("wrong", [[1.0, 2.1], [1.0], [[1.0, 2.0]]])
def test_a_result_beyond_the_tolerance_is_wrong(wrong):
    import numpy as np

    check = same_as([1.0, 2.0], 1e-3)

    check("right", np.float32([1.0, 2.001]))
    with pytest.raises(AssertionError):
        check("wrong", np.float32(wrong))
