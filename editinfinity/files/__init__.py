"""Everything between files on disk and what the models take: images, tensors, prompts, weights."""
