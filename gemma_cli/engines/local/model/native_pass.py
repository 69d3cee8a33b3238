"""A pass of few rows as one call into C (native/pass.c), which walks a table of the target's layers.

    of_target(target) -> NativePass | str      a str: why this target has none
    NativePass.run(ids, places)                as Target.run, with the same bits

Target.run is the reference, and what runs where there is no such pass: without our kernels, on several devices, for
experts, in float16, and for passes whose linear layers torch computes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gemma_cli.engines.local import native
from gemma_cli.engines.local.device import has_tiles
from gemma_cli.engines.local.model.cache import EVERY, Cache
from gemma_cli.engines.local.model.layer import DecoderLayer
from gemma_cli.engines.local.model.layers.linear import FEW, Linear, Norm
from gemma_cli.engines.local.model.layers.per_layer_embedding import PerLayerEmbedding
from gemma_cli.engines.local.model.layers.quantized import RoundedLinear
from gemma_cli.engines.local.model.layers.rope import OVERHANG, Rope
from gemma_cli.engines.local.model.schema.architecture import Architecture
from gemma_cli.engines.local.native.tables import Decoder, Layer, Matrix, Part, Slots, Table

if TYPE_CHECKING:
    from gemma_cli.engines.local.native.ops import Kernels

_KINDS = {torch.float32: 0, torch.bfloat16: 1}


class Unsupported(Exception):
    """Raised for a target that pass.c cannot run; the message has the reason."""


class Parts(Protocol):
    """The parts of a target that a pass reads; see target.Target."""

    arch: Architecture
    device: torch.device
    dtype: torch.dtype
    embedding: Tensor
    embed_scale: float
    head: Linear
    layers: list[DecoderLayer]
    norm: Norm
    ropes: Mapping[str, Rope]
    per_layer: PerLayerEmbedding | None

    @property
    def devices(self) -> tuple[torch.device, ...]: ...


def of_target(target: Parts) -> NativePass | str:
    """Return the pass of a target, or why it has none."""
    kernels = native.on(target.device)
    if kernels is None:
        return "there are no kernels for it"
    try:
        return NativePass(target, kernels)
    except Unsupported as error:
        return str(error)


class NativePass:
    """The passes of a target. Holds every tensor that its tables point to."""

    def __init__(self, target: Parts, kernels: Kernels) -> None:
        """Raises Unsupported."""
        if len(target.devices) > 1:
            raise Unsupported("its layers lie on several devices")
        if target.dtype not in _KINDS:
            raise Unsupported(f"it computes in {target.dtype}")
        self._target, self._kernels = target, kernels
        self._held: list[object] = []
        self._slots: WeakKeyDictionary[Cache, tuple[list[Tensor], ctypes.Array[Slots]]] = WeakKeyDictionary()
        self._tiled = target.dtype == torch.bfloat16 and has_tiles()
        self._decoder = self._table(target)

    def takes(self, counts: Sequence[int]) -> bool:
        """Whether a pass may have so many rows of each sequence. With AMX, torch computes the linear layers of many."""
        return max(counts) <= OVERHANG and not (self._tiled and sum(counts) > FEW)

    def run(self, ids: Tensor, places: Sequence[tuple[Cache, int]]) -> tuple[Tensor, Tensor]:
        """Logits float32 [m, vocab] and hidden states [m, hidden] of ids int64 [m], and their keys in the caches.

        places: the cache of each sequence, and the number of its rows, which it has room for.
        """
        target, rows = self._target, ids.shape[0]
        logits = torch.empty(rows, target.arch.vocab)
        hidden = torch.empty(rows, target.arch.hidden, dtype=target.dtype)
        parts = (Part * len(places))()
        held = [self._describe(part, cache, count) for part, (cache, count) in zip(parts, places, strict=True)]
        self._kernels.decoder_pass(self._decoder, parts, ids.contiguous(), logits, hidden)
        for (cache, _), (_, queries) in zip(places, held, strict=True):
            if cache.log and queries is not None:
                cache.log.write(cache.length, queries)
        return logits, hidden

    def _describe(self, part: Part, cache: Cache, rows: int) -> tuple[object, Tensor | None]:
        """Fill in the part of a pass; returns what must live as long as it, and where logged queries will be."""
        part.slots = ctypes.cast(self._slots_of(cache), ctypes.POINTER(Slots))
        part.position, part.rows = cache.length, rows
        blocks = []
        for kind, rope in self._target.ropes.items():
            cos, sin, row = rope.block(cache.length)
            full, bytes_before = kind == "full_attention", row * cos.shape[-1] * cos.itemsize
            part.cos[full], part.sin[full] = cos.data_ptr() + bytes_before, sin.data_ptr() + bytes_before
            blocks.append((cos, sin))
        if cache.log is None:
            return blocks, None
        shape = self._target.arch.layers[cache.log.layer]
        queries = torch.empty(rows, shape.heads, shape.head_dim)
        part.queries, part.logged = queries.data_ptr(), shape.index
        return blocks, queries

    def _slots_of(self, cache: Cache) -> ctypes.Array[Slots]:
        """Where the keys and values of each layer lie. They move when the cache grows."""
        tensors = [slots.keys for slots in cache.layers.values()]
        known = self._slots.get(cache)
        if known and all(map(is_, tensors, known[0])):
            return known[1]
        table = (Slots * len(self._target.layers))()
        for index, slots in cache.layers.items():
            assert slots.keys.is_contiguous()
            assert slots.keys.dtype == torch.float32
            table[index] = Slots(slots.keys.data_ptr(), slots.values.data_ptr(), slots.slots)
        self._slots[cache] = tensors, table
        return table

    def _table(self, target: Parts) -> Decoder:
        arch, per_layer = target.arch, target.per_layer
        layers = (Layer * len(target.layers))(*(self._layer(target, layer) for layer in target.layers))
        self._held.append(layers)
        decoder = Decoder(
            layers=layers,
            embedding=self._embeddings(target.embedding, target.embed_scale),
            head=self._matrix(target.head),
            norm=self._norm(target.norm, arch.eps),
            count=len(layers),
            hidden=arch.hidden,
            ple=arch.ple,
            widest=max(map(_widest, layers), default=0),
            eps=arch.eps,
            cap=arch.softcap or 0.0,
            kind=_KINDS[target.dtype],
        )
        if per_layer is not None:
            assert per_layer.table.shape[1] == len(layers) * arch.ple
            decoder.per_layer = self._embeddings(per_layer.table, per_layer.table_scale)
            decoder.project = self._matrix(per_layer.project)
            decoder.project_norm, decoder.project_eps = (
                self._norm(per_layer.norm, per_layer.norm.eps),
                per_layer.norm.eps,
            )
            decoder.widest = max(decoder.widest, per_layer.project.shape[0])
        return decoder

    def _layer(self, target: Parts, layer: DecoderLayer) -> Layer:
        if layer.experts is not None:
            raise Unsupported("it has experts")
        attention, shape, eps = layer.attention, layer.attention.shape, target.arch.eps
        if attention.norm.eps != eps:
            raise Unsupported("its norms differ in epsilon")
        table = Layer(
            qkv=self._matrix(attention.qkv),
            out=self._matrix(attention.out),
            gate_up=self._matrix(layer.feed_forward.gate_up),
            down=self._matrix(layer.feed_forward.down),
            qk_scale=self._floats(attention.qk_scale),
            before_attention=self._norm(layer.input_norm, eps),
            after_attention=self._norm(layer.post_attention_norm, eps),
            before_feed_forward=self._norm(layer.pre_feed_forward_norm, eps),
            after_feed_forward=self._norm(layer.post_feed_forward_norm, eps),
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            dim=shape.head_dim,
            source=shape.source,
            window=target.arch.window if shape.sliding else EVERY,
            scalar=layer.scalar,
            own=shape.owns_kv,
            full=not shape.sliding,
        )
        if layer.per_layer_input is not None:
            table.gate = self._matrix(layer.per_layer_input.gate)
            table.project = self._matrix(layer.per_layer_input.project)
            table.after_project = self._norm(layer.per_layer_input.norm, eps)
        return table

    def _matrix(self, linear: Linear) -> Matrix:
        out, width = linear.shape
        if type(linear) is Linear and linear.scattered is not None and self._target.dtype == torch.bfloat16:
            lies = linear.scattered
            self._held.append(lies)
            places, outs = ctypes.addressof(lies.places), ctypes.addressof(lies.outs)
            return Matrix(parts=places, outs=outs, out=out, width=width, count=len(lies.parts), bits=16)
        if type(linear) is Linear and linear.panels is not None and self._target.dtype == torch.float32:
            return Matrix(packed=self._floats(linear.panels), out=out, width=width, bits=32)
        if isinstance(linear, RoundedLinear) and linear.stored is not None:
            packed, scales = linear.stored
            self._held.append(linear.stored)
            return Matrix(packed=packed.data_ptr(), scales=scales.data_ptr(), out=out, width=width, bits=linear.bits)
        raise Unsupported(f"it has a {type(linear).__name__} of another kind")

    def _norm(self, norm: Norm, eps: float) -> int | None:
        if type(norm) is not Norm or norm.eps != eps:
            raise Unsupported("it has a norm of another kind")
        return None if norm.weight is None else self._floats(norm.weight)

    def _floats(self, tensor: Tensor) -> int:
        """The address of a float32 tensor, which is held."""
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        self._held.append(tensor)
        address: int = tensor.data_ptr()
        return address

    def _embeddings(self, table: Tensor, scale: float) -> Table:
        if table.dtype not in _KINDS or table.stride(1) != 1:
            raise Unsupported(f"its embeddings are {table.dtype}")
        self._held.append(table)
        rows, width = table.shape
        return Table(
            at=table.data_ptr(), rows=rows, width=width, step=table.stride(0), scale=scale, kind=_KINDS[table.dtype]
        )


def _widest(layer: Layer) -> int:
    """The numbers of the widest intermediate result of a row in a layer."""
    heads = (layer.heads + 2 * layer.kv_heads) * layer.dim
    widths: list[int] = [heads, layer.qkv.width, layer.qkv.out, layer.gate_up.out, layer.gate.out]
    return max(widths)
