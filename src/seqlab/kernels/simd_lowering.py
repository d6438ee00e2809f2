"""LLVM code of the vector operations; `seqlab.kernels.simd_python` says what each one does."""

# Their documentation is that of the functions they stand for.
# ruff: noqa: D103

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

_LANES = 16
_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_F32, _LANES)
_INTEGERS = ir.VectorType(_I32, _LANES)
_MASK = ir.VectorType(ir.IntType(1), _LANES)
# Arrays come as slices of tensors: aligned to one element, no more.
_ALIGN = 4


class _Float32x16(types.Type):
    """Numba type of one vector register of 16 floats."""

    def __init__(self) -> None:
        super().__init__(name="Float32x16")


_VEC = _Float32x16()


@register_model(_Float32x16)
class _Float32x16Model(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: types.Type) -> None:
        super().__init__(manager, fe_type, _VECTOR)


def _address(context: Any, builder: Any, array_type: Any, array: Any, row: Any, column: Any) -> Any:
    """Return the address of `array[row, column]` as a pointer to a vector."""
    struct = context.make_array(array_type)(context, builder, array)
    row_stride = cgutils.unpack_tuple(builder, struct.strides, 2)[0]
    element = ir.Constant(row_stride.type, 4)
    offset = builder.add(builder.mul(row, row_stride), builder.mul(column, element))
    start = builder.bitcast(struct.data, ir.IntType(8).as_pointer())
    return builder.bitcast(
        builder.gep(start, [offset], source_etype=ir.IntType(8)), _VECTOR.as_pointer()
    )


def _tile_address(context: Any, builder: Any, array_type: Any, array: Any, row: Any) -> Any:
    """Return the address of a row of contiguous tiles: no stride to keep in a register."""
    struct = context.make_array(array_type)(context, builder, array)
    start = builder.bitcast(struct.data, _VECTOR.as_pointer())
    return builder.gep(start, [row], source_etype=_VECTOR)


def _splat(builder: Any, scalar: Any, vector: ir.VectorType = _VECTOR) -> Any:
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(_INTEGERS, [0] * _LANES)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)


def _lane_mask(builder: Any, count: Any) -> Any:
    """Return a mask that is true in the first `count` lanes."""
    lanes = ir.Constant(_INTEGERS, list(range(_LANES)))
    limit = _splat(builder, builder.trunc(count, _I32), _INTEGERS)
    return builder.icmp_signed("<", lanes, limit)


def _intrinsic_function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, name)


@intrinsic
def load(typingctx: Any, array: Any, row: Any, column: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], *args)
        return builder.load(pointer, align=_ALIGN, typ=_VECTOR)

    return _VEC(array, types.intp, types.intp), codegen


@intrinsic
def load_tile(typingctx: Any, array: Any, row: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _tile_address(context, builder, sig.args[0], *args)
        return builder.load(pointer, align=_ALIGN, typ=_VECTOR)

    return _VEC(array, types.intp), codegen


@intrinsic
def store_tile(typingctx: Any, array: Any, row: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _tile_address(context, builder, sig.args[0], *args[:2])
        builder.store(args[2], pointer, align=_ALIGN)
        return context.get_dummy_value()

    return types.none(array, types.intp, _VEC), codegen


@intrinsic
def load_part(typingctx: Any, array: Any, row: Any, column: Any, count: Any, fill: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], *args[:3])
        function = _intrinsic_function(
            builder,
            "llvm.masked.load.v16f32.p0",
            _VECTOR,
            [_VECTOR.as_pointer(), _I32, _MASK, _VECTOR],
        )
        mask = _lane_mask(builder, args[3])
        other = _splat(builder, args[4])
        return builder.call(function, [pointer, ir.Constant(_I32, _ALIGN), mask, other])

    return _VEC(array, types.intp, types.intp, types.intp, types.float32), codegen


@intrinsic
def store(typingctx: Any, array: Any, row: Any, column: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], *args[:3])
        builder.store(args[3], pointer, align=_ALIGN)
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, _VEC), codegen


@intrinsic
def store_part(typingctx: Any, array: Any, row: Any, column: Any, count: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], *args[:3])
        function = _intrinsic_function(
            builder,
            "llvm.masked.store.v16f32.p0",
            ir.VoidType(),
            [_VECTOR, _VECTOR.as_pointer(), _I32, _MASK],
        )
        mask = _lane_mask(builder, args[3])
        builder.call(function, [args[4], pointer, ir.Constant(_I32, _ALIGN), mask])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, types.intp, _VEC), codegen


@intrinsic
def prefetch(typingctx: Any, array: Any, row: Any, column: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], *args)
        function = _intrinsic_function(
            builder, "llvm.prefetch.p0", ir.VoidType(), [_VECTOR.as_pointer(), _I32, _I32, _I32]
        )
        # Operands: read, into the second-level cache, data.
        builder.call(function, [pointer, *(ir.Constant(_I32, value) for value in (0, 2, 1))])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp), codegen


@intrinsic
def splat(typingctx: Any, scalar: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return _VEC(types.float32), codegen


def _binary(emit: Callable[[Any, Any, Any], Any]) -> Any:
    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return emit(builder, *args)

        return _VEC(_VEC, _VEC), codegen

    return operation


# No `contract` flag here: the exponential needs its additions exactly as they are written.
add = _binary(lambda builder, a, b: builder.fadd(a, b))
sub = _binary(lambda builder, a, b: builder.fsub(a, b))
mul = _binary(lambda builder, a, b: builder.fmul(a, b))
div = _binary(lambda builder, a, b: builder.fdiv(a, b))
maximum = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        # `contract` fuses where the machine can; `llvm.fma` would call the C library elsewhere.
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return _VEC(_VEC, _VEC, _VEC), codegen


@intrinsic
def where_negative(typingctx: Any, test: Any, yes: Any, no: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zeros = ir.Constant(_VECTOR, [0.0] * _LANES)
        return builder.select(builder.fcmp_ordered("<", args[0], zeros), args[1], args[2])

    return _VEC(_VEC, _VEC, _VEC), codegen


@intrinsic
def scale_by_exponent_bits(typingctx: Any, value: Any, shifted: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        exponent = builder.shl(
            builder.bitcast(args[1], _INTEGERS), ir.Constant(_INTEGERS, [23] * _LANES)
        )
        return builder.bitcast(builder.add(builder.bitcast(args[0], _INTEGERS), exponent), _VECTOR)

    return _VEC(_VEC, _VEC), codegen


@intrinsic
def total(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(builder, args[0], builder.fadd)

    return types.float32(_VEC), codegen


@intrinsic
def largest(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(
            builder, args[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)
        )

    return types.float32(_VEC), codegen


def _fold(builder: Any, value: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combine the lanes pairwise: 16, 8, 4, 2, 1."""
    width = _LANES
    while width > 1:
        half = width // 2
        order = [(lane + half) % width if lane < width else 0 for lane in range(_LANES)]
        moved = builder.shuffle_vector(
            value, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_INTEGERS, order)
        )
        value = combine(value, moved)
        width = half
    return builder.extract_element(value, ir.Constant(_I32, 0))
