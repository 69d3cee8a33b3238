"""Quantized weights in a file, as the kernels read them: made once, mapped by every later process."""
