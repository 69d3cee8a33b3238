"""The kernels themselves, in Triton's dialect of Python: importing one of these modules imports Triton."""
