"""``graypipe export``: write a plan as an ONNX model, alone or in front of a model.

    graypipe export --plan plan.json --model model.onnx --to deployed.onnx
    graypipe export --plan plan.json --dtype uint16 --to plan.onnx

The written model takes stored values, and its metadata contains the plan.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ..batch_jobs.files import resolve_path, write_file
from ..errors import GraypipeError, ReadError
from . import source_syntax


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--plan",
        type=source_syntax.read_plan,
        required=True,
        metavar="FILE",
        help="a file with the JSON of a plan, for example plan.json",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="the ONNX model that the plan feeds, for example model.onnx; without it, "
        "the plan alone is written",
    )
    parser.add_argument(
        "--input",
        metavar="NAME",
        help="the input of the model that takes images, if it has several inputs",
    )
    parser.add_argument(
        "--dtype",
        type=source_syntax.parse_dtype,
        help="the dtype of the stored values, if the source declares none, for example "
        "uint16",
    )
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE",
        help="the ONNX file to write, for example deployed.onnx",
    )


def run(options: Namespace) -> None:
    """Write the model, and print its inputs and outputs.

    Raises
    ------
    GraypipeError
        If the plan cannot be exported, if the model does not fit it, or if a file
        cannot be read or written.
    """
    from ..adapters.onnx import prepend, to_onnx

    if options.model is None:
        model = to_onnx(options.plan, dtype=options.dtype)
    else:
        if resolve_path(options.model) == resolve_path(options.to):
            raise GraypipeError(f"{options.to} is the model: choose another --to file")
        model = prepend(
            _read_model(options.model),
            options.plan,
            input=options.input,
            dtype=options.dtype,
        )
    write_file(resolve_path(options.to), [model.SerializeToString()])
    for tensor in (*model.graph.input, *model.graph.output):
        print(_describe(tensor))


def _read_model(path: Path) -> Any:
    """Return the ONNX model in a file."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(path)
    except DecodeError:
        raise ReadError(f"{path}: expected an ONNX model, got another file") from None
    except onnx.checker.ValidationError as error:
        # A file with weights is missing, or lies outside of the folder of the model.
        raise ReadError(f"{path}: {error}") from None


def _describe(tensor: Any) -> str:
    """Return the name, the dtype and the sizes of an input or output."""
    from onnx import TensorProto

    tensor_type = tensor.type.tensor_type
    sizes = [
        str(axis.dim_param or axis.dim_value or "?") for axis in tensor_type.shape.dim
    ]
    dtype = TensorProto.DataType.Name(tensor_type.elem_type).lower()
    return f"{tensor.name}: {dtype} ({', '.join(sizes)})"
