"""JAX adapter: apply a plan as a pure function, for jit, vmap and grad.

It imports JAX only. In a Keras model with the JAX backend, use
`graypipe.adapters.keras.ChannelLayer`.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import layouts
from ..engine import check_image, supported_dtype
from ..errors import DTypeError, RangeError
from ..extras import require_extra
from ..plan import Plan
from ..plans import check_plan
from ._shared import elementwise
from ._shared.declared_range import check_range_declared
from ._shared.layer import MAX_EXACT_INTEGER, largest_magnitude

with require_extra("jax", "jax"):
    import jax
    import jax.numpy as jnp

# A jax.Array, or a tracer in a transformed function.
Array = Any

__all__ = ["apply"]


def apply(plan: Plan) -> Callable[[Array], Array]:
    """Return a pure function that applies a plan to JAX arrays.

    The function can be transformed by ``jax.jit``, ``jax.vmap`` and ``jax.grad``, and
    runs on any device. It has no state and can be pickled. Build it once: ``jit``
    compiles again for each new function.

    Parameters
    ----------
    plan : Plan
        The plan. Its source must declare a range, because the function may receive
        pixels that other code has cast. Unlike `Plan.batch`, the function does not test
        whether values contradict the source, because traced values are unknown.

    Returns
    -------
    callable
        Function of one image, a `jax.Array` or `numpy.ndarray` of stored values in the
        source layout of the plan. It returns a `jax.Array` in the target layout and
        dtype. Use ``jax.vmap`` for batches.

    Raises
    ------
    DTypeError
        If ``plan`` is not a plan. When called, if the image is not an array, or has a
        dtype that NumPy lacks, such as bfloat16. Also if the image, the target or the
        computation has 64 bits and JAX has not enabled these: for integers of 32 bits
        and more, integer targets, and levels that float32 cannot represent.
    RangeError
        If the source does not declare a range. When called, if the dtype of the image
        cannot represent it, or is float16 and cannot represent every integer of it.
    LayoutError, ChannelError
        When called, if the image does not have the axes and bands of the source.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import graypipe as gp
    >>> from graypipe.adapters.jax import apply
    >>> plan = gp.plan(gp.Source("gray", bits=8), "imagenet")
    >>> to_backbone = jax.jit(jax.vmap(apply(plan)))
    >>> batch = np.full((2, 4, 5), 255, np.uint8)
    >>> x = to_backbone(batch)
    >>> x.shape
    (2, 3, 4, 5)
    >>> bool(np.allclose(x, plan.batch(batch), atol=1e-6))
    True
    """
    check_plan(plan)
    check_range_declared(
        plan, "a JAX function may receive pixels that other code has cast"
    )
    # A partial function can be pickled, a nested one cannot.
    return partial(_apply, plan)


def _apply(plan: Plan, image: Array) -> Array:
    """Return ``image``, converted by ``plan``."""
    if not isinstance(image, jax.Array):
        image = check_image(image)
    if image.dtype.name == "bfloat16":
        raise DTypeError(
            "expected an image of a dtype that NumPy has, got bfloat16, which holds "
            "integers up to 256 only: pass the stored integers, and cast the result "
            "for a model in bfloat16"
        )
    execution = plan._execution(supported_dtype(image.dtype))
    _check_half_precision(plan, execution.source_dtype)
    conversion = layouts.conversion(plan.source.layout, plan.target.layout)
    layouts.check_shape(image.shape, conversion.source_layout, len(plan.source.bands))
    spec = elementwise.make_spec(execution)
    dtypes = [execution.source_dtype.name, spec.target_dtype]
    if not spec.copies_only:
        dtypes.append(spec.compute_dtype)
    _check_enabled(dtypes)
    if isinstance(image, np.ndarray):
        # JAX takes no arrays in the byte order of another machine.
        native = image.dtype.newbyteorder("=")
        image = jnp.asarray(image.astype(native, copy=False))
    planes = conversion.source_planes(image)
    result = elementwise.run(spec, planes, -planes.ndim, OPS)
    return conversion.from_planes(result)


def _check_half_precision(plan: Plan, dtype: np.dtype[Any]) -> None:
    """Raise RangeError if float16 pixels cannot be the stored values of the source."""
    if dtype.name != "float16" or plan.source.dtype is not None:
        return
    largest = largest_magnitude(plan)
    if largest > MAX_EXACT_INTEGER["float16"]:
        raise RangeError(
            f"the source declares levels up to {largest:g}, got an image in float16, "
            "which cannot represent every integer up to that: pass the stored "
            "integers. If the file itself stores float16, declare dtype='float16' in "
            "the source"
        )


def _check_enabled(dtypes: list[str]) -> None:
    """Raise DTypeError if JAX would silently replace one of ``dtypes`` by 32 bits."""
    for dtype in dtypes:
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            source, target, *_ = dtypes
            raise DTypeError(
                f"this plan needs {dtype} for images of {source} and a target of "
                f"{target}, but JAX has disabled 64 bits: call "
                "jax.config.update('jax_enable_x64', True) first; or use images of at "
                "most 16 bits or float32, levels that float32 can represent, and a "
                "target with dtype='float32'"
            )


# JAX equivalents of the `keras.ops` functions that `elementwise` calls.
OPS = SimpleNamespace(
    any=lambda x, axis, keepdims: jnp.any(x, axis, keepdims=keepdims),
    cast=lambda x, dtype: x.astype(dtype),
    clip=jnp.clip,
    convert_to_tensor=jnp.asarray,
    isnan=jnp.isnan,
    round=jnp.round,
    stack=jnp.stack,
    take=lambda x, indices, axis: jnp.take(x, np.array(indices), axis),
    where=jnp.where,
    zeros_like=jnp.zeros_like,
)
