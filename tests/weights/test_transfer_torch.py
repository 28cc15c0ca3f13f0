"""State dicts of torch are transferred as mappings: VGG16 into a U-Net."""

import segmentation_models_pytorch as smp
import torch
from torchvision.models.vgg import cfgs, make_layers

import graypipe as gp


def vgg16():
    """Return the state dict of torchvision's VGG16, with a smaller classifier."""
    torch.manual_seed(16)
    features = {
        f"features.{name}": weight
        for name, weight in make_layers(cfgs["D"]).state_dict().items()
    }
    return {
        **features,
        "classifier.0.weight": torch.ones(10, 512),
        "classifier.0.bias": torch.ones(10),
    }


def test_a_gray_u_net_with_vgg16_weights_sees_what_vgg16_sees():
    source, plan = vgg16(), gp.plan("gray", "imagenet")
    unet = smp.Unet(
        "vgg16",
        encoder_weights=None,
        in_channels=1,
        decoder_channels=(32, 16, 16, 8, 8),
    )
    first = ("encoder.features.0.weight", "encoder.features.0.bias")
    weights, report = gp.weights.transfer(
        unet.state_dict(),
        source,
        rename=lambda name: f"encoder.{name}",
        adapt={first: lambda w, b: gp.weights.fold(w, b, plan.unit_map, layout="OIHW")},
    )
    assert report.adapted == first
    assert len(report.copied) == 24
    assert [name for name, _ in report.skipped] == [
        "classifier.0.weight",
        "classifier.0.bias",
    ]
    encoder = {name for name in weights if name.startswith("encoder.")}
    assert encoder == {*report.copied, *report.adapted}
    assert set(report.untouched) == set(weights) - encoder

    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    unet.load_state_dict(
        {name: torch.from_numpy(weight) for name, weight in weights.items()},
        strict=True,
    )
    state = unet.state_dict()
    for name in report.untouched:
        assert torch.equal(state[name], before[name])
    for name in report.copied:
        assert torch.equal(state[name], source[name.removeprefix("encoder.")])

    image = torch.randint(0, 256, (1, 48, 48), dtype=torch.uint8).numpy()
    three = make_layers(cfgs["D"]).eval()
    three.load_state_dict(
        {
            name.removeprefix("features."): w
            for name, w in source.items()
            if "features" in name
        }
    )
    gray = torch.from_numpy(gp.plan("gray", gp.Target("gray", "CHW")).batch(image))
    with torch.no_grad():
        expected = three[:1](torch.from_numpy(plan.batch(image)))[..., 1:-1, 1:-1]
        seen = unet.encoder.features[:1](gray)[..., 1:-1, 1:-1]
    assert float((seen - expected).norm() / expected.norm()) <= 1e-5


def test_parameters_that_require_gradients_are_accepted():
    source, target = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    weights, report = gp.weights.transfer(
        dict(target.named_parameters()), dict(source.named_parameters())
    )
    assert report.copied == ("weight", "bias")
    assert torch.equal(torch.from_numpy(weights["weight"]), source.weight.detach())
    weights["weight"][...] = 0
    assert source.weight.abs().sum() > 0
