"""The kernels as functions of tensors on a CPU, in float32 and bfloat16; each C file documents what it computes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from ctypes import Array
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from gemma_cli.engines.local.native.tables import Decoder, Part

_KINDS = {torch.float32: 0, torch.bfloat16: 1}
_POINTER, _LONG, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float

_NO_ID = 2  # pass.c

Bits = Literal[4, 8]


class KeyValueSlots(Protocol):
    """The part of `model.cache.Slots` that attention reads: keys and values, each [kv_heads, slots, head_dim]."""

    @property
    def keys(self) -> Tensor: ...

    @property
    def values(self) -> Tensor: ...

    @property
    def slots(self) -> int: ...


class Scattered:
    """A weight [out, width] in bfloat16 whose rows lie in several tensors, one below the other."""

    def __init__(self, parts: Sequence[Tensor]) -> None:
        assert all(part.is_contiguous() and part.dtype == torch.bfloat16 for part in parts)
        self.parts = tuple(parts)
        self.out = sum(part.shape[0] for part in parts)
        self.places = (_POINTER * len(parts))(*(part.data_ptr() for part in parts))
        self.outs = (_LONG * len(parts))(*(part.shape[0] for part in parts))


class Kernels:
    """A loaded library of kernels."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.name = path.stem
        self._read = _function(library.read_all, [_POINTER, _LONG], ctypes.c_uint32)
        self._checksum = _function(library.checksum, [_POINTER] * 2 + [_LONG])
        self._checksum_size = _function(library.checksum_size, [_LONG], _LONG)
        self._linear = _function(library.linear, [_POINTER] * 4 + [_INT] + [_LONG] * 2)
        self._float_linear = _function(library.float_linear, [_POINTER] * 3 + [_LONG] * 3)
        self._panel = int(library.panel_width())
        self.lanes = int(library.lanes())
        self._pack = _function(library.pack, [_POINTER] * 3 + [_LONG] * 2 + [_INT])
        self._round = _function(library.round_and_pack, [_POINTER] * 3 + [_LONG] * 2 + [_INT] * 2)
        self.packed_bytes: Callable[[int, int, Bits], int] = _function(
            library.packed_bytes, [_LONG] * 2 + [_INT], _LONG
        )
        self._rounded = _function(library.rounded_linear, [_POINTER] * 4 + [_LONG] * 3 + [_INT] * 2, _INT)
        self._norm = _function(library.norm, [_POINTER] * 4 + [_LONG] * 2 + [_FLOAT] + [_INT] * 2)
        self._gated = _function(library.gated, [_POINTER] * 3 + [_LONG] * 4 + [_INT])
        self._soft_cap = _function(library.soft_cap, [_POINTER] * 2 + [_LONG, _FLOAT, _INT])
        self._turn = _function(library.turn, [_POINTER] * 5 + [_LONG] * 5 + [_FLOAT, _INT])
        self._attend = _function(library.attend, [_POINTER] * 6 + [_LONG] * 8, _INT)
        self._decoder = _function(library.decoder_pass, [_POINTER, _POINTER, _LONG] + [_POINTER] * 3, _INT)
        self._settings = _function(library.team_settings, [_INT, ctypes.c_longlong])

    def set_threads(self, count: int, spin_ns: int = -1) -> None:
        """Compute on `count` threads. spin_ns: how long an idle thread spins before it sleeps; -1: as before."""
        self._settings(count, spin_ns)

    def read(self, buffer: Tensor) -> None:
        """Read a tensor at the full memory bandwidth; its last 32 KB may be left out."""
        self._read(buffer.data_ptr(), buffer.nbytes)

    def checksum(self, content: Tensor) -> bytes:
        """Return sums of every MiB of uint8 [bytes]: they find damage, but not forgery."""
        sums = torch.empty(self._checksum_size(content.numel()), dtype=torch.int32)
        self._checksum(sums.data_ptr(), content.data_ptr(), content.numel())
        return sums.numpy().tobytes()

    def linear(self, x: Tensor, weight: Scattered) -> Tensor:
        """Return x [rows, width] @ weight.T for weight [out, width], all bfloat16."""
        x = x.contiguous()
        rows, width = x.shape
        y = torch.empty(rows, weight.out, dtype=x.dtype)
        self._linear(y.data_ptr(), x.data_ptr(), weight.places, weight.outs, len(weight.parts), rows, width)
        return y

    def pack_floats(self, weight: Tensor) -> Tensor:
        """Pack a float32 weight [out, width] for float_linear: [panels, width, outputs of a panel]."""
        out, width = weight.shape
        panels = -(-out // self._panel)
        whole, rest = out // self._panel, out % self._panel
        packed = torch.empty(panels, width, self._panel)
        packed[:whole] = weight[: out - rest].view(whole, self._panel, width).transpose(1, 2)
        if rest:
            packed[whole:] = 0
            packed[whole, :, :rest] = weight[out - rest :].T
        return packed

    def float_linear(self, x: Tensor, packed: Tensor, out: int) -> Tensor:
        """Return x [rows, width] @ weight.T for a weight [out, width] from `pack_floats`, all float32."""
        x = x.contiguous()
        rows, width = x.shape
        y = torch.empty(rows, out)
        self._float_linear(y.data_ptr(), x.data_ptr(), packed.data_ptr(), rows, out, width)
        return y

    def pack(self, parts: Iterable[tuple[Tensor, Tensor]], shape: tuple[int, int], bits: Bits) -> Tensor:
        """Pack a weight of this shape, [out, width], for rounded_linear: uint8 [n].

        parts: numbers and scales of consecutive rows; all parts but the last have a multiple of rounding.BLOCK rows.
        Numbers [rows, width] are uint8 0 .. 15 with bfloat16 scales [rows, width / 32], or int8.
        """
        out, width = shape
        packed = torch.empty(self.packed_bytes(out, width, bits), dtype=torch.uint8)
        at = packed.data_ptr()
        for numbers, scales in parts:
            numbers, scales = numbers.contiguous(), scales.contiguous()
            self._pack(at, numbers.data_ptr(), scales.data_ptr(), len(numbers), width, bits)
            at += self.packed_bytes(len(numbers), width, bits)
        assert at == packed.data_ptr() + packed.nbytes
        return packed

    def round_and_pack(self, weight: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
        """Round a weight [out, width], float32 or bfloat16, as model.rounding does, and pack it: (packed uint8 [bytes],
        scales float32 [out] for eight bits, empty for four)."""
        weight = weight.contiguous()
        out, width = weight.shape
        packed = torch.empty(self.packed_bytes(out, width, bits), dtype=torch.uint8)
        scales = torch.empty(out if bits == 8 else 0)
        self._round(packed.data_ptr(), scales.data_ptr(), weight.data_ptr(), out, width, bits, _KINDS[weight.dtype])
        return packed, scales

    def rounded_linear(self, x: Tensor, packed: Tensor, scales: Tensor, out: int, bits: Bits) -> Tensor:
        """Return x [rows, width] @ weight.T for a weight [out, width] from `pack`.

        scales: float32 [out], for 8 bits only.
        """
        x = x.contiguous()
        rows, width = x.shape
        y = torch.empty(rows, out, dtype=x.dtype)
        kind = _KINDS[x.dtype]
        _enough(
            self._rounded(
                y.data_ptr(), x.data_ptr(), packed.data_ptr(), scales.data_ptr(), rows, out, width, bits, kind
            )
        )
        return y

    def norm(
        self,
        x: Tensor,
        weight: Tensor | None,
        eps: float,
        residual: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return x / rms(x) * weight [+ residual] over the last dimension of x, rounded once.

        weight: float32. dtype: of the result; None: that of x.
        """
        x = x.contiguous()
        y = torch.empty_like(x, dtype=dtype)
        width = x.shape[-1]
        self._norm(
            y.data_ptr(),
            x.data_ptr(),
            None if weight is None else weight.data_ptr(),
            None if residual is None else residual.contiguous().data_ptr(),
            x.numel() // width,
            width,
            eps,
            _KINDS[x.dtype],
            _KINDS[y.dtype],
        )
        return y

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """Return gelu(gate) * up, both [rows, width]; their rows need not be contiguous."""
        rows, width = gate.shape
        y = torch.empty(rows, width, dtype=gate.dtype)
        self._gated(
            y.data_ptr(), gate.data_ptr(), up.data_ptr(), rows, width, gate.stride(0), up.stride(0), _KINDS[gate.dtype]
        )
        return y

    def soft_cap(self, x: Tensor, cap: float) -> Tensor:
        """Return cap * tanh(x / cap), float32."""
        x = x.contiguous()
        y = torch.empty_like(x, dtype=torch.float32)
        self._soft_cap(y.data_ptr(), x.data_ptr(), x.numel(), cap, _KINDS[x.dtype])
        return y

    def turn(
        self, product: Tensor, scale: Tensor, cos: Tensor, sin: Tensor, copied: int, eps: float
    ) -> tuple[Tensor, Tensor]:
        """Return the heads of a linear layer's output as attention takes them, float32.

        The first heads are normalised, scaled and rotated: [rows, turned, dim]. The last `copied` heads are normalised
        only: [rows, copied, dim]. product: [rows, heads, dim]; scale: float32 [turned, dim]; cos, sin: float32
        [rows, 1, dim].
        """
        rows, heads, dim = product.shape
        turned = scale.shape[0]
        y = torch.empty(rows, turned + copied, dim)
        self._turn(
            y.data_ptr(),
            product.data_ptr(),
            scale.data_ptr(),
            cos.data_ptr(),
            sin.data_ptr(),
            rows,
            heads,
            turned,
            copied,
            dim,
            eps,
            _KINDS[product.dtype],
        )
        return y[:, :turned], y[:, turned:]

    def attend(
        self, query: Tensor, slots: KeyValueSlots, position: int, window: int, new: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return the attention of rows position .. position + rows - 1: float32 [rows, heads * dim].

        Each row attends to the last `window` positions up to its own. query: float32 [rows, heads, dim]. new: keys and
        values of these rows [rows, kv_heads, dim], which are stored first. Rows need not be contiguous, but their
        stride must be the same in all three tensors.
        """
        rows, heads, dim = query.shape
        keys, values = slots.keys, slots.values
        out = torch.empty(rows, heads * dim)
        fresh = (None, None) if new is None else (new[0].data_ptr(), new[1].data_ptr())
        _enough(
            self._attend(
                out.data_ptr(),
                query.data_ptr(),
                *fresh,
                keys.data_ptr(),
                values.data_ptr(),
                rows,
                query.stride(0),
                heads,
                keys.shape[0],
                dim,
                slots.slots,
                position,
                window,
            )
        )
        return out

    def decoder_pass(self, decoder: Decoder, parts: Array[Part], ids: Tensor, logits: Tensor, hidden: Tensor) -> None:
        """Compute logits float32 [rows, vocab] and hidden states [rows, hidden] of ids int64 [rows], contiguous: the
        rows of all parts, in order. IndexError for an id that is not in the vocabulary."""
        failed = self._decoder(
            ctypes.byref(decoder), parts, len(parts), ids.data_ptr(), logits.data_ptr(), hidden.data_ptr()
        )
        if failed == _NO_ID:
            raise IndexError(f"an id that is not in the vocabulary: {ids.tolist()}")
        _enough(failed)


def _function(function: Any, arguments: list[Any], result: Any = None) -> Callable[..., Any]:
    function.argtypes, function.restype = arguments, result
    return function  # type: ignore[no-any-return]


def _enough(failed: int) -> None:
    if failed:
        raise MemoryError
