"""Baselines for a model: transformers, memory bandwidth, held-out replies."""
