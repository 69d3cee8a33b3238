"""Checks of kernels for `python -m tests.gpu`: each module has a function check(device, small) -> figures.

It raises AssertionError where a kernel is wrong; what it returns goes into the table. small: for a CPU, where a check
of a kernel that cannot run returns {"not run": reason}.
"""
