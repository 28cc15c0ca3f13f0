"""Numbers of bands that modules and configurations declare follow the fold."""

import numpy as np
import pytest
import torch
from torch import nn

import graypipe as gp
from graypipe.adapters.torch import fold_into

GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")


class Config:
    """As a configuration of Hugging Face: attributes, and ``to_dict``."""

    def __init__(self, **options):
        vars(self).update(options)

    def to_dict(self):
        return vars(self)


class Embedding(nn.Module):
    """Refuses images of other numbers of bands, as the modules of Hugging Face do."""

    def __init__(self, config, bias=True):
        super().__init__()
        self.config = config
        self.num_channels = config.num_channels
        self.projection = nn.Conv2d(config.num_channels, 4, 4, stride=4, bias=bias)

    def forward(self, pixel_values):
        if pixel_values.shape[1] != self.num_channels:
            raise ValueError("the channel dimension does not match num_channels")
        return self.projection(pixel_values)


class Model(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        vision = Config(num_channels=3, num_labels=3)
        self.config = Config(vision_config=vision, text_config=Config(width=3))
        self.config.itself = self.config
        self.embedding = Embedding(vision, bias)
        self.features = nn.Conv2d(4, 3, 1)
        self.features.num_channels = 3  # not around the layer: these are features

    def forward(self, x):
        return self.features(self.embedding(x))


@pytest.mark.parametrize(("exact", "bands"), [(False, 1), (True, 2)])
def test_declared_numbers_of_bands_are_replaced(exact, bands):
    model = Model().eval()
    folded, feed = fold_into(model, GRAY, exact=exact)
    assert folded.embedding.num_channels == bands
    assert folded.config.vision_config.num_channels == bands
    assert folded.embedding.config.num_channels == bands
    assert folded.config.vision_config.num_labels == 3
    assert folded.config.text_config.width == 3
    assert folded.features.num_channels == 3
    assert model.embedding.num_channels == model.embedding.config.num_channels == 3
    image = np.random.default_rng(1).integers(0, 256, (1, 20, 20), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(GRAY.batch(image)))
        actual = folded(torch.from_numpy(feed.batch(image)))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_names_of_other_configurations_are_replaced():
    model = Model()
    model.config.stem_num_channels = 3
    model.config.stem_channels = (3, 32, 48)
    folded, _ = fold_into(model, GRAY)
    assert folded.config.stem_num_channels == 1
    assert folded.config.stem_channels == [1, 32, 48]
    assert model.config.stem_channels == (3, 32, 48)


def test_a_bias_that_loading_would_ignore_is_refused():
    with pytest.raises(
        gp.ChannelError, match=r"from_pretrained would ignore.*exact=True"
    ) as caught:
        fold_into(Model(bias=False), GRAY)
    assert len(str(caught.value)) < 600
    folded, _ = fold_into(Model(bias=False), GRAY, exact=True)
    assert folded.embedding.projection.bias is None
    replicated = gp.plan(GRAY.source, "unit")
    folded, _ = fold_into(Model(bias=False), replicated)
    assert folded.embedding.projection.bias is None
