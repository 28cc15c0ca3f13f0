"""Vectors as kernels see them: what changes places within vector registers, where compilers find slower ways."""
# mypy: ignore-errors
# ruff: noqa: ARG001, PLR0917
# the type checker of numba calls intrinsics by the names of their arguments

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

VECTOR = 16
"""Bytes of the vector registers that every x86-64 and every 64-bit ARM processor has."""

WIDE = 32
"""Bytes of two of them, or of one where registers are wider."""


def _pointer(context, builder, array, held, offset, kind):
    """Emit the address of something of ``kind``, ``offset`` bytes into ``array``."""
    return cgutils.pointer_add(
        builder,
        make_array(array)(context, builder, held).data,
        offset,
        kind.as_pointer(),
    )


def _mask(places):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


@intrinsic
def square(typing, source, origin, step, out, at, pitch):
    """Copy n columns of n contiguous elements, ``step`` bytes apart, as n rows, ``pitch`` bytes apart.

    n elements fill a vector register. All n columns are read, then in each of log2(n) steps every vector of the first
    half is interleaved with its counterpart of the second; after the last one, they are the rows.
    """
    n = VECTOR // (source.dtype.bitwidth // 8)

    def emit(context, builder, signature, arguments):
        vector = ir.VectorType(context.get_data_type(source.dtype), n)
        halves = [
            [n * (k % 2) + (start + k) // 2 for k in range(n)] for start in (0, n)
        ]
        low, high = map(_mask, halves)

        def place(array, held, offset, stride, k):
            offset = builder.add(offset, builder.mul(stride, stride.type(k)))
            return _pointer(context, builder, array, held, offset, vector)

        rows = [
            builder.load(place(source, *arguments[:3], k), align=1) for k in range(n)
        ]
        for _ in range(n.bit_length() - 1):
            pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
            rows = [
                builder.shuffle_vector(a, b, half)
                for a, b in pairs
                for half in (low, high)
            ]
        for k, row in enumerate(rows):
            builder.store(row, place(out, *arguments[3:], k), align=1)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, out, types.intp, types.intp), emit


@intrinsic
def thrice(typing, source, origin, out, at):
    """Copy the elements of a WIDE vector, ``origin`` bytes into ``source``, each three times in a row."""
    n = WIDE // (source.dtype.bitwidth // 8)

    def emit(context, builder, signature, arguments):
        vector = ir.VectorType(context.get_data_type(source.dtype), n)
        row = builder.load(
            _pointer(context, builder, source, *arguments[:2], vector), align=1
        )
        for part in range(3):
            made = builder.shuffle_vector(
                row, row, _mask([(part * n + k) // 3 for k in range(n)])
            )
            offset = builder.add(arguments[3], arguments[3].type(part * WIDE))
            builder.store(
                made,
                _pointer(context, builder, out, arguments[2], offset, vector),
                align=1,
            )
        return context.get_dummy_value()

    return types.void(source, types.intp, out, types.intp), emit
