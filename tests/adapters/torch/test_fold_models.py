"""fold_into on models of torchvision, timm and segmentation_models_pytorch, with random weights."""

import imagenet
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

import graypipe as gp
from graypipe.adapters.torch import compare, fold_into

PLAN = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)

SMALL = (32, 16, 8, 8, 4)
PADDED = {
    "torchvision resnet18": models.resnet18,
    "torchvision vgg11": lambda: models.vgg11(num_classes=5, init_weights=False),
    "torchvision densenet121": models.densenet121,
    "torchvision mobilenet_v3_small": models.mobilenet_v3_small,
    "torchvision efficientnet_b0": models.efficientnet_b0,
    "torchvision deeplabv3": lambda: models.segmentation.deeplabv3_mobilenet_v3_large(
        weights_backbone=None
    ),
    "timm resnet18": lambda: timm.create_model("resnet18"),
    "timm tf_efficientnet_b0": lambda: timm.create_model("tf_efficientnet_b0"),
    "smp Unet resnet18": lambda: smp.Unet(
        "resnet18", encoder_weights=None, decoder_channels=SMALL
    ),
    "smp Unet vgg11": lambda: smp.Unet(
        "vgg11", encoder_weights=None, decoder_channels=SMALL
    ),
}
LAYERS = {
    "torchvision resnet18": "conv1",
    "torchvision vgg11": "features.0",
    "torchvision densenet121": "features.conv0",
    "torchvision mobilenet_v3_small": "features.0.0",
    "torchvision efficientnet_b0": "features.0.0",
    "torchvision deeplabv3": "backbone.0.0",
    "timm resnet18": "conv1",
    "timm tf_efficientnet_b0": "conv_stem",
    "smp Unet resnet18": "encoder.conv1",
    "smp Unet vgg11": "encoder.features.0",
    "torchvision convnext_tiny": "features.0.0",
    "torchvision vit_b_16": "conv_proj",
    "timm convnext_atto": "stem.0",
    "timm vit_tiny": "patch_embed.proj",
    "timm swin_tiny": "patch_embed.proj",
}
UNPADDED = {
    "torchvision convnext_tiny": lambda: models.ConvNeXt(
        [CNBlockConfig(96, None, 2)], num_classes=5
    ),
    "torchvision vit_b_16": lambda: models.VisionTransformer(64, 16, 2, 2, 32, 64),
    "timm convnext_atto": lambda: timm.create_model("convnext_atto"),
    "timm vit_tiny": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=96, depth=2
    ),
    "timm swin_tiny": lambda: timm.create_model("swin_tiny_patch4_window7_224"),
}


def make_model(build):
    """Return a model whose output depends on the image: some heads and gains start at zero."""
    torch.manual_seed(6)
    model = build().eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Linear) and not part.weight.any():
                part.weight.normal_(0, 0.1)
            elif isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.9, 1.1)
    return model


def by_hand(model, layer, size):
    """Return the logits of the model, for an image normalised by hand, and of the folded one."""
    image = np.random.default_rng(7).integers(0, 256, (1, *size), dtype=np.uint8)
    three = torch.from_numpy(
        ((image[:, None] / 255 - MEAN[:, None, None]) / STD[:, None, None]).astype(
            "float32"
        )
    )
    folded, feed = layer
    with torch.no_grad():
        outputs = [model(three), folded(torch.from_numpy(feed.batch(image)))]
    return [output["out"] if isinstance(output, dict) else output for output in outputs]


def relative(actual, expected):
    assert float(expected.norm()) > 0
    actual, expected = actual.double(), expected.double()
    return float((actual - expected).norm() / expected.norm())


SIZES = {"timm vit_tiny": (96, 96), "timm swin_tiny": (224, 224)}


@pytest.mark.parametrize("name", PADDED)
def test_exact_folds_keep_the_logits(name):
    model = make_model(PADDED[name])
    exact = fold_into(model, PLAN, exact=True)
    comparison = compare(model, PLAN, *exact)
    assert comparison.layer == LAYERS[name]
    assert max(comparison.interior.relative, comparison.border.relative) <= 1e-5
    expected, logits = by_hand(model, exact, (64, 96))
    assert relative(logits, expected) <= 1e-4


@pytest.mark.parametrize(
    "name", ["torchvision resnet18", "timm tf_efficientnet_b0", "smp Unet vgg11"]
)
def test_plain_folds_differ_only_at_the_padded_border(name):
    model = make_model(PADDED[name])
    plain = fold_into(model, PLAN)
    comparison = compare(model, PLAN, *plain)
    assert comparison.interior.relative <= 1e-5
    assert 1e-3 < comparison.border.relative < 0.2
    expected, logits = by_hand(model, plain, (64, 96))
    assert relative(logits, expected) < 0.1


@pytest.mark.parametrize("name", UNPADDED)
def test_folds_without_padding_are_exact_everywhere(name):
    model = make_model(UNPADDED[name])
    plain = fold_into(model, PLAN)
    comparison = compare(model, PLAN, *plain)
    assert comparison.layer == LAYERS[name]
    assert comparison.interior.relative <= 1e-5
    assert comparison.border.largest == 0
    expected, logits = by_hand(model, plain, SIZES.get(name, (64, 64)))
    assert relative(logits, expected) <= 1e-4


def test_transform_input_is_refused_with_a_cure_that_works():
    model = make_model(
        lambda: models.googlenet(
            transform_input=True, init_weights=False, aux_logits=True
        )
    )
    with pytest.raises(
        gp.ChannelError,
        match=r"reads the unmodified image.*transform_input.*'inception'",
    ):
        fold_into(model, PLAN)
    expected, _ = by_hand(model, (lambda x: x, PLAN), (96, 96))
    model.transform_input = False
    plan = gp.plan(PLAN.source, "inception")
    folded = fold_into(model, plan)
    model.transform_input = True
    _, logits = by_hand(model, folded, (96, 96))
    assert relative(logits, expected) <= 1e-4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "resnetv2_50x1_bit",
            r"'stem.conv' \(StdConv2d\) does not apply its weight unchanged",
        ),
        (
            "nf_resnet26",
            r"'stem.conv' \(ScaledStdConv2d\) does not apply its weight unchanged",
        ),
        ("tresnet_m", r"'body.s2d' \(SpaceToDepth\) reads it instead"),
    ],
)
def test_stems_that_do_more_than_convolve_are_refused(name, message):
    with pytest.raises(gp.ChannelError, match=message):
        fold_into(timm.create_model(name), PLAN)


def test_branches_are_refused_until_they_are_fused():
    size = {"input_size": (3, 64, 64)}
    model = make_model(
        lambda: timm.create_model("mobileone_s0", pretrained_cfg_overlay=size)
    )
    with pytest.raises(gp.ChannelError, match=r"several layers.*reparameterize_model"):
        fold_into(model, PLAN)
    folded = fold_into(reparameterize_model(model), PLAN, exact=True)
    expected, logits = by_hand(model, folded, (64, 64))
    assert relative(logits, expected) <= 1e-4


def test_a_nested_model_and_its_size_are_found():
    inner = timm.create_model(
        "vit_tiny_patch16_224", img_size=96, depth=1, num_classes=0
    )
    model = make_model(lambda: nn.ModuleDict({"backbone": inner})["backbone"])
    model = nn.Sequential(model, nn.Linear(192, 2)).eval()
    folded, feed = fold_into(model, PLAN)
    assert folded[0].patch_embed.proj.in_channels == 1
    assert compare(model, PLAN, folded, feed).model.relative <= 1e-5


def test_the_smp_encoder_folds_under_other_decoders_too():
    model = make_model(lambda: smp.Linknet("resnet18", encoder_weights=None))
    folded, feed = fold_into(model, PLAN, exact=True)
    assert compare(model, PLAN, folded, feed).model.relative <= 1e-4
