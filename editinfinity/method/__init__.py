"""The method, in memory: encode a photograph, invert it, locate the edit, draw it, composite it.

Plain objects in, plain objects out; nothing here reads or writes a file. The stages of the workflow
load, call these functions and save; :class:`editinfinity.pipeline.EditInfinityPipeline` calls them
in turn. A step that runs no model (``locate``, ``composite``) is free of torch.

Source: EditInfinity (arXiv 2510.20217).
"""
