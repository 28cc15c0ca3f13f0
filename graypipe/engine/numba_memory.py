"""Memory as kernels see it: views at byte offsets and scratch on the stack, which numba has no words for.

numba compares what it kept on disk with the file of the kernel alone: after a change here, in `numba_vectors` or in
`numba_rows`, save the files of the kernels anew, or empty the cache.
"""
# mypy: ignore-errors
# ruff: noqa: ARG001, PLR0917
# the type checker of numba calls intrinsics by the names of their arguments

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

SCRATCH = 80 * 1024
"""Bytes of stack that the rows of a block share."""

CACHE_LINE = 64

part_of_a_kernel = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


def kernel(function):
    """Compile ``function`` on demand and keep the machine code on disk, or in memory where no place is writable."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


def _view(context, builder, flat, data, size):
    """Emit a contiguous array struct of ``size`` elements at ``data`` that owns nothing."""
    view = make_array(flat)(context, builder)
    width = context.get_constant(
        types.intp, context.get_abi_sizeof(context.get_data_type(flat.dtype))
    )
    shape, strides = (
        cgutils.pack_array(builder, [size]),
        cgutils.pack_array(builder, [width]),
    )
    populate_array(
        view, data=data, shape=shape, strides=strides, itemsize=width, meminfo=None
    )
    return view._getvalue()


@intrinsic
def memory(typing, array, offset, size, like):
    """View ``size`` contiguous elements of the type of ``like``, ``offset`` bytes into ``array``, aligned or not."""
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        origin = make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = context.get_data_type(flat.dtype).as_pointer()
        return _view(
            context,
            builder,
            flat,
            cgutils.pointer_add(builder, origin, arguments[1], pointer),
            arguments[2],
        )

    return flat(array, types.intp, types.intp, like), emit


@intrinsic
def stack(typing, like):
    """Reserve SCRATCH bytes of the caller's stack as elements of the type of ``like``."""
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        element = context.get_data_type(flat.dtype)
        size = context.get_constant(
            types.intp, SCRATCH // context.get_abi_sizeof(element)
        )
        memory = cgutils.alloca_once(builder, element, size=size)
        memory.align = CACHE_LINE
        return _view(context, builder, flat, memory, size)

    return flat(like), emit


@intrinsic
def copy(typing, source, origin, out, at, size):
    """Copy ``size`` bytes by `memcpy`, ``origin`` bytes into ``source``, to ``at`` bytes into ``out``."""

    def emit(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        data = [
            make_array(kind)(context, builder, arguments[k]).data
            for kind, k in ((source, 0), (out, 2))
        ]
        start, end = (
            cgutils.pointer_add(builder, p, arguments[k], byte)
            for p, k in zip(data, (1, 3), strict=True)
        )
        cgutils.raw_memcpy(builder, end, start, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(source, types.intp, out, types.intp, types.intp), emit


@intrinsic
def prefetch(typing, array, offset):
    """Ask for the cache line ``offset`` bytes into ``array``, which may lie outside of it."""

    def emit(context, builder, signature, arguments):
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        address = cgutils.pointer_add(builder, data, arguments[1], byte)
        builder.call(
            function, [address, flag(0), flag(3), flag(1)]
        )  # to read, into every cache, data
        return context.get_dummy_value()

    return types.void(array, types.intp), emit
