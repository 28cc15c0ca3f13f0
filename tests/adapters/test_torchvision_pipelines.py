"""From files to logits: ToBackbone against pipelines of torchvision and timm written by hand."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer
from graypipe.adapters.torchvision import ToBackbone

SIZE = 64
WEIGHTS = {
    "resnet18": models.ResNet18_Weights.DEFAULT,
    "efficientnet_b0": models.EfficientNet_B0_Weights.DEFAULT,
    "vit_b_16": models.ViT_B_16_Weights.DEFAULT,
}
TIMM = {"vit_tiny_patch16_224": {"img_size": SIZE}, "resnet10t": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of two classes, each with 8-bit gray, 16-bit gray and colour."""
    rng, root = np.random.default_rng(4), tmp_path_factory.mktemp("mixed")
    for label in ("cat", "dog"):
        (root / label).mkdir()
        Image.fromarray(rng.integers(0, 256, (72, 80), np.uint8)).save(
            root / label / "a_8_bits.png"
        )
        Image.fromarray(rng.integers(0, 65536, (72, 80), np.uint16)).save(
            root / label / "b_16_bits.png"
        )
        Image.fromarray(rng.integers(0, 256, (72, 80, 3), np.uint8)).save(
            root / label / "c_colour.png"
        )
    return root


@pytest.fixture(scope="module", params=[*WEIGHTS, *TIMM])
def backbone(request):
    """Return a model with random weights, its target, and its documented mean and std."""
    torch.manual_seed(0)
    if request.param in WEIGHTS:
        weights = WEIGHTS[request.param]
        options = {"image_size": SIZE} if request.param == "vit_b_16" else {}
        model = models.get_model(request.param, weights=None, num_classes=5, **options)
        documented = weights.transforms()
        return (
            model.eval(),
            gp.Target.from_torchvision(weights),
            documented.mean,
            documented.std,
        )
    model = timm.create_model(
        request.param, pretrained=False, num_classes=5, **TIMM[request.param]
    )
    config = timm.data.resolve_data_config(model=model)
    return model.eval(), gp.Target.from_timm(config), config["mean"], config["std"]


def by_hand(path, mean, std):
    """Return a file as a batch of one, prepared in NumPy."""
    pixels = np.asarray(Image.open(path))
    top, left = (72 - SIZE) // 2, (80 - SIZE) // 2
    unit = pixels[top : top + SIZE, left : left + SIZE] / np.iinfo(pixels.dtype).max
    rgb = np.repeat(unit[..., None], 3, -1) if unit.ndim == 2 else unit
    return torch.from_numpy(
        ((rgb - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
    )


def test_logits_equal_those_of_a_pipeline_by_hand(backbone, folder):
    model, target, mean, std = backbone
    to_backbone = ToBackbone(gp.plan("gray", target), gp.plan("RGB", target))
    files = ImageFolder(
        folder, v2.Compose([v2.CenterCrop(SIZE), to_backbone]), loader=Image.open
    )
    batch = torch.stack([image for image, _ in files])
    expected = torch.cat([by_hand(path, mean, std) for path, _ in files.samples])
    torch.testing.assert_close(batch, expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model(batch), model(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", WEIGHTS)
def test_gray_files_equal_the_transforms_of_the_weights(name, folder):
    weights = WEIGHTS[name]
    documented = weights.transforms(crop_size=SIZE, resize_size=70)
    resize = v2.Resize(
        70, interpolation=documented.interpolation, antialias=documented.antialias
    )
    to_backbone = ToBackbone(gp.plan("gray", gp.Target.from_torchvision(weights)))
    picture = Image.open(folder / "cat" / "a_8_bits.png")
    x = v2.Compose([resize, v2.CenterCrop(SIZE), to_backbone])(picture)
    torch.testing.assert_close(
        torch.Tensor(x), documented(picture.convert("RGB")), rtol=1e-5, atol=1e-5
    )


def test_the_layer_equals_the_transform(backbone, folder):
    model, target, mean, std = backbone
    image, source = gp.read(folder / "dog" / "b_16_bits.png", bits=16)
    stored = torch.from_numpy(image)[None, None, 4:68, 8:72]
    whole = torch.nn.Sequential(ChannelLayer(gp.plan(source, target)), model)
    with torch.no_grad():
        expected = model(by_hand(folder / "dog" / "b_16_bits.png", mean, std))
        torch.testing.assert_close(whole(stored), expected, rtol=1e-3, atol=1e-3)


def test_the_error_names_the_default_loader_of_a_folder(folder):
    files = ImageFolder(folder, ToBackbone(gp.plan("gray", "imagenet")))
    with pytest.raises(
        gp.ChannelError,
        match=r"ImageFolder.*loader=PIL\.Image\.open.*loader=open_picture",
    ):
        files[0]


@pytest.mark.parametrize("workers", [None, "fork", "spawn"])
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
def test_worker_processes_batch_a_mixed_folder(workers, folder):
    both = ToBackbone(gp.plan("gray", "imagenet"), gp.plan("RGB", "imagenet"))
    files = ImageFolder(
        folder, v2.Compose([v2.CenterCrop(SIZE), both]), loader=Image.open
    )
    processes = (
        {"num_workers": 2, "multiprocessing_context": workers} if workers else {}
    )
    batches = [images for images, _ in DataLoader(files, batch_size=4, **processes)]
    assert [tuple(batch.shape) for batch in batches] == [
        (4, 3, SIZE, SIZE),
        (2, 3, SIZE, SIZE),
    ]
    assert torch.equal(
        torch.cat(batches), torch.stack([files[index][0] for index in range(6)])
    )


@pytest.mark.parametrize("lead", [(), (1,)], ids=["H, W", "1, H, W"])
def test_batches_equal_the_transform_of_each_image(
    lead,
):
    rng = np.random.default_rng(6)
    images = torch.from_numpy(rng.integers(0, 256, (10, *lead, 12, 14), np.uint8))
    loader = DataLoader(TensorDataset(images, torch.arange(10)), batch_size=4)
    to_backbone = ToBackbone(gp.plan("gray", "imagenet"))
    plan = gp.plan(gp.Source("gray", "CHW" if lead else "HW"), "imagenet")
    buffer = torch.empty(4, 3, 12, 14)
    for x, labels in loader:
        expected = torch.stack(
            [to_backbone(images[label].reshape(1, 12, 14)) for label in labels]
        )
        assert torch.equal(to_backbone(x.reshape(-1, 1, 12, 14)), expected)
        batch = buffer[: len(x)]
        plan.batch(x.numpy(), out=batch.numpy(), threads=2)
        assert torch.equal(batch, expected)
