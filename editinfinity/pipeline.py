"""The Python API: the whole method in memory, with the same results as the workflow.

>>> from PIL import Image
>>> from editinfinity import EditInfinityPipeline
>>> pipe = EditInfinityPipeline.from_pretrained("tiny", device="cpu")  # or "infinity_2b"
>>> photograph = Image.new("RGB", (320, 240), "tan")
>>> few = {"embedding_iterations": 1, "lora_iterations": 1}  # only to keep this example fast
>>> inversion = pipe.invert(photograph, "a dog on a beach", **few)
>>> picture = pipe.edit(inversion, "a cat on a beach", mask=(80, 60, 120, 100), seed=1)
>>> picture.size
(320, 240)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from editinfinity.compute import (
    current_device,
    environment_on,
    isolated_torch_state,
    pick_device,
    set_threads,
)
from editinfinity.errors import UserError
from editinfinity.files import api_inputs
from editinfinity.files.api_inputs import BlendLike, MaskLike, Picture
from editinfinity.files.cropping import FULL, Region, region_text
from editinfinity.files.edited_picture import EditedPicture
from editinfinity.files.features import ImageFeatures, PromptFeatures, require_preset
from editinfinity.files.input_files import is_folder
from editinfinity.files.model_folder import converted_model
from editinfinity.files.provenance import Provenance
from editinfinity.files.weights import load_text_encoder, load_tokenizer, load_transformer
from editinfinity.inverted import Inversion
from editinfinity.method.composite import Compositor
from editinfinity.method.draw import decode, draw, use_adapter
from editinfinity.method.encode import encode_photograph
from editinfinity.method.invert import Trainer, TrainingCallbacks, source_of
from editinfinity.method.locate import EditedRegion, blend_mask_of, mask_picture
from editinfinity.method.place import Place
from editinfinity.method.prompt import encode_prompt
from editinfinity.method.rendering import render
from editinfinity.models.scale_passes import CudaGraphRunner
from editinfinity.models.text_encoder import TextEncoder
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import PRESETS, Preset, preset
from editinfinity.progress import OnProgress, Progress, Stage, Steps
from editinfinity.prompts import caption_suffix
from editinfinity.settings import groups
from editinfinity.settings.edit_kwargs import EditKwargs
from editinfinity.settings.guidance import with_defaults
from editinfinity.settings.setting import make_groups


class EditInfinityPipeline:
    """Inverts and edits photographs with a model that is loaded once.

    The pipeline is thread-safe: one thread works while the others wait.

    Attributes:
        preset: the model's preset.
        device: the device the model runs on.
        transformer, tokenizer, text_encoder: the models. The adapter of the last edit stays applied
            to the transformer until another edit or an inversion needs it without.
        weights: identity of the model's weights, which is stored in pictures; None if unknown.
    """

    weights: str | None = None

    def __init__(
        self, preset: Preset, device: torch.device, transformer: Infinity, tokenizer: Tokenizer,
        text_encoder: TextEncoder,
    ) -> None:  # fmt: skip
        """Create a pipeline from loaded models; ``from_pretrained`` loads them.

        Two pipelines that share a transformer must not work at the same time.
        """
        self.preset, self.device = preset, device
        self.transformer, self.tokenizer, self.text_encoder = transformer, tokenizer, text_encoder
        self._loaded_with: dict[str, Any] = {"model": preset.name}
        self._lock = threading.RLock()
        # Keeps the CUDA graphs of the last shape, so that further pictures of it are faster.
        self._passes = CudaGraphRunner()
        self._rendering: tuple[ImageFeatures, Image.Image] | None = None  # of the last photograph

    @classmethod
    def from_pretrained(
        cls, model: Path | str = "bundled", *, model_dir: Path | str | None = None,
        device: str = "auto", attention_bias: bool = True, threads: int | str = "auto",
        text_encoder_dtype: str = "auto", on_loading: Callable[[str], None] | None = None,
    ) -> EditInfinityPipeline:  # fmt: skip
        """Load a model.

        Args:
            model: ``bundled`` or a released model such as ``infinity_2b`` (``tiny`` is random), or
                a folder of converted weights, which name their model. A text that is the name of
                a model is never taken as a folder.
            model_dir: folder of the weights of the named model; None for that of ``weights fetch``.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``xpu``.
            attention_bias: False drops the trained q and v biases, as upstream does.
            threads: number of CPU threads; ``auto`` for all.
            text_encoder_dtype: precision of the text encoder: ``auto``, ``fp32`` or ``bf16``.
            on_loading: called with ``transformer``, ``tokenizer`` and ``text encoder``, in this
                order, before each is loaded.

        Raises:
            UserError: the weights or the device do not exist, or a value is not valid.
        """
        folder = None if model_dir is None else Path(model_dir)
        if isinstance(model, Path) or (
            isinstance(model, str)
            and model not in PRESETS
            and ("/" in model or is_folder(Path(model)))
        ):
            if folder is not None:
                raise UserError("model, model_dir: both are folders; give only one")
            folder = Path(model)
            model = converted_model(folder)
        settings = groups.ModelSettings(
            model, folder, device=device, threads=threads, text_encoder_dtype=text_encoder_dtype
        )
        chosen, torch_device = preset(settings.model), pick_device(settings.device)
        set_threads(settings.threads)
        begin = on_loading or (lambda part: None)
        with isolated_torch_state():
            begin("transformer")
            transformer = load_transformer(chosen, torch_device, folder, attention_bias)
            begin("tokenizer")
            tokenizer = load_tokenizer(chosen, torch_device, folder)
            dtype = settings.text_encoder_dtype
            begin("text encoder")
            text_encoder = load_text_encoder(chosen, torch_device, folder, dtype)
        pipeline = cls(chosen, torch_device, transformer, tokenizer, text_encoder)
        pipeline._loaded_with |= {"attention_bias": attention_bias, "text_encoder_dtype": dtype}
        return pipeline

    def invert(
        self, image: Picture, prompt: str = "", *, embedding_iterations: int = 10,
        lora_iterations: int = 50, crop: str | Region = FULL, mask: MaskLike | None = None,
        mask_edit_region: str = groups.MaskSettings.mask_edit_region,
        pixel_budget: str | None = None,
        training: groups.TrainingSettings = groups.TrainingSettings(),
        lora: groups.LoraSettings = groups.LoraSettings(),
        on_progress: OnProgress | None = None,
    ) -> Inversion:  # fmt: skip
        """Invert a photograph, so that edits preserve details the prompt does not mention.

        Args:
            image: the photograph.
            prompt: description of the photograph (source prompt); may be empty.
            embedding_iterations: number of updates of the soft prompt; 0 trains none.
            lora_iterations: number of updates of the LoRA adapter; 0 trains none. More updates
                preserve more of the photograph.
            crop: ``full``, ``auto`` (around ``mask``), or (top, left, height, width) in pixels.
            mask: the mask for ``crop="auto"``.
            mask_edit_region: which part of the mask's picture marks the edited region.
            pixel_budget: ``0.06M``, ``0.25M``, ``0.60M`` or ``1M``; None for the model's default.
            training: hyperparameters of the training, including the seed.
            lora: shape of the LoRA adapter.
            on_progress: called after each step, with its iteration and loss; an exception that it
                raises ends the inversion.

        Raises:
            UserError: a file cannot be read, the prompt is too long, or a setting is invalid.
        """
        api_inputs.require_iterations(embedding_iterations, lora_iterations)
        budget = groups.PhotographSettings(pixel_budget).pixel_budget or self.preset.pixel_budget
        api_inputs.prompts_of([prompt])
        photograph, rgb = api_inputs.open_photograph(image)
        fingerprint = api_inputs.fingerprint_of(image)
        region = api_inputs.crop_of(crop, mask, mask_edit_region, photograph, budget)
        with self._lock, current_device(self.device), isolated_torch_state():
            features = encode_photograph(rgb, region, budget, self.preset, self.tokenizer)
            text = self._encode(prompt, caption_suffix(embedding_iterations > 0))
            Steps(on_progress, "image_features", 1).done()
            use_adapter(self.transformer, None)
            if embedding_iterations or lora_iterations:
                self._passes.forget()  # free the memory of the CUDA graphs for training
            source, callbacks = source_of(features, text, self.device), _Reported(on_progress)
            trainer = Trainer(self.transformer, self.preset, training, callbacks)
            embedding, adapter = trainer.learn(source, embedding_iterations, lora_iterations, lora)
        learned = {
            **self._loaded_with, **asdict(training), **asdict(lora), "pixel_budget": budget,
            "crop": region_text(region), "train_textembedding_iter": embedding_iterations,
            "train_lora_iter": lora_iterations,
        }  # fmt: skip
        provenance = Provenance(
            "", learned, text.prompt, photograph=fingerprint, weights=self.weights,
            environment=environment_on(self.device),
        )  # fmt: skip
        return Inversion(photograph, features, text, embedding, adapter, provenance)

    @overload
    def edit(
        self, inversion: Inversion, prompt: str, *, mask: MaskLike | None = None,
        target_word: str | None = None, blend: BlendLike | None = None,
        use_embedding: bool = True, use_lora: bool = True,
        on_progress: OnProgress | None = None, **settings: Unpack[EditKwargs],
    ) -> Image.Image: ...  # fmt: skip

    @overload
    def edit(
        self, inversion: Inversion, prompt: list[str] | tuple[str, ...], *,
        mask: MaskLike | None = None, target_word: str | None = None,
        blend: BlendLike | None = None, use_embedding: bool = True, use_lora: bool = True,
        on_progress: OnProgress | None = None, **settings: Unpack[EditKwargs],
    ) -> list[Image.Image]: ...  # fmt: skip

    def edit(
        self, inversion: Inversion, prompt: str | list[str] | tuple[str, ...], *,
        mask: MaskLike | None = None, target_word: str | None = None,
        blend: BlendLike | None = None, use_embedding: bool = True, use_lora: bool = True,
        on_progress: OnProgress | None = None, **settings: Unpack[EditKwargs],
    ) -> Image.Image | list[Image.Image]:  # fmt: skip
        """Draw an edit at the photograph's size, or a list of edits for a list of prompts.

        The pictures' ``save`` writes the photograph's EXIF, XMP, profile and resolution, and what
        made the picture, as the command ``edit`` does.

        Args:
            inversion: result of ``invert`` or ``Inversion.load``, made with the same model.
            prompt: description of the edited picture, or a list of descriptions.
            mask: region that may change; ``"words"``, ``"bits"`` or ``"both"`` finds it by
                comparing the inversion's prompt with ``prompt`` (a file of that name is given as a
                ``Path``). None edits the region of ``target_word``, or the whole picture if that is
                None too.
            target_word: word of the source prompt that locates the edit, instead of a mask.
            blend: blend mask of your own, instead of a mask: a file, or an (h, w) array of floats
                on the model's grid (``inversion.features.schedule.reference_grid``). 1 keeps the
                photograph, 0 takes the edit. Settings of masks and ``smoothing`` do not apply.
            use_embedding: whether to use the soft prompt.
            use_lora: whether to use the LoRA adapter.
            on_progress: called after each step: where the place is found, for each prompt; then,
                in stage ``edit``, after each scale and each finished picture. On a GPU, scales
                are reported when they are queued. An exception that it raises ends the call.
            settings: settings of the edit, with the names of config.yaml: ``seed``, ``cfg``,
                ``tau``, ``top_k``, ``top_p``; ``guidance``, ``lock_scales``, ``smoothing``;
                ``mask_edit_region``, ``mask_grow``, ``attention_threshold``, ``attention_scales``,
                ``prompt_map_threshold``, ``prompt_map_filter``, ``prompt_map_grow``;
                ``background``, ``mask_feather``, ``gps``, ``provenance``
                (``editinfinity.settings.groups`` lists all of them). Guidance ``source_negative``,
                ``editmod``, ``aredit`` or ``bitresedit`` with an inversion of 0 iterations is
                editing without training.

        Raises:
            UserError: a mask or the word does not fit the photograph or its prompt, a setting is
                invalid, or the inversion was made with another model.
        """
        self._require_own(inversion)
        sampling, guidance, preservation, masking, finishing = make_groups(
            with_defaults(settings), groups.SamplingSettings, groups.GuidanceSettings,
            groups.PreservationSettings, groups.MaskSettings, groups.FinishSettings,
        )  # fmt: skip
        place = Place(mask, target_word, blend)
        features, source = inversion.features, inversion.prompt.prompt
        prompts = api_inputs.prompts_of(prompt)
        soft_prompt = inversion.embedding.vectors if inversion.embedding and use_embedding else None
        suffix, source_prompt = caption_suffix(soft_prompt is not None), None
        pictures: list[Image.Image] = []

        def told(text: str) -> str | None:
            if inversion.provenance is None or not finishing.provenance:
                return None
            every = [sampling, guidance, preservation, masking, finishing]
            made_by = api_inputs.provenance_of_edit(
                inversion.provenance, text, place.source, use_embedding=use_embedding,
                use_lora=use_lora, environment=environment_on(self.device),
                settings={key: value for group in every for key, value in asdict(group).items()},
            )  # fmt: skip
            return place.recorded_in(made_by).to_json()

        with self._lock, current_device(self.device), isolated_torch_state():
            blend_masks = self._blend_masks(
                place, inversion, prompts, masking, preservation.smoothing, on_progress
            )
            if guidance.guidance != "cfg":
                source_prompt = self._encode(source, suffix)
            detail = finishing.background == "detail"
            rendering = self._rendered(features) if detail else None
            scales = len(features.schedule.scales)
            steps = Steps(on_progress, "edit", len(prompts) * (scales + 1))
            use_adapter(self.transformer, inversion.adapter if use_lora else None)
            for text, blend_mask in zip(prompts, blend_masks, strict=True):
                code = draw(
                    self.transformer, features, self._encode(text, suffix), sampling,
                    soft_prompt=soft_prompt, blend_mask=blend_mask,
                    source_prompt=source_prompt, guidance=guidance,
                    lock_scales=preservation.lock_scales, passes=self._passes,
                    on_logits=steps.done,
                )  # fmt: skip
                # A GPU still draws; ``decode`` waits for it.
                compositor = Compositor(
                    inversion.photograph, features.geometry, blend_mask, finishing, rendering
                )
                made_by = told(text)
                result = compositor.paste(decode(self.tokenizer, code))
                pictures.append(EditedPicture.of(result, made_by))
                steps.done()
        return pictures[0] if isinstance(prompt, str) else pictures

    def find_mask(
        self, inversion: Inversion, prompt: str, find: str = "both", **settings: Any
    ) -> Image.Image:
        """Find the region that a prompt edits: a mask to look at, paint over and pass to ``edit``.

        Args:
            inversion: result of ``invert`` or ``Inversion.load``, made with the same model.
            prompt: description of the edited picture; it is compared with the inversion's prompt.
            find: ``words``, ``bits`` or ``both``: what is compared.
            settings: ``prompt_map_threshold``, ``prompt_map_filter``, ``prompt_map_grow``.

        Returns:
            A picture of the photograph's size, black where it is edited.

        Raises:
            UserError: the inversion's prompt is empty or equals ``prompt``, a setting is invalid,
                or the inversion was made with another model.
        """
        if find not in groups.FOUND:
            raise UserError(f"find: {find!r} is not one of {', '.join(groups.FOUND)}")
        return self._mask_picture(Place(mask=find), inversion, prompt, settings)

    def find_word(self, inversion: Inversion, word: str, **settings: Any) -> Image.Image:
        """Find the region of a word by the model's attention to it, as ``target_word`` does.

        Args:
            inversion: result of ``invert`` or ``Inversion.load``, made with the same model.
            word: word or words of the inversion's prompt.
            settings: ``attention_threshold``, ``attention_scales``.

        Returns:
            A picture of the photograph's size, black where it is edited.

        Raises:
            UserError: the word is not in the inversion's prompt, a setting is invalid, or the
                inversion was made with another model.
        """
        return self._mask_picture(Place(target_word=word), inversion, "", settings)

    def _mask_picture(
        self, place: Place, inversion: Inversion, target: str, settings: dict[str, Any]
    ) -> Image.Image:
        """Return the picture of a place that the model finds."""
        self._require_own(inversion)
        (masking,) = make_groups(settings, groups.MaskSettings)
        with self._lock, current_device(self.device), isolated_torch_state():
            region = self._region(place, inversion, target, masking)
        assert region is not None, "only the whole picture has none"
        return mask_picture(region, inversion.features.geometry)

    def _require_own(self, inversion: Inversion) -> None:
        """Raise unless this is an inversion, made with this model."""
        if not isinstance(inversion, Inversion):
            raise UserError(
                f"inversion: is of type {type(inversion).__name__}; give what invert or "
                "Inversion.load returns"
            )
        require_preset(inversion.features.preset, self.preset.name, Path("inversion"))

    def _blend_masks(
        self, place: Place, inversion: Inversion, prompts: Sequence[str],
        masking: groups.MaskSettings, smoothing: str, on_progress: OnProgress | None,
    ) -> list[NDArray[np.float32] | None]:  # fmt: skip
        """Return the blend mask of each prompt; None lets the whole picture change."""
        depends_on_prompt = place.found_in == "prompt_map"
        targets = prompts if depends_on_prompt else prompts[:1]
        steps = Steps(on_progress, place.found_in, len(targets)) if place.found_in else None
        blend_masks: list[NDArray[np.float32] | None] = []
        for target in targets:
            region = self._region(place, inversion, target, masking)
            schedule = inversion.features.schedule
            blend_masks.append(
                None if region is None else blend_mask_of(region, schedule, smoothing)
            )
            if steps is not None:
                steps.done()
        return blend_masks if depends_on_prompt else blend_masks * len(prompts)

    def _region(
        self, place: Place, inversion: Inversion, target: str, masking: groups.MaskSettings
    ) -> EditedRegion | None:
        if place.found_in is not None:
            use_adapter(self.transformer, None)
        return place.region(
            inversion.features, inversion.prompt.prompt, target, masking,
            self.transformer, self._encode,
        )  # fmt: skip

    def _rendered(self, features: ImageFeatures) -> Image.Image:
        """Return what the tokenizer shows of a photograph; further edits need it again."""
        if self._rendering is None or self._rendering[0] is not features:
            self._rendering = features, render(self.tokenizer, features)
        return self._rendering[1]

    def _encode(self, prompt: str, suffix: str = "") -> PromptFeatures:
        return encode_prompt(prompt, self.preset, self.text_encoder, suffix)


class _Reported(TrainingCallbacks):
    """Callbacks of a training that log each iteration, and report it."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.on_progress = on_progress

    def on_iteration(self, name: str, iteration: int, last: int, loss: float) -> None:
        super().on_iteration(name, iteration, last, loss)
        if self.on_progress is not None:
            self.on_progress(Progress(cast(Stage, name), iteration, last, loss))
