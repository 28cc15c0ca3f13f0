"""Models of Hugging Face and timm are folded, saved and loaded in another process."""

import pytest

from benchmarks import fold_zoo

# One for each kind of first layer and configuration; `python -m benchmarks.fold_zoo` runs many more.
VERDICTS = {
    "ViTForImageClassification": ("equal", "equal"),
    "SwinModel": ("equal", "equal"),
    "SegformerModel": ("close", "equal"),
    "mobilenetv3_small_050": ("close", "equal"),
    # from_pretrained would ignore the bias that a fold which is not exact adds.
    "ResNetModel": ("refused", "equal"),
}
KEYS = ("gray", "4 bands, exact")


@pytest.fixture(scope="module")
def results():
    found = fold_zoo.check(list(VERDICTS), KEYS)
    return {(name, key): result for name, key, result in found}


@pytest.mark.parametrize("name", VERDICTS)
def test_folds_are_equal_when_saved_and_loaded_or_refused(results, name):
    found = [results[name, key] for key in KEYS]
    assert tuple(result.verdict for result in found) == VERDICTS[name], found


def test_the_refusal_names_the_cure(results):
    assert "pass exact=True" in results["ResNetModel", "gray"].refused
