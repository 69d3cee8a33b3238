"""Triton's interpreter with a bfloat16 that works: kernels run on a CPU, one program after another.

TRITON_INTERPRET must be set before Triton is first imported, as tests/conftest.py and the trials do. In Triton 3.6 to
3.9 the interpreter stores bfloat16 as bit patterns and multiplies and adds those; its casts truncate. `mend` replaces
each operation by one on float32 that is rounded to the nearest, ties to even, as GPUs do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_BFLOAT16_NAN = np.uint16(0x7FC0)


def _widened(bits: Any) -> Any:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _rounded(wide: Any) -> Any:
    wide = np.ascontiguousarray(wide, dtype=np.float32)
    bits = wide.view(np.uint32)
    nearest = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(wide), _BFLOAT16_NAN, nearest)


def mend() -> None:
    """Patch the interpreter, once a process."""
    import triton.language as tl
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    if getattr(builder, "mended", False):
        return
    cast_before, binary_before, unary_before = builder.cast_impl, builder.binary_op, builder.unary_op
    dot_before, convert_before = builder.create_dot, builder.create_fp_to_fp

    def is_bfloat16(value: Any) -> bool:
        return value.dtype.scalar == tl.bfloat16

    def cast(self: Any, value: Any, to: Any) -> Any:
        scalar = to.scalar
        if is_bfloat16(value) and scalar != tl.bfloat16:
            return handle(_widened(value.data).astype(interpreter._get_np_dtype(scalar)), scalar)
        if scalar == tl.bfloat16 and not is_bfloat16(value):
            return handle(_rounded(value.data), scalar)
        return cast_before(self, value, to)

    def convert(self: Any, value: Any, to: Any, mode: Any) -> Any:
        if is_bfloat16(value) or to.scalar == tl.bfloat16:
            return cast(self, value, to)
        return convert_before(self, value, to, mode)

    def binary(self: Any, left: Any, right: Any, operation: Any) -> Any:
        if not (is_bfloat16(left) and is_bfloat16(right)):
            return binary_before(self, left, right, operation)
        result = operation(_widened(left.data), _widened(right.data))
        if result.dtype == bool:
            return handle(result, tl.int1)
        return handle(_rounded(result), tl.bfloat16)

    def unary(self: Any, value: Any, operation: Any) -> Any:
        if is_bfloat16(value):
            return handle(_rounded(operation(_widened(value.data))), tl.bfloat16)
        return unary_before(self, value, operation)

    def dot(self: Any, left: Any, right: Any, sums: Any, *rest: Any) -> Any:
        if not is_bfloat16(left):
            return dot_before(self, left, right, sums, *rest)
        a, b = _widened(left.data), _widened(right.data)
        # Row by row, as matrix units compute: a library's product of many rows may round a row by its place.
        return handle(np.stack([row @ b for row in a]) + sums.data, sums.dtype.scalar)

    builder.cast_impl, builder.binary_op, builder.unary_op = cast, binary, unary
    builder.create_dot, builder.create_fp_to_fp = dot, convert
    builder.get_bf16 = lambda self, value: handle(_rounded(np.array([value], dtype=np.float32)), tl.bfloat16)
    _mend_bounds(interpreter)
    builder.mended = True


def _mend_bounds(interpreter: Any) -> None:
    """Let a loop end at a bound from memory: numpy 2.4 no longer turns an array of one element into a number."""
    before = interpreter._patch_lang_tensor

    def index(tensor: Any) -> int:
        return int(np.asarray(tensor.handle.data).reshape(-1)[0])

    def patched(tensor: Any, *scope: Any) -> None:
        before(tensor, *scope)
        if scope:
            scope[0].set_attr(tensor, "__index__", index)
        else:
            tensor.__index__ = index

    interpreter._patch_lang_tensor = patched
