"""Kernels of our own for NVIDIA GPUs, in Triton: linear layers, attention, experts and what stands between, for the few
rows of a decoding pass.

    kernels.Kernels(device, card)      the kernels as functions of tensors
    tiles.py                           which tile a shape takes on which card
    layout.py                          how weights of four bits lie
    source/                            the kernels themselves

Nothing imports this yet: a model on a GPU runs on torch's kernels. Only `kernels`, `between` and source/ import Triton.

Every kernel gives a row the same bits whatever rows stand next to it: a tile always has 16 rows, the inner dimension is
cut in the same places, and parts are added in the same order. No tile is chosen by timing.
"""
