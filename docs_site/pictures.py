"""Draw the pictures of README.md and docs/show.md: ``python docs_site/pictures.py``.

The image is a photograph of scikit-image as a 12-bit camera stores it: 16 bits a pixel,
of which 12 are used, with a corner of missing pixels, whose value is 0.
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage import data

import graypipe as gp
from graypipe.drawing import intensities, wrong_choices

IMAGES = Path(__file__).parents[1] / "docs" / "images"

# Pixels without data: rows and columns
MISSING = (96, 128)


def main() -> None:
    """Write both pictures."""
    image = twelve_bits()
    source = gp.Source("gray", bits=12, nodata=0)
    plan = gp.plan(source, "imagenet")
    plan.show(image).savefig(IMAGES / "show.png", dpi=56)
    draw_wrong_tensors(plan, image).savefig(IMAGES / "wrong-tensors.png", dpi=70)


def twelve_bits() -> np.ndarray:
    """Return the image: uint16 (512, 512), values from 0 to 4095."""
    image = np.maximum(data.camera().astype(np.uint16) * 16 + 8, 1)
    image[: MISSING[0], : MISSING[1]] = 0
    return image


def draw_wrong_tensors(plan: gp.Plan, image: np.ndarray) -> Figure:
    """Draw what a backbone sees: the right tensor, and four plausible wrong ones."""
    right = plan(image)
    tensors = [("graypipe", right), *wrong_choices(plan, image)]
    figure = Figure(figsize=(15, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, tensor) in zip(
        figure.subplots(1, len(tensors)), tensors, strict=True
    ):
        picture = intensities(plan, tensor)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
        axes.set_title(title.replace(" of the first", "\nof the first"), fontsize=13)
        difference = np.abs(tensor - right).max()
        text = "right" if tensor is right else f"off by up to {difference:.2g}"
        axes.text(0.5, -0.02, text, transform=axes.transAxes, ha="center", va="top")
    return figure


if __name__ == "__main__":
    main()
