"""``python -m benchmarks.fold_zoo``: fold, save and load models of transformers and timm, with random weights.

Prints a row for each fold and a summary, fails if a fold is wrong, and otherwise writes
the results to ``benchmarks/results/fold_zoo.json``. Arguments select models, as in ``python -m benchmarks.fold_zoo '*Swin*' 'resnet*'``; then nothing is
written.
"""

import argparse
import multiprocessing
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import transformers

import graypipe as gp
from graypipe.adapters.torch import compare, fold_into
from graypipe.adapters.torch.evaluation import iter_tensors

from . import results

RECORD = results.RECORD / "fold_zoo.json"
LIBRARIES = ("numpy", "torch", "transformers", "timm")

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
    "DPTForDepthEstimation": ("DPTConfig", {**VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "initializer_range": 0.2}),
    "ViTMAEModel": ("ViTMAEConfig", VIT),
    "ViTForMaskedImageModeling": ("ViTConfig", VIT),
    "SamVisionModel": ("SamVisionConfig", {**VIT, "mlp_dim": 64, "global_attn_indexes": [1], "output_channels": 16, "window_size": 2, "initializer_range": 0.02}),
    "PvtModel": ("PvtConfig", {**STAGES, "image_size": 64, "num_attention_heads": [1, 1, 2, 2]}),
    "CvtModel": ("CvtConfig", {"embed_dim": [16, 48, 96], "depth": [1, 2, 3]}),
    "MobileViTV2Model": ("MobileViTV2Config", {"image_size": 64, "width_multiplier": 0.5}),
    "DonutSwinModel": ("DonutSwinConfig", SWIN),
    "SwinBackbone": ("SwinConfig", SWIN),
    "BlipVisionModel": ("BlipVisionConfig", {**VIT, "initializer_range": 0.02}),
    "GitVisionModel": ("GitVisionConfig", VIT),
    "ChineseCLIPVisionModel": ("ChineseCLIPVisionConfig", VIT),
    "OwlViTVisionModel": ("OwlViTVisionConfig", VIT),
    "InternVLVisionModel": ("InternVLVisionConfig", {**VIT, "image_size": [64, 64], "patch_size": [16, 16]}),
    "PixtralVisionModel": ("PixtralVisionConfig", VIT),
    "VitDetModel": ("VitDetConfig", {**VIT, "pretrain_image_size": 64}),
    "VitPoseBackbone": ("VitPoseBackboneConfig", {**VIT, "image_size": [64, 64], "patch_size": [16, 16]}),
    "GLPNForDepthEstimation": ("GLPNConfig", PYRAMID),
    "AlignVisionModel": ("AlignVisionConfig", {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640}),
    "HGNetV2ForImageClassification": ("HGNetV2Config", {}),
    "TextNetModel": ("TextNetConfig", {}),
    "RTDetrResNetBackbone": ("RTDetrResNetConfig", {**RESNET, "embedding_size": 16}),
    "UperNetForSemanticSegmentation": ("UperNetConfig", {"hidden_size": 16}),
    "DepthAnythingForDepthEstimation": ("DepthAnythingConfig", {}),
    "DetrForObjectDetection": ("DetrConfig", {}),
    "SuperPointForKeypointDetection": ("SuperPointConfig", {}),
    "Swin2SRModel": ("Swin2SRConfig", {**SWIN, "num_heads": [2, 2]}),
    "TimmWrapperModel": ("TimmWrapperConfig", {"architecture": "resnet18"}),
}  # fmt: skip

# Models of Hugging Face that do not take images of 64 x 64.
NOT_64 = {
    "HieraModel", "SwiftFormerModel", "UperNetForSemanticSegmentation",
    "DepthAnythingForDepthEstimation", "DetrForObjectDetection",
}  # fmt: skip

# Models of Hugging Face whose configuration does not describe the first layer alone.
# from_pretrained raises an error about sizes, so they are loaded like those of timm.
NO_FROM_PRETRAINED = {
    "BlipVisionModel",
    "ViTForMaskedImageModeling",
    "TimmWrapperModel",
}

TIMM = (
    "beit_base_patch16_224", "coatnet_nano_rw_224", "convmixer_768_32", "convnext_atto",
    "convnextv2_atto", "crossvit_tiny_240", "darknet17", "deit_tiny_patch16_224",
    "densenet121", "dla34", "eca_nfnet_l0", "edgenext_xx_small", "efficientnet_b0",
    "efficientvit_b0", "eva02_tiny_patch14_224", "fastvit_t8", "ghostnet_050",
    "hiera_tiny_224", "hrnet_w18_small", "inception_v3", "levit_128s",
    "maxvit_rmlp_pico_rw_256", "mixer_s32_224", "mobilenetv3_small_050",
    "mobilenetv4_conv_small", "mobileone_s0", "mobilevit_xxs", "nf_resnet26",
    "poolformer_s12", "pvt_v2_b0", "regnety_002", "repvgg_a0", "resmlp_12_224",
    "resnet18", "resnet26d", "resnetv2_50x1_bit", "samvit_base_patch16_224",
    "swin_tiny_patch4_window7_224", "tf_efficientnetv2_b0", "tiny_vit_5m_224",
    "tresnet_m", "vit_base_patch16_siglip_224", "vit_tiny_patch16_224", "xception41",
    "xcit_nano_12_p16_224",
)  # fmt: skip

# Models of timm that exist in large sizes only.
SHALLOW = {
    "beit_base_patch16_224",
    "samvit_base_patch16_224",
    "vit_base_patch16_siglip_224",
}


@dataclass(frozen=True)
class Variant:
    """Images and the kind of fold that is tried with them.

    Attributes
    ----------
    plan : Plan
        Plan that is folded.
    matrix : list of list of float
        The same channel map, for computing the input of the original model by hand.
    white : int
        Stored value of white.
    exact : bool
        Argument of `fold_into`.
    """

    plan: gp.Plan
    matrix: list[list[float]]
    white: int
    exact: bool


GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
MIX = gp.plan(
    gp.Source("RGBY", "CHW", range=(0, 4095)),
    "imagenet",
    {"R": {"R": 0.75, "Y": 0.25}, "G": "G", "B": {"B": 0.5, "Y": 0.5}},
)
GRAY_MATRIX = [[1.0], [1.0], [1.0]]
MIX_MATRIX = [[0.75, 0, 0, 0.25], [0, 1, 0, 0], [0, 0, 0.5, 0.5]]
RECORDED = ("gray", "4 bands, exact")
VARIANTS = {
    "gray": Variant(GRAY, GRAY_MATRIX, 255, exact=False),
    "gray, exact": Variant(GRAY, GRAY_MATRIX, 255, exact=True),
    "4 bands": Variant(MIX, MIX_MATRIX, 4095, exact=False),
    "4 bands, exact": Variant(MIX, MIX_MATRIX, 4095, exact=True),
}


@dataclass(frozen=True)
class Result:
    """What became of one fold.

    Attributes
    ----------
    error : float
        Relative L2 difference of the outputs to those of the original model in float64.
    rounding : float
        The same difference for the original model in its own precision.
    border : float
        Relative L2 difference of the layer's outputs at zero-padded borders.
    loaded : float
        Relative L2 difference of the outputs of the loaded model to those before it was
        saved.
    refused : str
        Message of the GraypipeError, if the fold was refused.
    failed : str
        Any other error.
    """

    error: float = float("nan")
    rounding: float = float("nan")
    border: float = 0.0
    loaded: float = float("nan")
    refused: str = ""
    failed: str = ""

    @property
    def verdict(self) -> str:
        """Return "equal", "close", "refused", "failed" or "WRONG".

        Outputs are equal if they differ by at most three times the rounding of the
        original model. They are close if the layer pads with zeros, and the fold is
        not exact.
        """
        if self.refused and len(self.refused) < 600:
            return "refused"
        if self.failed:
            return "failed"
        if not self.loaded <= max(1e-6, self.rounding):
            return "WRONG"
        if self.error <= max(1e-5, 3 * self.rounding):
            return "equal"
        if self.border > 1e-5 and self.error < 0.2:
            return "close"
        return "WRONG"


def build(name, seed=0):
    """Return the model of that name with random weights."""
    torch.manual_seed(seed)
    if name in HUGGING_FACE:
        config, options = HUGGING_FACE[name]
        model = getattr(transformers, name)(getattr(transformers, config)(**options))
    else:
        size = {"input_size": (3, side_of(name), side_of(name))}
        options = {"depth": 2} if name in SHALLOW else {}
        model = timm.create_model(name, pretrained_cfg_overlay=size, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            # Heads and gains that start at zero, or close to it, hide the image.
            if parameter.numel() > 1 and parameter.amin() == parameter.amax():
                parameter.add_(torch.empty_like(parameter).uniform_(-0.1, 0.1))
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.uniform_(0.9, 1.1)
    return model.eval()


def measure_statistics(model, x):
    """Set the running statistics to those of ``x``, as training would.

    With the initial ones, the features fade from layer to layer. Channels that vary
    little in two images get a larger variance, as many images would give them.
    """
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.train()
            part.momentum = 1.0
    run(model, x)
    model.eval()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_var += part.running_var.mean() / 4


def side_of(name):
    """Return the height and width of images for the model."""
    if name in TIMM:
        config = timm.get_pretrained_cfg(name)
        return config.input_size[-1] if config.fixed_input_size else 128
    return 224 if name in NOT_64 else 64


def images(name, key):
    """Return two images of the source of a variant: noisy blocks, and a gradient."""
    variant = VARIANTS[key]
    bands = len(variant.plan.source.bands)
    side = side_of(name)
    rng = np.random.default_rng(0)
    noise = rng.random((bands, side, side))
    block = np.arange(side) * 5 // side
    blocks = rng.random((bands, 5, 5))[:, block][..., block]
    gradient = np.linspace(0, 1, side)
    unit = np.stack([0.8 * blocks + 0.2 * noise, 0.8 * gradient + 0.2 * noise])
    stored = np.rint(unit * variant.white).astype(np.uint16)
    if bands == 1:
        return stored[:, 0].astype(np.uint8)
    return stored


def three_bands(stored, key):
    """Return the input of the original model, computed by hand in float64."""
    variant = VARIANTS[key]
    bands = len(variant.plan.source.bands)
    unit = stored.reshape(len(stored), bands, *stored.shape[-2:]) / variant.white
    mapped = np.einsum("oi,nihw->nohw", variant.matrix, unit)
    return torch.from_numpy((mapped - MEAN[:, None, None]) / STD[:, None, None])


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
    return float((actual - expected).norm() / expected.norm())


def fold_and_save(name, variant_names, folder):
    """Save folded models as their library does, their plans and their outputs.

    Returns, for each variant, the fields of `Result` that are known before the model is
    loaded.
    """
    silence()
    model = build(name)
    inputs = {key: three_bands(images(name, key), key) for key in variant_names}
    measure_statistics(model, next(iter(inputs.values())).float())
    found, outputs = {}, {}
    for key in variant_names:
        variant = VARIANTS[key]
        try:
            folded, feed = fold_into(model, variant.plan, exact=variant.exact)
        except gp.GraypipeError as error:
            found[key] = {"refused": str(error)}
            continue
        save(name, folded, feed, folder / key)
        outputs[key] = run(
            folded.eval(), torch.from_numpy(feed.batch(images(name, key)))
        )
        np.save(folder / key / "output.npy", outputs[key].numpy())
        found[key] = {}
        if not variant.exact:
            comparison = compare(model, variant.plan, folded, feed)
            found[key]["border"] = comparison.border.relative
    rounded = {key: run(model, inputs[key].float()) for key in outputs}
    for key in outputs:
        other = run(model, inputs[key].float().flip(0))
        assert difference(other, rounded[key]) > 1e-3, "the outputs hide the image"
    model.double()
    for key, actual in outputs.items():
        expected = run(model, inputs[key])
        found[key]["error"] = difference(actual, expected)
        found[key]["rounding"] = difference(rounded[key], expected)
    return found


def save(name, folded, feed, folder):
    """Save a folded model as its library does, and its plan."""
    folder.mkdir()
    if name in HUGGING_FACE and name not in NO_FROM_PRETRAINED:
        folded.save_pretrained(folder)
    else:
        torch.save(folded.state_dict(), folder / "weights.pt")
    (folder / "feed.json").write_text(feed.to_json())


def load_and_run(name, key, folder):
    """Load the saved model without the objects that saved it.

    Returns the relative difference of its outputs to those before it was saved.
    """
    silence()
    feed = gp.Plan.from_json((folder / "feed.json").read_text())
    if name in HUGGING_FACE and name not in NO_FROM_PRETRAINED:
        folded = getattr(transformers, name).from_pretrained(folder)
    else:
        # A model of other weights, folded anew, has the same layers.
        variant = VARIANTS[key]
        folded, _ = fold_into(build(name, seed=1), variant.plan, exact=variant.exact)
        folded.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    x = torch.from_numpy(feed.batch(images(name, key)))
    saved = torch.from_numpy(np.load(folder / "output.npy"))
    return difference(run(folded.eval(), x), saved)


def silence():
    """Leave the output, and the other processor, to others."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)


class Worker:
    """A process that calls functions, and is replaced when a call takes too long."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._pool: Any = None

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return the result of ``function(*args)``, or raise its error."""
        if self._pool is None:
            # A new interpreter: a forked one would have the objects of this process.
            self._pool = multiprocessing.get_context("spawn").Pool(1)
        try:
            return self._pool.apply_async(function, args).get(self._timeout)
        except multiprocessing.TimeoutError:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
        self._pool = None


def check(names, keys=tuple(VARIANTS), timeout=240):
    """Yield a name, a variant and the `Result` for each combination."""
    saver, loader = Worker(timeout), Worker(timeout)
    try:
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found = saver(fold_and_save, name, keys, Path(folder))
                except Exception as error:  # models raise anything
                    found = dict.fromkeys(keys, failure(error))
                for key, fields in found.items():
                    loaded = {}
                    if "error" in fields:
                        try:
                            difference = loader(
                                load_and_run, name, key, Path(folder, key)
                            )
                            loaded = {"loaded": difference}
                        except Exception as error:
                            loaded = failure(error)
                    yield name, key, Result(**fields, **loaded)
    finally:
        saver.close()
        loader.close()


def failure(error):
    """Return the field of `Result` for an error that is not of this package."""
    return {"failed": f"{type(error).__name__}: {error}"}


def main():
    """Print and record the results; return 1 if one is wrong or could not be computed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fold_zoo", description=__doc__
    )
    parser.add_argument(
        "patterns", nargs="*", help="names, with * and ?; by default all"
    )
    parser.add_argument(
        "--variant",
        action="append",
        choices=VARIANTS,
        help="a fold, repeatable; by default those of the record",
    )
    parser.add_argument("--timeout", type=float, default=240, help="seconds per call")
    arguments = parser.parse_args()
    names = [
        name
        for name in (*HUGGING_FACE, *TIMM)
        if not arguments.patterns
        or any(map(partial(fnmatchcase, name), arguments.patterns))
    ]
    variants = arguments.variant or RECORDED
    counts, folds = Counter(), []
    print(f"{'model':40} {'fold':15} {'error':>8} {'rounding':>8} {'loaded':>8}")
    for name, variant, result in check(names, variants, arguments.timeout):
        counts[result.verdict] += 1
        folds.append(describe(name, variant, result))
        print(
            f"{name:40} {variant:15} {result.error:8.1e} {result.rounding:8.1e} "
            f"{result.loaded:8.1e} {result.verdict} {result.refused or result.failed}",
            flush=True,
        )
    print(
        *(f"{count} {verdict}" for verdict, count in sorted(counts.items())), sep=", "
    )
    if counts["WRONG"] + counts["failed"] > 0:
        return 1
    if not arguments.patterns and not arguments.variant:
        results.save(results.measured(LIBRARIES, folds=folds), RECORD)
        print(RECORD)
    return 0


def describe(name, variant, result):
    """Return what the record says about a fold."""
    described = {
        "library": "Hugging Face" if name in HUGGING_FACE else "timm",
        "model": name,
        "fold": variant,
        "verdict": result.verdict,
    }
    if result.refused or result.failed:
        return {**described, "reason": result.refused or result.failed}
    figures = {"error": result.error, "rounding": result.rounding}
    return {**described, **figures, "loaded": result.loaded}


if __name__ == "__main__":
    sys.exit(main())
