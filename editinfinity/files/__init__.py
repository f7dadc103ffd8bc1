"""Read and write the project's files: images, masks, tensors, prompts and model weights."""
