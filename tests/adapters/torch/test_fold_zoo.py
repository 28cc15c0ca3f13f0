"""Models of Hugging Face and timm are folded, saved and loaded in another process."""

import fold_zoo
import pytest

# One for each kind of first layer and configuration; `fold_zoo.py` runs many more.
EXACT_WITHOUT_PADDING = ["ViTForImageClassification", "SwinModel"]
PADDED = ["SegformerModel", "mobilenetv3_small_050"]
WITHOUT_BIAS = ["ResNetModel"]

pytestmark = pytest.mark.filterwarnings("default")  # of the other libraries


@pytest.fixture(scope="module")
def results():
    names = [*EXACT_WITHOUT_PADDING, *PADDED, *WITHOUT_BIAS]
    return {key: found for key, *found in fold_zoo.check(names)}


@pytest.mark.parametrize("name", [*EXACT_WITHOUT_PADDING, *PADDED, *WITHOUT_BIAS])
def test_exact_folds_are_equal_and_stay_so_when_loaded(results, name):
    folded, loaded = results[f"{name}-exact"]
    assert folded <= 1e-5
    assert loaded <= 1e-6


@pytest.mark.parametrize("name", [*EXACT_WITHOUT_PADDING, *PADDED])
def test_plain_folds_stay_the_same_when_loaded(results, name):
    folded, loaded = results[f"{name}-plain"]
    assert folded <= (0.1 if name in PADDED else 1e-5)
    assert loaded <= 1e-6


@pytest.mark.parametrize("name", WITHOUT_BIAS)
def test_a_bias_that_from_pretrained_ignores_is_refused(results, name):
    message, _ = results[f"{name}-plain"]
    assert "pass exact=True" in message
