"""The released models' files: fetched from the hub, converted once, and verified.

Released files are pickles of several layouts. The workflow uses what :mod:`.convert` makes of
them: safetensors of one layout (:mod:`editinfinity.files.model_folder`), mapped from disk in a
moment, that cannot run code and say which model they are.
"""
