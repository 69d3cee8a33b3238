"""Gemma 4's text decoder and its drafter: layers, attention, cache, linear layers."""
