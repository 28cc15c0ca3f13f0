"""Hugging Face configurations, written by hand as mappings and objects, against values computed by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from imagenet import MEAN, STD

import graypipe as gp

PIXEL = np.array([[[255, 0, 51]]], np.uint8)
IMAGENET = {"image_mean": list(MEAN), "image_std": list(STD)}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
NORMALISED = list((np.array([1, 0, 0.2]) - MEAN) / STD)

CONFIGS = {
    "normalisation alone": ({"do_normalize": True, **IMAGENET}, NORMALISED),
    "everything said": (
        {
            "do_rescale": True,
            "rescale_factor": 0.00392156862745098,
            "do_normalize": True,
            **IMAGENET,
        },
        NORMALISED,
    ),
    "half": ({"do_normalize": True, **HALF}, [1, -1, -0.6]),
    "factor of 127.5 with an offset": (
        {"rescale_factor": 1 / 127.5, "offset": True, "do_normalize": False},
        [1, -1, -0.6],
    ),
    "factor of 127.5 with an offset, then statistics": (
        {
            "rescale_factor": 1 / 127.5,
            "rescale_offset": True,
            "do_normalize": True,
            **HALF,
        },
        [(1 - 0.5) / 0.5, (-1 - 0.5) / 0.5, (-0.6 - 0.5) / 0.5],
    ),
    "rescaled, not normalised": ({"do_normalize": False, **IMAGENET}, [1, 0, 0.2]),
    "neither": ({"do_rescale": False, "do_normalize": False}, [255, 0, 51]),
    "normalised in 0 to 255": (
        {
            "do_rescale": False,
            "do_normalize": True,
            "image_mean": [127.5] * 3,
            "image_std": [127.5] * 3,
        },
        [1, -1, -0.6],
    ),
    "flipped": ({"do_flip_channel_order": True, "do_normalize": False}, [0.2, 0, 1]),
    "flipped, equal statistics": (
        {"do_flip_channel_order": True, "do_normalize": True, **HALF},
        [-0.6, -1, 1],
    ),
}


@pytest.mark.parametrize(
    "kind", [dict, lambda config: SimpleNamespace(**config)], ids=["mapping", "object"]
)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_configuration_becomes_its_arithmetic(name, kind):
    config, expected = CONFIGS[name]
    x = gp.plan("RGB", gp.Target.from_hf(kind(config)))(PIXEL)
    np.testing.assert_allclose(
        x.ravel(), expected, rtol=0, atol=3e-5 if max(expected) > 2.7 else 2e-6
    )


@pytest.mark.parametrize(
    "config", [{}, {"do_normalize": True}, {"do_rescale": True, "image_std": [1, 1, 1]}]
)
def test_a_configuration_without_statistics_is_refused(config):
    with pytest.raises(
        gp.ChannelError, match=r"no statistics.*gp\.Target\(mean=\.\.\., std=\.\.\.\)"
    ):
        gp.Target.from_hf(config)


def test_a_flip_among_different_statistics_is_refused():
    with pytest.raises(gp.ChannelError, match="reverses the order of the bands"):
        gp.Target.from_hf(
            {"do_flip_channel_order": True, "do_normalize": True, **IMAGENET}
        )
