"""Fold, save and load models of Hugging Face transformers and timm, with random weights.

`python tests/fold_zoo.py` runs all of them and prints a table. Arguments select models by a part of their name.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import timm
import torch
import transformers

import graypipe as gp
from graypipe.adapters.torch import fold_into
from graypipe.adapters.torch.evaluation import iter_tensors

PLAN = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
IMPORTED_FROM = (Path(__file__).parents[1], Path(__file__).parent)
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
SWIN = {
    "image_size": 64,
    "embed_dim": 16,
    "depths": [1, 1],
    "num_heads": [1, 2],
    "window_size": 4,
}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 32]}
RESNET = {
    "embedding_size": 8,
    "hidden_sizes": [16, 32],
    "depths": [1, 1],
    "layer_type": "basic",
}
PYRAMID = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 16, 32],
    "decoder_hidden_size": 16,
    "num_attention_heads": [1, 1, 2, 2],
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}

# Name of the configuration, name of the model, arguments of the configuration.
HUGGING_FACE = {
    "ViTModel": ("ViTConfig", VIT),
    "ViTForImageClassification": ("ViTConfig", VIT),
    "DeiTModel": ("DeiTConfig", VIT),
    "DeiTForImageClassificationWithTeacher": ("DeiTConfig", VIT),
    "BeitModel": ("BeitConfig", VIT),
    "Data2VecVisionModel": ("Data2VecVisionConfig", VIT),
    "Dinov2Model": ("Dinov2Config", VIT),
    "Dinov2ForImageClassification": ("Dinov2Config", VIT),
    "Dinov2WithRegistersModel": ("Dinov2WithRegistersConfig", VIT),
    "DINOv3ViTModel": ("DINOv3ViTConfig", VIT),
    "IJepaModel": ("IJepaConfig", VIT),
    "ViTMSNModel": ("ViTMSNConfig", VIT),
    "YolosModel": ("YolosConfig", {**VIT, "image_size": [64, 64]}),
    "CLIPVisionModel": ("CLIPVisionConfig", VIT),
    "CLIPVisionModelWithProjection": ("CLIPVisionConfig", VIT),
    "SiglipVisionModel": ("SiglipVisionConfig", VIT),
    "Aimv2VisionModel": ("Aimv2VisionConfig", VIT),
    "SwinModel": ("SwinConfig", SWIN),
    "SwinForImageClassification": ("SwinConfig", SWIN),
    "Swinv2Model": ("Swinv2Config", SWIN),
    "ConvNextModel": ("ConvNextConfig", STAGES),
    "ConvNextForImageClassification": ("ConvNextConfig", STAGES),
    "ConvNextV2Model": ("ConvNextV2Config", STAGES),
    "DINOv3ConvNextModel": ("DINOv3ConvNextConfig", STAGES),
    "ResNetModel": ("ResNetConfig", RESNET),
    "ResNetForImageClassification": ("ResNetConfig", RESNET),
    "RegNetModel": ("RegNetConfig", {**RESNET, "layer_type": "y", "groups_width": 8}),
    "BitModel": ("BitConfig", {**STAGES, "embedding_size": 8, "num_groups": 4}),
    "SegformerModel": ("SegformerConfig", PYRAMID),
    "SegformerForSemanticSegmentation": ("SegformerConfig", PYRAMID),
    "PoolFormerModel": ("PoolFormerConfig", STAGES),
    "MobileNetV1Model": ("MobileNetV1Config", {"depth_multiplier": 0.25, "min_depth": 8}),
    "MobileNetV2Model": ("MobileNetV2Config", {"depth_multiplier": 0.35}),
    "MobileViTModel": ("MobileViTConfig", {"image_size": 64}),
    "EfficientNetModel": ("EfficientNetConfig", {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640}),
    "LevitModel": ("LevitConfig", {"image_size": 64, "depths": [1, 1, 1]}),
    "PvtV2Model": ("PvtV2Config", {"image_size": 64, "depths": [1, 1, 1, 1]}),
    "FocalNetModel": ("FocalNetConfig", {"image_size": 64, "embed_dim": 16, "depths": [1, 1]}),
    "HieraModel": ("HieraConfig", {"depths": [1, 1, 1, 1], "embed_dim": 16}),
    "SwiftFormerModel": ("SwiftFormerConfig", {"depths": [1, 1, 1, 1]}),
    "DPTForDepthEstimation": ("DPTConfig", {**VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}),
    "ViTMAEModel": ("ViTMAEConfig", VIT),
}  # fmt: skip

TIMM = (
    "resnet10t", "resnet18", "resnet26d", "resnext26ts", "seresnet18", "ecaresnet26t",
    "convnext_atto", "convnextv2_atto", "efficientnet_lite0", "efficientnet_b0",
    "tf_efficientnetv2_b0", "tf_efficientnet_lite0", "mobilenetv3_small_050",
    "mobilenetv4_conv_small", "mobilenetv2_035", "mnasnet_small", "fbnetc_100",
    "ghostnet_050", "hardcorenas_a", "lcnet_035", "tinynet_e", "regnetx_002",
    "regnety_002", "densenet121", "vgg11", "vit_tiny_patch16_224",
    "vit_small_patch32_224", "deit_tiny_patch16_224", "vit_dlittle_patch16_reg1_gap_256",
    "eva02_tiny_patch14_224", "xcit_nano_12_p16_224", "swin_tiny_patch4_window7_224",
    "swinv2_cr_tiny_224", "mobilevit_xxs", "mobilevitv2_050", "edgenext_xx_small",
    "efficientformer_l1", "efficientvit_m0", "efficientvit_b0", "fastvit_t8",
    "levit_128s", "pvt_v2_b0", "poolformer_s12", "mobileone_s0", "repvgg_a0",
    "repghostnet_050", "repvit_m0_9", "ghostnetv2_100", "starnet_s1", "inception_v3",
    "xception41", "dla34", "hrnet_w18_small", "cspresnet50", "selecsls42", "nf_resnet26",
    "resnetv2_50x1_bit", "tresnet_m", "crossvit_tiny_240", "mixer_s32_224",
    "coatnet_nano_rw_224", "maxvit_rmlp_pico_rw_256", "gcvit_xxtiny", "tiny_vit_5m_224",
    "hgnetv2_b0", "inception_next_atto", "visformer_tiny", "convmixer_768_32",
)  # fmt: skip


def build(name, seed=0):
    """Return the model of that name with random weights and statistics."""
    torch.manual_seed(seed)
    if name in HUGGING_FACE:
        config, options = HUGGING_FACE[name]
        model = getattr(transformers, name)(getattr(transformers, config)(**options))
    else:
        model = timm.create_model(name)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.uniform_(0.9, 1.1)
                part.running_mean.uniform_(-0.1, 0.1)
    return model.eval()


def images(name):
    """Return gray images of the size that the model declares."""
    side = 64
    if name in ("HieraModel", "SwiftFormerModel"):
        side = 224
    if name in TIMM:
        side = timm.get_pretrained_cfg(name).input_size[-1]
    return np.random.default_rng(0).integers(0, 256, (1, side, side), dtype=np.uint8)


def three_bands(gray):
    """Return the input of the original model, computed by hand in float64."""
    return torch.from_numpy(
        (gray[:, None] / 255 - MEAN[:, None, None]) / STD[:, None, None]
    )


def run(model, x):
    """Return all outputs of floating point as one vector."""
    torch.manual_seed(0)
    with torch.no_grad():
        output = model(x)
    vectors = [
        tensor.double().flatten()
        for tensor in iter_tensors(output)
        if tensor.is_floating_point()
    ]
    return torch.cat(vectors)


def difference(actual, expected):
    """Return the relative L2 difference."""
    assert expected.norm() > 0
    return float((actual - expected).norm() / expected.norm())


def fold_and_save(name, exact, folder):
    """Save a folded model as its library does; return the difference to the original.

    The difference is relative, to the original model in float64.
    """
    model = build(name)
    gray = images(name)
    folded, feed = fold_into(model, PLAN, exact=exact)
    folder.mkdir()
    if name in HUGGING_FACE:
        folded.save_pretrained(folder)
    else:
        torch.save(folded.state_dict(), folder / "weights.pt")
    x = torch.from_numpy(feed.batch(gray))
    actual = run(folded.eval(), x)
    np.save(folder / "output.npy", actual.numpy())
    return difference(actual, run(model.double(), three_bands(gray)))


def load_and_run(name, exact, folder):
    """Load the saved model without the objects that saved it.

    Returns the relative difference of its outputs to those before it was saved.
    """
    # A model of other weights, folded anew, gives the plan of the input.
    folded, feed = fold_into(build(name, seed=1), PLAN, exact=exact)
    if name in HUGGING_FACE:
        folded = getattr(transformers, name).from_pretrained(folder)
    else:
        folded.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    x = torch.from_numpy(feed.batch(images(name)))
    saved = torch.from_numpy(np.load(folder / "output.npy"))
    return difference(run(folded.eval(), x), saved)


def load_in_another_process(folder):
    """Return the results of `load_and_run` for all models in the folder."""
    code = "import sys, fold_zoo; fold_zoo.print_loaded(sys.argv[1])"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, folder],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, IMPORTED_FROM))},
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def print_loaded(folder):
    """Print the results of `load_and_run` for all models in the folder, as JSON."""
    results = {}
    for path in sorted(Path(folder).iterdir()):
        name, _, suffix = path.name.partition("-")
        results[path.name] = load_and_run(name, suffix == "exact", path)
        shutil.rmtree(path)
    print(json.dumps(results))


def check(names, exact=(False, True)):
    """Yield a name, the difference after folding and that after loading, or an error."""
    with tempfile.TemporaryDirectory() as folder:
        folded = {}
        for name in names:
            for is_exact in exact:
                key = f"{name}-{'exact' if is_exact else 'plain'}"
                try:
                    difference = fold_and_save(name, is_exact, Path(folder) / key)
                except gp.GraypipeError as error:
                    yield key, str(error), None
                else:
                    folded[key] = difference
        loaded = load_in_another_process(folder)
    for key, difference in folded.items():
        yield key, difference, loaded[key]


def main(parts):
    """Print the differences, or why a model was refused."""
    warnings.simplefilter("ignore")
    names = [
        name
        for name in (*HUGGING_FACE, *TIMM)
        if not parts or any(part in name for part in parts)
    ]
    for start in range(0, len(names), 8):
        for key, folded, loaded in check(names[start : start + 8]):
            print(f"{key:40} {folded} {loaded}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
