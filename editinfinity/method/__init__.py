"""The method in memory: encode and invert a photograph, then locate, draw and composite an edit.

The functions take and return plain objects and neither read nor write files. Each stage of the
workflow loads its inputs, calls these functions and saves the results;
:class:`editinfinity.pipeline.EditInfinityPipeline` calls them one after the other. Modules that run
no model (``locate``, ``composite``) do not import torch.

Source: EditInfinity (arXiv 2510.20217).
"""
