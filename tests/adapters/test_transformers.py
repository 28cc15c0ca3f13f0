"""ImageProcessor of transformers: results, saved configurations, pipelines, training."""

import json

import numpy as np
import oracle
import pytest
import torch
import transformers
from datasets import Dataset, Features, Image, Value
from imagenet import MEAN, STD
from PIL import Image as PILImage
from torchvision.transforms.v2 import functional

import graypipe as gp
from graypipe.adapters.transformers import ImageProcessor

RNG = np.random.default_rng(4)
GRAY = RNG.integers(0, 256, (20, 30), np.uint8)
DEEP = RNG.integers(0, 4096, (20, 30), np.uint16)
RGB = RNG.integers(0, 256, (20, 30, 3), np.uint8)
PLAN = gp.plan(gp.Source("gray", bits=12), "imagenet")
MIXED = gp.Plans(
    gp.plan(gp.Source("gray", dtype="uint8"), "imagenet"),
    gp.plan(gp.Source("gray", bits=12, dtype="uint16"), "imagenet"),
    gp.plan("RGB", "imagenet"),
)


def pixel_values(processor, images, **kwargs):
    """Return the pixels as one array."""
    return processor(images, return_tensors="pt", **kwargs)["pixel_values"].numpy()


@pytest.mark.parametrize(
    "images",
    [
        DEEP,
        PILImage.fromarray(DEEP),
        torch.from_numpy(DEEP)[None],
        [DEEP],
        (PILImage.fromarray(DEEP),),
        DEEP[None],
        torch.from_numpy(DEEP)[None, None],
        [[DEEP]],
    ],
    ids=["array", "PIL", "tensor", "list", "tuple", "arrays", "tensors", "nested"],
)
def test_images_of_every_kind_equal_the_plan(images):
    x = pixel_values(ImageProcessor(PLAN), images)
    np.testing.assert_array_equal(x, PLAN(DEEP)[None])


def test_a_mixed_list_selects_a_plan_for_each_image():
    x = pixel_values(ImageProcessor(MIXED), [GRAY, PILImage.fromarray(RGB), DEEP])
    np.testing.assert_array_equal(x, MIXED.batch([GRAY, RGB, DEEP]))


def test_sizes_are_those_of_transformers_applied_after_the_plan():
    processor = ImageProcessor(PLAN, size={"shortest_edge": 12}, crop_size=10)
    resized = functional.resize(torch.from_numpy(PLAN(DEEP)), [12], antialias=True)
    expected = functional.center_crop(resized, [10, 10])
    np.testing.assert_allclose(
        pixel_values(processor, DEEP)[0], expected, rtol=1e-6, atol=1e-6
    )
    larger = pixel_values(ImageProcessor(PLAN), DEEP, size=64, do_resize=True)
    assert larger.shape == (1, 3, 64, 64)


def test_a_crop_beyond_the_image_is_filled_with_the_mean():
    x = pixel_values(ImageProcessor(PLAN, crop_size=40), DEEP)
    assert not x[0, :, 0].any()


def test_pixels_without_data_stay_zero():
    plan = gp.plan(gp.Source("gray", bits=12, nodata=0), "imagenet")
    hole = DEEP.copy()
    hole[:10] = 0
    assert not pixel_values(ImageProcessor(plan), hole)[0, :, :10].any()


@pytest.mark.parametrize("plan", [PLAN, MIXED], ids=["plan", "plans"])
def test_saved_processors_are_equal(plan, tmp_path):
    processor = ImageProcessor(plan, size=16, crop_size=12)
    processor.save_pretrained(tmp_path)
    restored = ImageProcessor.from_pretrained(tmp_path)
    assert restored.plan == plan
    assert restored.to_dict() == processor.to_dict()
    np.testing.assert_array_equal(
        pixel_values(restored, DEEP), pixel_values(processor, DEEP)
    )
    without_size = ImageProcessor(plan)
    without_size.save_pretrained(tmp_path)
    resized = ImageProcessor.from_pretrained(tmp_path, size=8)
    assert pixel_values(resized, DEEP).shape == (1, 3, 8, 8)


def test_the_fields_of_the_configuration_give_the_numbers_of_the_plan(tmp_path):
    ImageProcessor(PLAN).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    unit = DEEP * np.float64(config["rescale_factor"])
    mean = np.reshape(config["image_mean"], (3, 1, 1))
    std = np.reshape(config["image_std"], (3, 1, 1))
    np.testing.assert_allclose(config["image_mean"], MEAN)
    np.testing.assert_allclose(config["image_std"], STD)
    terms = np.abs(unit / std) + np.abs(mean / std)
    oracle.assert_matches(PLAN(DEEP), (unit - mean) / std, terms)
    assert config["do_rescale"]
    assert config["do_normalize"]


def test_a_target_from_minus_one_to_one_is_a_mean_and_a_std_of_one_half():
    plan = gp.plan(gp.Source("gray", bits=8), gp.Target(range=(-1, 1)))
    config = ImageProcessor(plan).to_dict()
    assert config["image_mean"] == config["image_std"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "source",
    [
        "gray",
        gp.Source("gray", range=(4095, 0)),
        gp.Source("gray", range=(-160, 240)),
        gp.Source("RGB", range=((0, 255), (0, 255), (0, 128))),
    ],
    ids=["undeclared", "reversed", "window", "per band"],
)
def test_fields_that_cannot_express_the_plan_are_left_out(source):
    config = ImageProcessor(gp.plan(source, "imagenet")).to_dict()
    fields = {"do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"}
    assert not any(config.get(name) for name in fields)


@pytest.mark.parametrize(
    "arguments",
    [{"do_normalize": False}, {"image_mean": [0.5] * 3}, {"do_convert_rgb": True}],
)
def test_arguments_that_the_plan_decides_are_an_error(arguments):
    with pytest.raises(gp.RangeError, match="decided by the plan"):
        ImageProcessor(PLAN)(DEEP, **arguments)
    with pytest.raises(gp.RangeError, match="decided by the plan"):
        ImageProcessor(PLAN, **arguments)


def test_an_edited_configuration_is_an_error(tmp_path):
    ImageProcessor(PLAN).save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    config = json.loads(path.read_text())
    config["rescale_factor"] = 1 / 255
    path.write_text(json.dumps(config))
    with pytest.raises(gp.RangeError, match=r"rescale_factor.*got 0.0039"):
        ImageProcessor.from_pretrained(tmp_path)


def test_paths_other_types_and_integer_targets_are_errors():
    with pytest.raises(gp.DTypeError, match=r"gp\.read"):
        ImageProcessor(PLAN)("scan.png")
    with pytest.raises(gp.DTypeError, match="expected a plan"):
        ImageProcessor("imagenet")
    with pytest.raises(gp.DTypeError, match="floating-point"):
        ImageProcessor(gp.plan("gray", "rgb8"))
    with pytest.raises(gp.ChannelError, match="4 bands"):
        ImageProcessor(PLAN)(torch.zeros(4, 8, 8))


def small_model(labels=2):
    """Return a classifier with random weights."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=labels
    )
    return transformers.ResNetForImageClassification(config).eval()


def test_a_pipeline_classifies_8_bit_pictures(tmp_path):
    model = small_model()
    processor = ImageProcessor(MIXED, size=32)
    classify = transformers.pipeline(
        "image-classification", model=model, image_processor=processor
    )
    PILImage.fromarray(GRAY).save(tmp_path / "gray.png")
    for picture in (
        PILImage.fromarray(GRAY),
        PILImage.fromarray(RGB),
        str(tmp_path / "gray.png"),
    ):
        loaded = picture
        if isinstance(picture, str):
            loaded = PILImage.open(picture)
        with torch.no_grad():
            logits = model(**processor(loaded, return_tensors="pt")).logits[0]
        scores = {each["label"]: each["score"] for each in classify(picture)}
        for label, index in model.config.label2id.items():
            assert scores[label] == pytest.approx(
                logits.softmax(0)[index].item(), abs=1e-5
            )


def test_a_pipeline_that_converts_to_rgb_is_an_error_for_a_gray_plan():
    classify = transformers.pipeline(
        "image-classification",
        model=small_model(),
        image_processor=ImageProcessor(PLAN),
    )
    with pytest.raises(gp.ChannelError, match="RGB"):
        classify(PILImage.fromarray(GRAY))


def deep_data(count=8):
    """Return a data set of 16-bit gray pictures with labels."""
    pictures = [
        PILImage.fromarray(RNG.integers(0, 4096, (20, 30), np.uint16))
        for _ in range(count)
    ]
    features = Features({"image": Image(), "label": Value("int64")})
    labels = [number % 2 for number in range(count)]
    return Dataset.from_dict({"image": pictures, "label": labels}, features=features)


def test_data_sets_apply_it_as_a_transform():
    processor = ImageProcessor(PLAN)
    data = deep_data(2)
    originals = [np.asarray(picture) for picture in data["image"]]
    assert originals[0].dtype == np.uint16
    transformed = data.with_transform(
        lambda batch: processor(batch["image"], return_tensors="np")
    )
    for row, original in zip(transformed, originals, strict=True):
        np.testing.assert_array_equal(row["pixel_values"], PLAN(original))


def test_a_trainer_takes_16_bit_gray_pictures(tmp_path):
    processor = ImageProcessor(PLAN, size=32)

    def convert(batch):
        inputs = processor(batch["image"], return_tensors="pt")
        inputs["labels"] = torch.tensor(batch["label"])
        return inputs

    model = small_model().train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            remove_unused_columns=False,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=deep_data().with_transform(convert),
        processing_class=processor,
    )
    assert trainer.train().global_step == 2
    assert any(
        not torch.equal(old, new)
        for old, new in zip(before, model.parameters(), strict=True)
    )
    trainer.save_model(str(tmp_path / "model"))
    assert ImageProcessor.from_pretrained(tmp_path / "model").plan == PLAN


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VIT = {**SMALL, "intermediate_size": 16, "image_size": 32, "patch_size": 8}
FAMILIES = {
    "beit": VIT,
    "clip_vision_model": VIT,
    "convnext": {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "deit": VIT,
    "dinov2": {**SMALL, "image_size": 32, "patch_size": 8},
    "efficientnet": {
        "width_coefficient": 0.25,
        "depth_coefficient": 0.1,
        "hidden_dim": 320,
    },
    "mobilenet_v2": {"depth_multiplier": 0.35},
    "poolformer": {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]},
    "siglip_vision_model": VIT,
    "swin": {
        "image_size": 32,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "vit": VIT,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_models_take_what_it_returns(family):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **FAMILIES[family])
    model = transformers.AutoModel.from_config(config).eval()
    inputs = ImageProcessor(PLAN, size=32)([DEEP, DEEP], return_tensors="pt")
    expected = functional.resize(
        torch.from_numpy(PLAN(DEEP)), [32, 32], antialias=True
    ).expand(2, -1, -1, -1)
    with torch.no_grad():
        result = model(**inputs)[0]
        torch.testing.assert_close(result, model(pixel_values=expected)[0])
    assert torch.isfinite(result).all()
