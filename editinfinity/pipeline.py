"""The whole method in a few lines of Python, in memory; what the workflow does with files.

>>> from PIL import Image
>>> from editinfinity import EditInfinityPipeline
>>> pipe = EditInfinityPipeline.from_pretrained("tiny", device="cpu")  # or "infinity_2b"
>>> photograph = Image.new("RGB", (320, 240), "tan")
>>> few = {"embedding_iterations": 1, "lora_iterations": 1}  # leave this out
>>> inversion = pipe.invert(photograph, "a dog on a beach", **few)
>>> picture = pipe.edit(inversion, "a cat on a beach", mask=(80, 60, 120, 100), seed=1)
>>> picture.size
(320, 240)

An inversion is learned once and serves any number of edits; the same settings give the same
pictures as the workflow.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from editinfinity.compute import current, pick_device, reseed, set_threads, undisturbed
from editinfinity.editing import sampler
from editinfinity.editing.attention_map import AttentionCollector
from editinfinity.editing.blend import ReplaySource
from editinfinity.editing.guidance import Unguided
from editinfinity.editing.kernel import cells_of_attention
from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Adapter, Embedding
from editinfinity.files.cropping import FULL, Region
from editinfinity.files.features import PromptFeatures, require_preset
from editinfinity.files.handed_in import (
    MaskLike,
    Picture,
    open_photograph,
    region_of,
    seen_mask_of,
)
from editinfinity.files.images import from_model
from editinfinity.files.seam import opacity_of
from editinfinity.files.weights import load_text_encoder, load_tokenizer, load_transformer
from editinfinity.inversion import lora as adapters
from editinfinity.inversion.training import Source
from editinfinity.inverted import Inversion
from editinfinity.models.scale_passes import Replays
from editinfinity.presets import Preset, preset
from editinfinity.prompts import LEARNED_VECTORS, caption, find_word, tokens_of
from editinfinity.scales import PIXEL_BUDGETS
from editinfinity.stages.conditioning import text_of
from editinfinity.stages.drawing import sampler_settings, source_codes, steering
from editinfinity.stages.image_features import encode
from editinfinity.stages.learning import inversion_loss, learn
from editinfinity.stages.region import kernel_of
from editinfinity.stages.settings import (
    DEFAULT_LORA,
    DEFAULT_TRAINING,
    KeepingSettings,
    LoraSettings,
    SamplingSettings,
    TrainingSettings,
)

if TYPE_CHECKING:
    from editinfinity.models.text_encoder import TextEncoder
    from editinfinity.models.tokenizer import Tokenizer
    from editinfinity.models.transformer import Infinity

# The names that seed the stages of the workflow: the same numbers are drawn here.
_EMBEDDING_STAGE, _LORA_STAGE = "train_textembedding", "train_lora"


class EditInfinityPipeline:
    """A model, loaded once, that inverts photographs and edits them.

    Several threads may use it; one works while the others wait.

    Attributes:
        preset: which model.
        device: where it runs.
    """

    def __init__(
        self,
        preset: Preset,
        device: torch.device,
        transformer: Infinity,
        tokenizer: Tokenizer,
        text_encoder: TextEncoder,
    ) -> None:
        """Use loaded parts; ``from_pretrained`` loads them."""
        self.preset, self.device = preset, device
        self.transformer, self.tokenizer, self.text_encoder = transformer, tokenizer, text_encoder
        self._lock = threading.RLock()
        self._passes = Replays()  # of the last shape: further pictures of it are drawn faster

    @classmethod
    def from_pretrained(
        cls,
        model: str = "bundled",
        *,
        model_dir: Path | str | None = None,
        device: str = "auto",
        attention_bias: bool = True,
        threads: int | str = "auto",
    ) -> EditInfinityPipeline:
        """Load a model.

        Args:
            model: ``bundled``, ``infinity_2b`` or ``infinity_8b`` (``tiny`` is random).
            model_dir: folder of converted weights; None for where ``weights fetch`` puts them.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            attention_bias: False drops the trained q and v biases, as upstream does.
            threads: CPU threads; ``auto`` for all.

        Raises:
            UserError: the weights or the device are not there, or the threads are no number.
        """
        chosen, where = preset(model), pick_device(device)
        folder = None if model_dir is None else Path(model_dir)
        set_threads(threads)
        with undisturbed():
            return cls(
                chosen,
                where,
                load_transformer(chosen, where, folder, attention_bias),
                load_tokenizer(chosen, where, folder),
                load_text_encoder(chosen, where, folder),
            )

    def invert(
        self,
        image: Picture,
        prompt: str = "",
        *,
        embedding_iterations: int = 10,
        lora_iterations: int = 50,
        crop: str | Region = FULL,
        mask: MaskLike | None = None,
        mask_edit_region: str = "black",
        pixel_budget: str | None = None,
        training: TrainingSettings = DEFAULT_TRAINING,
        lora: LoraSettings = DEFAULT_LORA,
    ) -> Inversion:
        """Learn a photograph, so that edits keep what words leave out.

        Args:
            image: the photograph.
            prompt: what it shows; may be empty.
            embedding_iterations: updates of the learned vectors; 0 for none.
            lora_iterations: updates of the adapter; more keeps more, 0 for none.
            crop: ``full``, ``auto`` (around ``mask``), or (top, left, height, width) in pixels.
            mask: for ``crop="auto"``.
            mask_edit_region: which part of its picture will be edited.
            pixel_budget: ``0.06M``, ``0.25M``, ``0.60M`` or ``1M``; None for the model's own.
            training: hyperparameters, seed included.
            lora: the adapter's shape.

        Raises:
            UserError: a file cannot be read, the prompt is too long, or a setting is not usable.
        """
        budget = pixel_budget or self.preset.pixel_budget
        if budget not in PIXEL_BUDGETS:
            raise UserError(f"pixel_budget: {budget!r} is not one of {', '.join(PIXEL_BUDGETS)}")
        for count in (embedding_iterations, lora_iterations):
            if not isinstance(count, Integral) or count < 0:
                raise UserError(f"iterations: {count!r} is no number of them; give 0 for none")
        photograph, seen = open_photograph(image)
        region = region_of(crop, mask, mask_edit_region, photograph, budget)
        with self._alone():
            features = encode(seen, region, budget, self.preset, self.tokenizer, self.device)
            text = self._encode_text(prompt)
            source = Source(
                torch.from_numpy(features.raw)[None].to(self.device),
                text_of(text, self.device),
                features.schedule,
            )
            embedding = self._learn_embedding(source, embedding_iterations, training)
            if embedding is not None:
                source = replace(source, learned=embedding.vectors.to(self.device))
            adapter = self._learn_adapter(source, lora_iterations, training, lora)
        return Inversion(photograph, features, text, embedding, adapter)

    @overload
    def edit(self, inversion: Inversion, prompt: str, **options: Any) -> Image.Image: ...

    @overload
    def edit(
        self, inversion: Inversion, prompt: list[str] | tuple[str, ...], **options: Any
    ) -> list[Image.Image]: ...

    def edit(  # type: ignore[misc]  # mypy wants **options here too; they are spelt out instead
        self,
        inversion: Inversion,
        prompt: str | list[str] | tuple[str, ...],
        *,
        mask: MaskLike | None = None,
        target_word: str | None = None,
        mask_edit_region: str = "black",
        attention_threshold: float = 0.5,
        smoothing: str = "linear",
        background: str = "exact",
        seed: int = 42,
        cfg: float = 4.0,
        tau: float = 0.5,
        guidance: str = "cfg",
        lock_scales: int = 0,
        use_embedding: bool = True,
        use_lora: bool = True,
    ) -> Image.Image | list[Image.Image]:
        """Draw an edit, or one for each of several prompts.

        Args:
            inversion: of ``invert`` or ``Inversion.load``, by the same model.
            prompt: what the edited picture shows, or a list of such.
            mask: where it may change; None for everywhere, or where ``target_word`` is.
            target_word: word of the photograph's prompt whose place is edited, instead of a mask.
            mask_edit_region: which part of a mask's picture is edited.
            attention_threshold: for ``target_word``; lower takes in more.
            smoothing: ``linear``, ``paper``, ``hard``, ``gaussian``, ``dilated`` or ``none``.
            background: ``exact`` keeps the photograph's pixels beyond the kernel; or ``decoded``.
            seed: of the drawing.
            cfg: guidance.
            tau: temperature.
            guidance: ``cfg``, or ``source_negative`` to lead away from the photograph's prompt too
                (with an inversion of 0 iterations: training-free editing).
            lock_scales: first scales that stay the photograph's.
            use_embedding: use the learned vectors.
            use_lora: use the adapter.

        Returns:
            A picture of the photograph's size, or a list of them.

        Raises:
            UserError: mask or word do not fit the photograph, a setting is not usable, or the
                model is another.
        """
        require_preset(inversion.features.preset, self.preset.name, Path("inversion"))
        keeping = KeepingSettings(
            mask_edit_region, attention_threshold, smoothing, background, guidance, lock_scales
        )
        sampling = SamplingSettings(seed=seed, cfg=cfg, tau=tau)
        if mask is not None and target_word is not None:
            raise UserError("mask, target_word: both say where to edit; give one of them")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        adapter = inversion.adapter if use_lora else None
        vectors = inversion.embedding if use_embedding else None
        with self._alone():
            kernel = self._kernel(inversion, mask, target_word, keeping, sampling)
            with self._adapted(adapter):
                pictures = [
                    self._draw(inversion, text, vectors, kernel, keeping, sampling)
                    for text in prompts
                ]
        return pictures[0] if isinstance(prompt, str) else pictures

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread at a time: adapters and recorded passes are the model's, not the picture's."""
        with self._lock, current(self.device), undisturbed():
            yield

    def _encode_text(self, prompt: str) -> PromptFeatures:
        text = " ".join(prompt.split())
        features = self.text_encoder.encode(caption(text)).features[0].cpu().numpy()
        offsets = self.text_encoder.offsets(caption(text))
        return PromptFeatures(self.preset.name, text, features, offsets)

    def _learn_embedding(
        self, source: Source, iterations: int, training: TrainingSettings
    ) -> Embedding | None:
        if not iterations:
            return None
        start = torch.zeros(LEARNED_VECTORS, self.preset.transformer.text_width)
        vectors = nn.Parameter(start.to(self.device))
        learned = replace(source, learned=vectors)
        rate = training.learning_rate or self.preset.training.embedding_learning_rate
        with self._training(self.transformer):
            loss = inversion_loss(
                self.transformer, self.transformer, learned, self.preset, training
            )
            numbers = range(1, iterations + 1)
            learn(
                _EMBEDDING_STAGE, [vectors], loss, training, rate, numbers, None, self.preset, None
            )
        return Embedding(vectors.detach().cpu(), iterations, self.preset.name)

    def _learn_adapter(
        self, source: Source, iterations: int, training: TrainingSettings, lora: LoraSettings
    ) -> Adapter | None:
        if not iterations:
            return None
        reseed(training.seed, _LORA_STAGE, 0)
        shape = adapters.LoraSettings(lora.rank, lora.alpha, lora.dropout)
        adapted = adapters.add_lora(self.transformer, shape).to(self.device)
        parameters = [tensor for tensor in adapted.parameters() if tensor.requires_grad]
        rate = training.learning_rate or self.preset.training.lora_learning_rate
        try:
            with self._training(adapted):
                loss = inversion_loss(
                    adapted, self.transformer, source, self.preset, training, lora.kl_weight
                )
                numbers = range(1, iterations + 1)
                learn(
                    _LORA_STAGE, parameters, loss, training, rate, numbers, None, self.preset, None
                )
            return Adapter.of(adapted)
        finally:
            adapted.unload()

    @contextmanager
    def _training(self, model: nn.Module) -> Iterator[None]:
        """Leave the model as it was: no branch is dropped while it draws."""
        self._passes.forget()  # training wants their memory
        try:
            yield
        finally:
            model.eval()

    @contextmanager
    def _adapted(self, adapter: Adapter | None) -> Iterator[None]:
        """The transformer with an adapter on its layers, which go bare again."""
        if adapter is None:
            yield
            return
        adapted = adapter.put_on(self.transformer, self.device)
        try:
            yield
        finally:
            adapted.unload()

    def _kernel(
        self,
        inversion: Inversion,
        mask: MaskLike | None,
        target_word: str | None,
        keeping: KeepingSettings,
        sampling: SamplingSettings,
    ) -> NDArray[np.float32] | None:
        """G on the ratio's 1M last scale, or None where everything may change."""
        features = inversion.features
        if mask is not None:
            region = keeping.mask_edit_region
            seen = seen_mask_of(mask, features.geometry, region)
            return kernel_of(seen, features.schedule, keeping.smoothing, mask, region)
        if target_word is None:
            return None
        word = find_word(inversion.prompt.prompt, target_word)
        collector = AttentionCollector(features.schedule, tokens_of(word, inversion.prompt.offsets))
        sampler.sample(
            self.transformer,
            text_of(inversion.prompt, self.device),
            features.schedule,
            sampler_settings(SamplingSettings(cfg=sampling.cfg, tau=sampling.tau)),
            torch.Generator().manual_seed(int(sampling.seed)),
            edit=ReplaySource(source_codes(features, self.device)),
            watcher=collector,
            guidance=Unguided(),
        )
        cells = cells_of_attention(collector.mean.cpu().numpy(), keeping.attention_threshold)
        what = f"the attention of {target_word!r}"
        return kernel_of(cells, features.schedule, keeping.smoothing, what)

    def _draw(
        self,
        inversion: Inversion,
        prompt: str,
        vectors: Embedding | None,
        kernel: NDArray[np.float32] | None,
        keeping: KeepingSettings,
        sampling: SamplingSettings,
    ) -> Image.Image:
        features = inversion.features
        text = text_of(self._encode_text(prompt), self.device)
        source = text_of(inversion.prompt, self.device)
        if vectors is not None:
            learned = vectors.vectors.to(self.device)
            text, source = text.append(learned), source.append(learned)
        away = source if keeping.guidance == "source_negative" else None
        blend, guidance = steering(
            features, kernel, away, sampling.cfg, keeping.lock_scales, self.device
        )
        drawn = sampler.sample(
            self.transformer,
            text,
            features.schedule,
            sampler_settings(sampling),
            torch.Generator().manual_seed(int(sampling.seed)),
            edit=blend,
            guidance=guidance,
            passes=self._passes,
        )
        with torch.inference_mode():
            pixels = self.tokenizer.decode(drawn.code)[0].float().cpu().numpy()
        everywhere = np.zeros(features.schedule.reference_grid, dtype=np.float32)
        cells = kernel if kernel is not None and keeping.background == "exact" else everywhere
        opacity = opacity_of(cells, features.geometry)
        photograph = inversion.photograph.paste(from_model(pixels), features.geometry, opacity)
        return photograph.picture()
