"""Follow the image through the operations of a torch model.

Outputs do not show everything that a model reads: behind a sigmoid, an argmax or a
small factor, the effect of a second reader vanishes in rounding. Therefore every tensor
that an operation computes from the image is recorded. A model in which only the folded
layer reads the image returns no such tensor.

What is recorded are storages rather than tensors, because views share the storage of
the tensor that they show, and a write through a view changes that tensor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...extras import require_extra

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

# Operations whose result has the values of their arguments, moved but not changed.
MOVES = frozenset(
    {
        "_reshape_alias",
        "_to_copy",
        "_unsafe_view",
        "alias",
        "as_strided",
        "cat",
        "clone",
        "constant_pad_nd",
        "copy_",
        "detach",
        "expand",
        "permute",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "t",
        "transpose",
        "unbind",
        "unsqueeze",
        "view",
    }
)

# Operations whose Python result, or shape of the result, depends on values. Indexing
# has one of these tags too, but its result is followed like that of any operation.
DATA_DEPENDENT_TAGS = {
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
}

# Methods that pass values to code outside torch.
EXPORTS = frozenset({Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__})


class ImageFlow:
    """The tensors that were computed from the image.

    Attributes
    ----------
    leaves_torch : bool
        Whether values computed from the image became Python numbers, shapes or arrays,
        such as in ``if x.max() > 1``. What the model does with them is not followed.
    """

    def __init__(self, image: Tensor) -> None:
        self.leaves_torch = False
        # By key of the storage: the storage, which is kept alive because the key would
        # be used again otherwise, and whether several such tensors were combined.
        self._storages: dict[int, tuple[Any, bool]] = {}
        self._add(image, is_combined=False)

    def contains(self, tensor: Tensor) -> bool:
        """Return whether ``tensor`` was computed from the image."""
        return _storage_key(tensor)[0] in self._storages

    def is_combined(self, tensor: Tensor) -> bool:
        """Return whether ``tensor`` depends on the image in more than one way.

        An example is the product of the image and a mask computed from it.
        """
        _, is_combined = self._storages.get(_storage_key(tensor)[0], (None, False))
        return is_combined

    def add_results(self, operation: Any, arguments: Any, results: Any) -> None:
        """Add the tensors that ``operation`` computed from the image, if any.

        ``results`` are the tensors it returned or modified.
        """
        sources = {
            _storage_key(tensor)[0]: tensor
            for tensor in _tensors(arguments)
            if self.contains(tensor)
        }
        name = operation.overloadpacket.__name__
        if not sources or _reads_metadata(name):
            return
        if name != "index" and DATA_DEPENDENT_TAGS.intersection(operation.tags):
            self.leaves_torch = True
        is_combined = any(map(self.is_combined, sources.values()))
        if name not in MOVES and len(sources) > 1:
            is_combined = True
        for tensor in _tensors(results):
            self._add(tensor, is_combined or self.is_combined(tensor))

    def _add(self, tensor: Tensor, is_combined: bool) -> None:
        """Add the storage of ``tensor``."""
        key, storage = _storage_key(tensor)
        self._storages[key] = (storage, is_combined)


@contextmanager
def follow(image: Tensor) -> Iterator[ImageFlow]:
    """Record what is computed from ``image`` in the body of the statement."""
    flow = ImageFlow(image)
    with _Exports(flow), _Operations(flow):
        yield flow


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Passes every operation to the flow."""

    def __init__(self, flow: ImageFlow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._flow = flow

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        written = _written(func, args, kwargs)
        self._flow.add_results(func, (args, kwargs), (results, written))
        return results


class _Exports(TorchFunctionMode):
    """Notes if values of the flow are passed to code outside torch."""

    def __init__(self, flow: ImageFlow) -> None:
        super().__init__()
        self._flow = flow

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in EXPORTS and self._flow.contains(args[0]):
            self._flow.leaves_torch = True
        return func(*args, **(kwargs or {}))


def _written(operation: Any, args: Any, kwargs: Any) -> list[Any]:
    """Return the arguments that ``operation`` modifies in place."""
    written = []
    for index, argument in enumerate(operation._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        if index < len(args):
            written.append(args[index])
        else:
            written.append(kwargs.get(argument.name))
    return written


def _reads_metadata(name: str) -> bool:
    """Return whether an operation reads shape, dtype and device but no values."""
    return name.endswith("_like") or name.startswith("new_")


def _tensors(values: Any) -> list[Tensor]:
    """Return the tensors in ``values``, nested containers."""
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _storage_key(tensor: Tensor) -> tuple[int, Any]:
    """Return a key of the memory of ``tensor`` and an object that keeps it alive."""
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse tensors have no storage
        return id(tensor), tensor
    return storage._cdata, storage
