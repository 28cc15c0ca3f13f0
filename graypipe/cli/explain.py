"""``graypipe explain``: say what a plan will do with an image, without one."""

from argparse import ArgumentParser, Namespace

from .. import plan
from . import source_syntax


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--source",
        type=source_syntax.source,
        required=True,
        help=source_syntax.SOURCE_HELP,
    )
    parser.add_argument(
        "--target",
        type=source_syntax.target,
        required=True,
        help="a preset, such as imagenet, keras-caffe or rgb8",
    )
    parser.add_argument(
        "--via",
        type=source_syntax.via,
        help="which band feeds which: R=B04,G=B03,B=B02 or R=0.5*R+0.5*Y,G=G,B=B",
    )
    parser.add_argument(
        "--shape",
        type=source_syntax.shape,
        help="the shape of an image, such as 480x640",
    )
    parser.add_argument(
        "--dtype", type=source_syntax.dtype, help="its element type, such as uint16"
    )


def run(options: Namespace) -> None:
    """Print what the plan will do; GraypipeError where source, target and via make no plan."""
    print(
        plan(options.source, options.target, options.via).explain(
            options.shape, options.dtype
        )
    )
