"""Metrics that look through models, with small random ones of the same architectures.

Each is compared with its definition written out here: no weights of the benchmark's can be had
offline, so that what is checked is the way from pictures to the number, quirks included.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from editinfinity.errors import UserError
from editinfinity.evaluation import structure
from editinfinity.evaluation.backbones import BACKBONES, backbone_folders
from editinfinity.evaluation.clip import Clip
from editinfinity.evaluation.image_reward import ImageReward
from editinfinity.evaluation.lpips import load_lpips, squeezenet_features
from editinfinity.evaluation.scorer import EditedPicture
from editinfinity.evaluation.structure import Dino

CPU = torch.device("cpu")


def edited(size: int = 64, prompt: str = "a [red] cat", whole: bool = False) -> EditedPicture:
    rng = np.random.default_rng(5)
    source, result = rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    mask = np.zeros((size, size), dtype=bool)
    mask[8:40, 8:40] = True
    if whole:
        mask[:] = True
    return EditedPicture(source, result, mask, prompt)


# --- LPIPS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As torchvision publishes it, the classifier that nobody uses included."""
    torch.manual_seed(0)
    state = {f"features.{k}": v for k, v in squeezenet_features().state_dict().items()}
    state["classifier.1.weight"] = torch.zeros(1000, 512, 1, 1)
    folder = tmp_path_factory.mktemp("lpips")
    torch.save(state, folder / "squeezenet1_1-b8a52dc0.pth")
    return folder


def reference_lpips(state: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> float:
    import torchmetrics

    heads = torch.load(
        Path(torchmetrics.__file__).parent / "functional/image/lpips_models/squeeze.pth",
        map_location="cpu",
        weights_only=True,
    )

    def fire(x: torch.Tensor, i: int) -> torch.Tensor:
        def conv(x: torch.Tensor, name: str, pad: int = 0) -> torch.Tensor:
            w, bias = (state[f"features.{i}.{name}.{k}"] for k in ("weight", "bias"))
            return F.conv2d(x, w, bias, padding=pad).relu()

        x = conv(x, "squeeze")
        return torch.cat([conv(x, "expand1x1"), conv(x, "expand3x3", 1)], 1)

    def layers(x: torch.Tensor) -> list[torch.Tensor]:
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        x = (x - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)
        x = F.conv2d(x, state["features.0.weight"], state["features.0.bias"], stride=2).relu()
        found = [x]
        for group in ((3, 4), (6, 7), (9,), (10,), (11,), (12,)):
            if group[0] in (3, 6, 9):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            for i in group:
                x = fire(x, i)
            found.append(x)
        return found

    total = 0.0
    for i, (p, q) in enumerate(zip(layers(a), layers(b), strict=True)):
        p, q = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-10) for x in (p, q))
        head = heads[f"lin{i}.model.1.weight"]
        total += float(((p - q).square() * head.view(1, -1, 1, 1)).sum(1).mean())
    return total


def test_lpips_is_of_both_pictures_times_one_minus_mask(squeezenet: Path) -> None:
    case = edited()
    found = load_lpips(squeezenet, CPU).measure(case)["background_lpips"]

    mask = case.mask.copy()
    mask[0], mask[-1], mask[:, 0], mask[:, -1] = True, True, True, True
    a, b = (
        torch.from_numpy(p / 255 * ~mask[..., None]).float().permute(2, 0, 1)[None] * 2 - 1
        for p in (case.source, case.result)
    )
    state = torch.load(squeezenet / "squeezenet1_1-b8a52dc0.pth", weights_only=True)
    assert found == pytest.approx(reference_lpips(state, a, b), rel=1e-3)
    assert found > 0


def test_lpips_is_nan_where_nothing_is_background(squeezenet: Path) -> None:
    found = load_lpips(squeezenet, CPU).measure(edited(whole=True))
    assert math.isnan(found["background_lpips"])


def test_another_network_is_refused_in_a_line(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "squeezenet1_1.safetensors")
    with pytest.raises(UserError, match="is not SqueezeNet 1.1"):
        load_lpips(tmp_path, CPU)


# --- CLIP ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    from editinfinity.evaluation.clip import _image_processor

    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\n")
    vocabulary = {w: i for i, w in enumerate([*words, "ca"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    )
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = CLIPConfig(
        text_config={
            **small, "num_attention_heads": 2, "vocab_size": len(vocabulary),
            "bos_token_id": vocabulary["<|startoftext|>"],
            "eos_token_id": vocabulary["<|endoftext|>"],
        },
        vision_config={**small, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    _image_processor()(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def test_clip_is_a_hundred_cosines_of_the_whole_and_of_the_masked_canvas(clip_folder: Path) -> None:
    from transformers import CLIPModel

    case = edited(prompt="a [cat] on a mat")
    clip = Clip(clip_folder, CPU)
    found = clip.measure(case)

    model = CLIPModel.from_pretrained(clip_folder)
    tokens = clip.tokenizer("a cat on a mat", return_tensors="pt")  # brackets are gone

    def cosine(pixels: np.ndarray) -> float:
        small = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
        mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
        x = (np.asarray(small) / 255 - mean) / std
        inputs = torch.from_numpy(x).float().permute(2, 0, 1)[None]
        with torch.no_grad():
            out = model(**tokens, pixel_values=inputs)
            return 100 * float(out.logits_per_image / model.logit_scale.exp())

    mask = case.mask.copy()
    mask[0], mask[-1], mask[:, 0], mask[:, -1] = True, True, True, True
    part = np.uint8(case.result * mask[..., None])  # not cropped
    for name, pixels in (("clip_whole", case.result), ("clip_edited", part)):
        assert found[name] == pytest.approx(max(0.0, cosine(pixels)), abs=1e-3)
    assert found["clip_whole"] != found["clip_edited"]


def test_clip_cuts_prompts_that_are_too_long(clip_folder: Path) -> None:
    found = Clip(clip_folder, CPU).measure(edited(prompt="a cat " * 200))
    assert 0 <= found["clip_whole"] <= 100


# --- Structure distance -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=12, num_attention_heads=2, intermediate_size=48,
        image_size=224, patch_size=8, initializer_range=0.2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("dino")
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """Bilinear from four pixels, no smoothing, pixel middles aligned; on bytes as they are."""
    size = len(pixels)
    at = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, size - 1), (at - low)[:, None]
    rows = pixels[low] * (1 - share[..., None]) + pixels[high] * share[..., None]
    return rows[:, low] * (1 - share) + rows[:, high] * share


def test_the_input_of_structure_distance_is_never_divided_by_255() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (resized(pixels.astype(float), 224) - mean) / std

    found = structure.prepare(pixels)[0].permute(1, 2, 0).numpy()

    assert np.allclose(found, wanted, atol=0.05)
    white = structure.prepare(np.full((64, 64, 3), 255, np.uint8))
    assert float(white.max()) == pytest.approx((255 - 0.456) / 0.224, rel=1e-4)  # and not 2.64


def test_structure_distance_is_of_the_last_layers_keys(dino_folder: Path) -> None:
    from transformers import ViTModel

    case = edited(512)
    found = Dino(dino_folder, CPU).measure(case)["structure_distance"]

    model = ViTModel.from_pretrained(dino_folder, add_pooling_layer=False).eval()
    state = model.state_dict()
    last = [n for n in state if n.endswith("layernorm_before.weight")][-1]
    prefix = last.removesuffix("layernorm_before.weight")
    key = next(
        n.removesuffix(".weight")
        for n in state
        if n.startswith(prefix) and n.endswith(("key.weight", "k_proj.weight"))
    )

    def similarity(pixels: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            hidden = model(structure.prepare(pixels), output_hidden_states=True).hidden_states[11]
        gain, shift = (state[f"{prefix}layernorm_before.{k}"] for k in ("weight", "bias"))
        normed = F.layer_norm(hidden, (24,), gain, shift, model.config.layer_norm_eps)
        keys = F.linear(normed, state[f"{key}.weight"], state[f"{key}.bias"])[0]
        assert len(keys) == 1 + 28 * 28  # the class token counts
        return F.cosine_similarity(keys[:, None], keys[None], dim=-1)

    wanted = (similarity(case.source) - similarity(case.result)).square().mean()
    assert found == pytest.approx(float(wanted), rel=1e-3)
    assert found > 0
    same = Dino(dino_folder, CPU)
    assert (
        same.measure(EditedPicture(case.source, case.source, None, ""))["structure_distance"] == 0
    )


def test_shapes_that_are_not_square_keep_theirs() -> None:
    assert structure.prepare(np.zeros((418, 627, 3), np.uint8)).shape == (1, 3, 224, 336)
    assert structure.prepare(np.zeros((200, 1000, 3), np.uint8)).shape == (1, 3, 96, 480)


# --- ImageReward --------------------------------------------------------------------------------

WIDTH, SEEN, PATCH, GRID = 64, 128, 8, 4


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released file with random weights at small width, and a vocabulary."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("reward")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    shapes: dict[str, tuple[int, ...]] = {
        "visual_encoder.cls_token": (1, 1, SEEN),
        "visual_encoder.pos_embed": (1, 1 + GRID * GRID, SEEN),
        "visual_encoder.patch_embed.proj.weight": (SEEN, 3, PATCH, PATCH),
        "visual_encoder.patch_embed.proj.bias": (SEEN,),
        **linear("visual_encoder.blocks.0.attn.qkv", 3 * SEEN, SEEN),
        **linear("visual_encoder.blocks.0.attn.proj", SEEN, SEEN),
        **linear("visual_encoder.blocks.0.mlp.fc1", 2 * SEEN, SEEN),
        **linear("visual_encoder.blocks.0.mlp.fc2", SEEN, 2 * SEEN),
        **norm("visual_encoder.blocks.0.norm1", SEEN),
        **norm("visual_encoder.blocks.0.norm2", SEEN),
        **norm("visual_encoder.norm", SEEN),
        "text_encoder.embeddings.word_embeddings.weight": (len(words), WIDTH),
        "text_encoder.embeddings.position_embeddings.weight": (40, WIDTH),
        **norm("text_encoder.embeddings.LayerNorm", WIDTH),
    }
    layer = "text_encoder.encoder.layer.0"
    for part, width in (("attention", WIDTH), ("crossattention", SEEN)):
        shapes |= linear(f"{layer}.{part}.self.query", WIDTH, WIDTH)
        shapes |= linear(f"{layer}.{part}.self.key", WIDTH, width)
        shapes |= linear(f"{layer}.{part}.self.value", WIDTH, width)
        shapes |= linear(f"{layer}.{part}.output.dense", WIDTH, WIDTH)
        shapes |= norm(f"{layer}.{part}.output.LayerNorm", WIDTH)
    shapes |= linear(f"{layer}.intermediate.dense", 96, WIDTH)
    shapes |= linear(f"{layer}.output.dense", WIDTH, 96) | norm(f"{layer}.output.LayerNorm", WIDTH)
    state = {f"blip.{name}": 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    state["blip.vision_proj.weight"] = torch.zeros(3, SEEN)  # of its training alone
    for index, (out, width) in {
        0: (20, WIDTH), 2: (12, 20), 4: (8, 12), 6: (4, 8), 7: (1, 4)
    }.items():  # fmt: skip
        state[f"mlp.layers.{index}.weight"] = torch.randn(out, width)
        state[f"mlp.layers.{index}.bias"] = torch.randn(out)
    torch.save(state, folder / "ImageReward.pt")
    return folder


def linear(name: str, out: int, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def reference_reward(
    state: dict[str, torch.Tensor], picture: torch.Tensor, ids: list[int]
) -> float:
    """BLIP and the head written out from the released names."""

    def apply(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def normed(x: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        q, k, v = (x.unflatten(-1, (-1, 64)).transpose(0, 1) for x in (q, k, v))
        scores = q @ k.transpose(1, 2) / 8
        if seen is not None:
            scores = scores.masked_fill(~seen, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)

    v = "blip.visual_encoder"
    patches = F.conv2d(
        picture, state[f"{v}.patch_embed.proj.weight"], state[f"{v}.patch_embed.proj.bias"], PATCH
    )
    x = (
        torch.cat([state[f"{v}.cls_token"][0], patches[0].flatten(1).T])
        + state[f"{v}.pos_embed"][0]
    )
    qkv = apply(normed(x, f"{v}.blocks.0.norm1", 1e-6), f"{v}.blocks.0.attn.qkv")
    x = x + apply(attend(*qkv.chunk(3, -1)), f"{v}.blocks.0.attn.proj")
    inner = F.gelu(apply(normed(x, f"{v}.blocks.0.norm2", 1e-6), f"{v}.blocks.0.mlp.fc1"))
    x = normed(x + apply(inner, f"{v}.blocks.0.mlp.fc2"), f"{v}.norm", 1e-6)

    t = "blip.text_encoder"
    layer = f"{t}.encoder.layer.0"
    padded = torch.tensor(ids + [0] * (35 - len(ids)))
    seen = torch.arange(35) < len(ids)
    y = state[f"{t}.embeddings.word_embeddings.weight"][padded]
    y = y + state[f"{t}.embeddings.position_embeddings.weight"][:35]
    y = normed(y, f"{t}.embeddings.LayerNorm", 1e-12)
    for part, other, keep in (("attention", None, seen), ("crossattention", x, None)):
        name = f"{layer}.{part}"
        looked = y if other is None else other
        q = apply(y, f"{name}.self.query")
        k, value = (apply(looked, f"{name}.self.{what}") for what in ("key", "value"))
        out = apply(attend(q, k, value, keep), f"{name}.output.dense")
        y = normed(y + out, f"{name}.output.LayerNorm", 1e-12)
    inner = F.gelu(apply(y, f"{layer}.intermediate.dense"))
    y = normed(y + apply(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm", 1e-12)
    reward = y[0]
    for index in (0, 2, 4, 6, 7):
        reward = apply(reward, f"mlp.layers.{index}")
    return (float(reward) - 0.16717362830052426) / 1.0333394966054072


def test_image_reward_reads_the_released_file(reward_folder: Path) -> None:
    case = edited(64)
    found = ImageReward(reward_folder, CPU).measure(case)["image_reward"]

    small = Image.fromarray(case.result).resize((32, 32), Image.Resampling.BICUBIC)
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    picture = (np.asarray(small) / 255 - mean) / std
    state = torch.load(reward_folder / "ImageReward.pt", weights_only=True)
    wanted = reference_reward(
        state,
        torch.from_numpy(picture).float().permute(2, 0, 1)[None],
        [2, 5, 6, 7, 3],  # [CLS] a red cat [SEP], without brackets
    )
    assert found == pytest.approx(wanted, rel=1e-3)


def test_a_file_that_is_no_image_reward_is_refused_in_a_line(tmp_path: Path) -> None:
    save_file({"mlp.layers.0.weight": torch.zeros(3, 3)}, tmp_path / "ImageReward.safetensors")
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(UserError, match=r"is not ImageReward v1\.0"):
        ImageReward(tmp_path, CPU)


# --- Where weights lie --------------------------------------------------------------------------


def test_weights_are_found_by_path_or_where_they_are_fetched_to(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    settings = {backbone.setting: None for backbone in BACKBONES.values()}
    assert set(backbone_folders(settings).values()) == {None}

    fetched = tmp_path / "editinfinity" / "clip"
    fetched.parent.mkdir()
    fetched.symlink_to(clip_folder)
    assert backbone_folders(settings)["clip"] == fetched
    assert backbone_folders({**settings, "clip_weights": str(clip_folder)})["clip"] == clip_folder


def test_a_path_without_the_weights_is_told_in_a_line(tmp_path: Path) -> None:
    settings = {backbone.setting: None for backbone in BACKBONES.values()}
    with pytest.raises(UserError, match="dino_weights: .* contains no config.json"):
        backbone_folders({**settings, "dino_weights": str(tmp_path)})
    with pytest.raises(UserError, match="clip_weights: .* is not a folder"):
        backbone_folders({**settings, "clip_weights": str(tmp_path / "none")})
