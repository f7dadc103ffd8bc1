"""Load the models of a preset: bundled, released, or with random weights for tests.

All models are frozen, in ``eval`` mode and on the given device. The tokenizer uses fp32. The
transformer's blocks use bf16 on a GPU and fp32 on a CPU; the rest of the transformer uses fp32.

Each loader has its own module, and stages import those modules instead of this one. The version of
a stage, from which Snakemake decides what to run again, then depends only on the models that the
stage uses.
"""

from editinfinity.files.text_encoder_weights import load_text_encoder as load_text_encoder
from editinfinity.files.tokenizer_weights import load_tokenizer as load_tokenizer
from editinfinity.files.transformer_weights import load_transformer as load_transformer
