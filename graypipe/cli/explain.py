"""``graypipe explain``: describe what a plan does with an image.

    graypipe explain --source gray:12 --target imagenet --shape 480x640 --dtype uint16
    graypipe explain --source RGBY:16 --target unit --via R=0.5*R+0.5*Y,G=G,B=B

No image is needed. The command prints the text of `graypipe.Plan.explain`.
"""

from argparse import ArgumentParser, Namespace

from . import source_syntax


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    source_syntax.add_plan_options(parser, required=True)
    parser.add_argument(
        "--shape",
        type=source_syntax.parse_shape,
        help="the shape of the image, for example 480x640",
    )
    parser.add_argument(
        "--dtype",
        type=source_syntax.parse_dtype,
        help="the dtype of the image, for example uint16",
    )


def run(options: Namespace) -> None:
    """Print the explanation.

    Raises
    ------
    GraypipeError
        If the source cannot be converted to the target.
    """
    explained_plan = source_syntax.make_plan(
        options.source, options.target, options.via
    )
    print(explained_plan.explain(options.shape, options.dtype))
