"""Which test runs which page."""

from documentation.code_blocks import all_pages

# By test_core_pages.py; the continuous integration runs these with NumPy and Pillow alone.
CORE_PAGES = ["README.md", "docs/how-to.md"]

# By test_framework_pages.py, with every extra installed.
FRAMEWORK_PAGES = [
    "docs/albumentations.md",
    "docs/coming-from.md",
    "docs/deployment.md",
    "docs/fitting.md",
    "docs/inspect.md",
    "docs/jax.md",
    "docs/one-affine-map.md",
    "docs/presets.md",
    "docs/reading.md",
    "docs/resizing.md",
    "docs/scale.md",
    "docs/sensors.md",
    "docs/show.md",
    "docs/sum.md",
    "docs/tensorflow.md",
    "docs/torch.md",
    "docs/transformers.md",
    "docs/weights.md",
]

# By tests/recipes: each recipe in a namespace of its own, with its result compared.
RECIPES = "docs/recipes.md"

# By tests/recipes/yolo.py, in an environment with Ultralytics: see `.ci/run`.
YOLO_PAGES = ["docs/yolo.md", "docs/tutorials/thermal-yolo.md"]

# By test_tutorials.py, with every extra installed.
TUTORIALS = [
    page
    for page in all_pages()
    if page.startswith("docs/tutorials/") and page not in YOLO_PAGES
]
