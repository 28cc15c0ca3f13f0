"""Where views die, as the study finds it by running the consumers."""

import pytest

from benchmarks import survival


@pytest.fixture(scope="module")
def outcomes():
    return {row["consumer"]: row["outcome"] for row in survival.outcomes()}


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        ("NumPy: slice, flip, transpose", "shared"),
        ("NumPy: np.ascontiguousarray", "copied"),
        ("NumPy: in-place arithmetic", "refused"),
        ("torch.from_numpy", "shared"),
        ("torch: in-place arithmetic", "refused"),
        ("torch: pickle of the tensor", "one band"),
        ("pickle of the array (worker queue)", "copied"),
        ("default_collate", "copied"),
        ("tf.convert_to_tensor", "copied"),
    ],
)
def test_a_broadcast_view_ends_where_it_is_known_to(outcomes, step, outcome):
    assert outcomes[step] == outcome
