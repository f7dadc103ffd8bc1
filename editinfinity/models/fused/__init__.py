"""The memory-bound steps of a block, each in one pass over the card's memory (Triton kernels).

Every module holds kernels, the autograd function around them, and no other way to compute the same:
the reference is :class:`~editinfinity.models.operations.Operations`.
"""
