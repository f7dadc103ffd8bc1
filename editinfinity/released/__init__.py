"""Fetch the released models' files from the Hugging Face hub, convert them once, and verify them.

The released files are pickles of several layouts. :mod:`.convert` turns them into the files that
the workflow uses: safetensors of one layout (:mod:`editinfinity.files.model_folder`). These are
memory-mapped, so they load fast, they cannot execute code, and their metadata names the model.
"""
