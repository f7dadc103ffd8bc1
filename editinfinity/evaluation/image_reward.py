"""ImageReward v1.0: predicted human preference for a picture, given its prompt (arXiv 2304.05977).

BLIP's text encoder reads the prompt with cross-attention to the picture's features, and five linear
layers map its first token to a number. BLIP's vision and text encoders come from transformers; the
tensor names of the released file are mapped to theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from editinfinity.errors import UserError, first_sentence
from editinfinity.evaluation.canvas import Pixels
from editinfinity.evaluation.pretrained import load_pretrained, normalized, sub_state_dict
from editinfinity.evaluation.scorer import EditedPicture
from editinfinity.files.loading import freeze
from editinfinity.files.state_dicts import find_weight_files, read_state_dict

MAX_TOKENS = 35
"""Number of tokens to which a prompt is truncated or padded."""

_REWARD_MEAN, _REWARD_STD = 0.16717362830052426, 1.0333394966054072
"""Mean and standard deviation of the rewards in training, used to normalise the reward."""

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HEAD_WIDTH = 64
"""Channels of an attention head, in both encoders."""

_VISION_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
    (r"^norm\.", "post_layernorm."),
)


def vision_name(released: str) -> str:
    """Return transformers' name for a tensor of BLIP's vision encoder."""
    for pattern, name in _VISION_NAMES:
        released = re.sub(pattern, name, released)
    return released


def _vision(state: Mapping[str, Tensor]) -> nn.Module:
    """Return BLIP's vision encoder. Its sizes are inferred from the tensors' shapes."""
    from transformers import BlipVisionConfig, BlipVisionModel

    patches = state["patch_embed.proj.weight"]
    width, patch = patches.shape[0], patches.shape[-1]
    model = BlipVisionModel(
        BlipVisionConfig(
            hidden_size=width,
            intermediate_size=state["blocks.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=_count(state, r"blocks\.(\d+)\."),
            num_attention_heads=width // _HEAD_WIDTH,
            image_size=round((state["pos_embed"].shape[1] - 1) ** 0.5) * patch,
            patch_size=patch,
            layer_norm_eps=1e-6,
        )
    )
    model.load_state_dict({vision_name(name): tensor for name, tensor in state.items()})
    return model


def _text(state: dict[str, Tensor], vision_width: int) -> nn.Module:
    """Return BLIP's text encoder; it attends to picture features of ``vision_width`` channels."""
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    vocabulary, width = state["embeddings.word_embeddings.weight"].shape
    model = BlipTextModel(
        BlipTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            encoder_hidden_size=vision_width,
            intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
            num_hidden_layers=_count(state, r"encoder\.layer\.(\d+)\."),
            num_attention_heads=width // _HEAD_WIDTH,
            max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        ),
        add_pooling_layer=False,
    )
    expected = model.state_dict().keys()
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in expected})
    return model


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max(int(m[1]) for name in state if (m := re.match(pattern, name)))


def _head(state: Mapping[str, Tensor]) -> nn.Sequential:
    """Return the linear layers. Inactive dropouts fill the gaps in the released numbering."""
    layers: list[nn.Module] = []
    for index in range(_count(state, r"(\d+)\.")):
        weight = state.get(f"{index}.weight")
        layers.append(nn.Dropout() if weight is None else nn.Linear(*weight.shape[::-1]))
    head = nn.Sequential(*layers)
    head.load_state_dict(dict(state))
    return head


class ImageReward:
    """The reward model, from a folder with the released file and BERT's vocabulary.

    Raises:
        UserError: if the folder cannot be read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import BertTokenizer

        files = find_weight_files(folder, "ImageReward.*", "ImageReward v1.0")
        state = {name: tensor.float() for name, tensor in read_state_dict(files).items()}
        try:
            vision = _vision(sub_state_dict(state, "blip.visual_encoder."))
            vision_width = int(vision.config.hidden_size)  # type: ignore[union-attr, arg-type]
            text = _text(sub_state_dict(state, "blip.text_encoder."), vision_width)
            head = _head(sub_state_dict(state, "mlp.layers."))
        except (KeyError, ValueError, RuntimeError, IndexError) as error:
            reason = first_sentence(error)
            raise UserError(
                f"{files[0]}: is not ImageReward v1.0 ({reason}); get it again"
            ) from None
        self.vision: Any = freeze(vision, device)
        self.text: Any = freeze(text, device)
        self.head = freeze(head, device)
        self.tokenizer: Any = load_pretrained(BertTokenizer, folder)
        self.device = device

    @torch.inference_mode()
    def measure(self, edited: EditedPicture) -> Mapping[str, float]:
        """Return ``image_reward`` of the whole picture: about 0 on average, higher is better."""
        tokens = self.tokenizer(
            edited.plain_prompt,
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(self.device)
        picture = self.prepare(edited.result).to(self.device)
        features = self.vision(pixel_values=picture).last_hidden_state
        hidden_states = self.text(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=features,
            encoder_attention_mask=torch.ones(features.shape[:2], device=self.device).long(),
        ).last_hidden_state
        reward = (float(self.head(hidden_states[:, 0])) - _REWARD_MEAN) / _REWARD_STD
        return {"image_reward": reward}

    def prepare(self, pixels: Pixels) -> Tensor:
        """Return the central square at BLIP's size, bicubic, normalised, (1, 3, side, side)."""
        side = int(self.vision.config.image_size)
        picture = Image.fromarray(pixels)
        width, height = picture.size
        shorter = min(width, height)
        size = (side * width // shorter, side * height // shorter)
        left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
        scaled = picture.resize(size, Image.Resampling.BICUBIC)
        cut = np.array(scaled.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
        return normalized(torch.from_numpy(cut).permute(2, 0, 1)[None], _MEAN, _STD)
