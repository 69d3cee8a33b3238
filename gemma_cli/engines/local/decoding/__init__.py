"""The decoding loop: draft, verify, accept; sampling, prefix cache, batching, CUDA graphs."""
