"""Presets → loaded models: bundled, released, or random for the tests.

Everything comes back frozen and in ``eval`` mode on its device: the tokenizer in fp32, the
transformer's blocks in bf16 on a GPU and fp32 on a CPU, the rest of it in fp32.

The loaders live in modules of their own, and stages import those: a stage's version, from which
Snakemake knows what to run again, is then that of the models it really uses.
"""

from editinfinity.files.text_encoder_weights import load_text_encoder as load_text_encoder
from editinfinity.files.tokenizer_weights import load_tokenizer as load_tokenizer
from editinfinity.files.transformer_weights import load_transformer as load_transformer
