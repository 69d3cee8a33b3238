"""The tables that describe a decoder and the rows of a pass to pass.c: the structures of pass.h, field by field."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_float, c_int, c_long, c_void_p


class Matrix(Structure):
    """A weight."""

    _fields_ = [
        ("packed", c_void_p),
        ("scales", c_void_p),
        ("parts", c_void_p),
        ("outs", c_void_p),
        ("out", c_long),
        ("width", c_long),
        ("count", c_int),
        ("bits", c_int),
    ]


class Table(Structure):
    """Embeddings."""

    _fields_ = [
        ("at", c_void_p),
        *((name, c_long) for name in ("rows", "width", "step")),
        ("scale", c_float),
        ("kind", c_int),
    ]


class Layer(Structure):
    """A decoder layer."""

    _fields_ = [
        *((name, Matrix) for name in ("qkv", "out", "gate_up", "down", "gate", "project")),
        ("qk_scale", c_void_p),
        ("before_attention", c_void_p),
        ("after_attention", c_void_p),
        ("before_feed_forward", c_void_p),
        ("after_feed_forward", c_void_p),
        ("after_project", c_void_p),
        *((name, c_long) for name in ("heads", "kv_heads", "dim", "source", "window")),
        ("scalar", c_float),
        ("own", c_int),
        ("full", c_int),
    ]


class Decoder(Structure):
    """A decoder."""

    _fields_ = [
        ("layers", POINTER(Layer)),
        ("embedding", Table),
        ("per_layer", Table),
        ("project", Matrix),
        ("head", Matrix),
        ("project_norm", c_void_p),
        ("norm", c_void_p),
        *((name, c_long) for name in ("count", "hidden", "ple", "widest")),
        *((name, c_float) for name in ("eps", "project_eps", "cap")),
        ("kind", c_int),
    ]


class Slots(Structure):
    """The cache of a layer."""

    _fields_ = [("keys", c_void_p), ("values", c_void_p), ("slots", c_long)]


class Part(Structure):
    """Rows of one sequence."""

    _fields_ = [
        ("slots", POINTER(Slots)),
        ("cos", c_void_p * 2),
        ("sin", c_void_p * 2),
        ("queries", c_void_p),
        ("position", c_long),
        ("rows", c_long),
        ("logged", c_long),
    ]
