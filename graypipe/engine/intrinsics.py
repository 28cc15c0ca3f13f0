"""Operations that numba cannot express: LLVM instructions for `kernels`.

They view memory at byte offsets, and permute elements within vector registers, for
which LLVM finds slower code by itself.

`kernel_cache` names the cache folder after the contents of this file too, because numba
watches only the file of the kernel that it compiles.
"""

# mypy: ignore-errors
# ruff: noqa: ARG001, PLR0917
# numba passes arguments to intrinsics by keyword, so unused ones must keep their names;
# its type inference replaces annotations.

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

# Bytes of the vector register that every x86-64 and every 64-bit ARM processor has.
VECTOR_BYTES = 16

# Bytes of two such registers, or of one AVX2 register.
WIDE_BYTES = 32

# Bytes of a cache line.
CACHE_LINE_BYTES = 64


def _contiguous(context, builder, flat, data, size):
    """Emit an array struct of ``size`` contiguous elements that owns nothing."""
    view = make_array(flat)(context, builder)
    element = context.get_data_type(flat.dtype)
    width = context.get_constant(types.intp, context.get_abi_sizeof(element))
    populate_array(
        view,
        data=data,
        shape=cgutils.pack_array(builder, [size]),
        strides=cgutils.pack_array(builder, [width]),
        itemsize=width,
        meminfo=None,
    )
    return view._getvalue()


def _address(context, builder, kind, array, offset, element):
    """Emit the address of an ``element`` in ``array``, which is of type ``kind``."""
    data = make_array(kind)(context, builder, array).data
    return cgutils.pointer_add(builder, data, offset, element.as_pointer())


@intrinsic
def memory(typing, array, offset, size, like):
    """View ``size`` elements of the type of ``like``, ``offset`` bytes into ``array``.

    The view is contiguous and possibly unaligned. A loop over such views becomes
    vector instructions; over the strided arrays themselves it is 2-8 times slower.
    """
    flat = types.Array(like.dtype, 1, "C", aligned=False)

    def emit(context, builder, signature, arguments):
        array, offset, size, _ = arguments
        element = context.get_data_type(flat.dtype)
        data = _address(context, builder, signature.args[0], array, offset, element)
        return _contiguous(context, builder, flat, data, size)

    return flat(array, types.intp, types.intp, like), emit


@intrinsic
def copy_bytes(typing, source, start, target, at, size):
    """Copy ``size`` bytes from offset ``start`` to offset ``at`` by `memcpy`.

    For the short rows of a crop it takes 40 % less than a loop.
    """

    def emit(context, builder, signature, arguments):
        source, start, target, at, size = arguments
        byte = ir.IntType(8)
        origin = _address(context, builder, signature.args[0], source, start, byte)
        end = _address(context, builder, signature.args[2], target, at, byte)
        cgutils.raw_memcpy(builder, end, origin, size, 1)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp, types.intp), emit


@intrinsic
def prefetch(typing, array, offset):
    """Prefetch the cache line ``offset`` bytes into ``array``, or outside of it."""

    def emit(context, builder, signature, arguments):
        byte, flag = ir.IntType(8), ir.IntType(32)
        pointer = _address(context, builder, signature.args[0], *arguments, byte)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), flag, flag, flag])
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", (byte.as_pointer(),), kind
        )
        # To read, into every cache, data.
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


class _Vectors:
    """Loads, stores and shuffles of vectors of ``count`` elements, in an intrinsic."""

    def __init__(self, context, builder, dtype, count):
        self.context, self.builder, self.count = context, builder, count
        self.type = ir.VectorType(context.get_data_type(dtype), count)

    def load(self, kind, array, offset):
        place = _address(self.context, self.builder, kind, array, offset, self.type)
        return self.builder.load(place, align=1)

    def store(self, value, kind, array, offset):
        place = _address(self.context, self.builder, kind, array, offset, self.type)
        self.builder.store(value, place, align=1)

    def shuffle(self, first, second, lanes):
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(first, second, lanes)

    def pack(self, scalars):
        packed = ir.Constant(self.type, ir.Undefined)
        for lane, scalar in enumerate(scalars):
            packed = self.builder.insert_element(packed, scalar, ir.IntType(32)(lane))
        return packed


def _elements(dtype, width):
    """Return how many elements of ``dtype`` fill ``width`` bytes."""
    return width // (dtype.bitwidth // 8)


def _to_float(builder, vector, dtype, vector_type):
    """Convert a vector of ``dtype`` to a vector of floats of at least its width."""
    if isinstance(dtype, types.Integer):
        convert = builder.sitofp if dtype.signed else builder.uitofp
        return convert(vector, vector_type)
    if vector.type != vector_type:
        return builder.fpext(vector, vector_type)
    return vector


@intrinsic
def higher(typing, value, highest):
    """Return the higher of two integers; for floats ``highest``, unchanged.

    In a loop over floats, a maximum would prevent vector instructions, because of NaN.
    """

    def emit(context, builder, signature, arguments):
        if not isinstance(value, types.Integer):
            return arguments[1]
        compare = builder.icmp_signed if value.signed else builder.icmp_unsigned
        return builder.select(compare(">", *arguments), *arguments)

    return value(value, value), emit


@intrinsic
def transpose_square(typing, source, start, step, target, at, pitch):
    """Copy n columns of n elements, ``step`` bytes apart, as rows ``pitch`` apart.

    n elements fill a vector. In each of log2(n) steps the vectors of the first half
    are interleaved with those of the second half; the last step leaves the rows.
    """

    def emit(context, builder, signature, arguments):
        source_type, target_type = signature.args[0], signature.args[3]
        source, start, step, target, at, pitch = arguments
        n = _elements(source_type.dtype, VECTOR_BYTES)
        vectors = _Vectors(context, builder, source_type.dtype, n)
        low = [n * (k % 2) + k // 2 for k in range(n)]
        high = [lane + n // 2 for lane in low]
        rows = []
        for k in range(n):
            offset = builder.add(start, builder.mul(step, step.type(k)))
            rows.append(vectors.load(source_type, source, offset))
        for _ in range(n.bit_length() - 1):
            interleaved = []
            for first, second in zip(rows[: n // 2], rows[n // 2 :], strict=True):
                interleaved.append(vectors.shuffle(first, second, low))
                interleaved.append(vectors.shuffle(first, second, high))
            rows = interleaved
        for k, row in enumerate(rows):
            offset = builder.add(at, builder.mul(pitch, pitch.type(k)))
            vectors.store(row, target_type, target, offset)
        return context.get_dummy_value()

    arguments = (source, types.intp, types.intp, target, types.intp, types.intp)
    return types.void(*arguments), emit


@intrinsic(prefer_literal=True)
def repeat_vector(typing, source, start, reverse, target, at, numbers):
    """Write the elements of a vector, each three times in a row.

    With a literally true ``reverse`` the last comes first. ``numbers`` is None, or
    (black level, three factors, three offsets). Lane k of a result belongs to band
    k modulo 3, so with rotated coefficients a vector takes one multiplication and one
    addition, and no shuffle more than a copy.
    """
    count = _elements(target.dtype, WIDE_BYTES)
    backwards = reverse.literal_value

    def emit(context, builder, signature, arguments):
        source_type, target_type = signature.args[0], signature.args[3]
        source, start, _, target, at, numbers = arguments
        vectors = _Vectors(context, builder, target_type.dtype, count)
        narrow = _Vectors(context, builder, source_type.dtype, count)
        row = narrow.load(source_type, source, start)
        scaled = isinstance(signature.args[5], types.BaseTuple)
        if scaled:
            row = _to_float(builder, row, source_type.dtype, vectors.type)
            numbers = [builder.extract_value(numbers, i) for i in range(7)]
            row = builder.fsub(row, vectors.pack([numbers[0]] * count))
        for part in range(3):
            lanes = [(part * count + k) // 3 for k in range(count)]
            if backwards:
                lanes = [count - 1 - lane for lane in lanes]
            value = vectors.shuffle(row, row, lanes)
            if scaled:
                bands = [(part * count + k) % 3 for k in range(count)]
                factors = vectors.pack([numbers[1 + band] for band in bands])
                offsets = vectors.pack([numbers[4 + band] for band in bands])
                value = builder.fadd(builder.fmul(value, factors), offsets)
            offset = builder.add(at, at.type(part * WIDE_BYTES))
            vectors.store(value, target_type, target, offset)
        return context.get_dummy_value()

    return types.void(source, types.intp, reverse, target, types.intp, numbers), emit
