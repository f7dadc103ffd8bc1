"""Triton kernels for the memory-bound steps of a block, each one pass over the GPU memory.

Every module contains kernels and the autograd functions that call them. The reference
implementation is :class:`~editinfinity.models.operations.Operations`.
"""
