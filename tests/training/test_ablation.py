"""Many pictures at once are inverted and drawn as the workflow does one by one."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editinfinity.editing.guidance import ClassifierFree, SourceNegative
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.evaluation.world.judge import Judge
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.training import (
    InversionLoss,
    Source,
    train,
)
from editinfinity.models.text_encoder import HashedEncoder
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.prompts import caption_suffix
from editinfinity.scales import schedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings
from training.ablation import drawing
from training.ablation.drawing import Slice, Studio, draw_all
from training.ablation.edits import make, read, read_facts
from training.ablation.many import (
    Adapted,
    ManyLoss,
    ManySourceNegative,
    Sources,
    losses_of,
    together,
    train_many,
)
from training.ablation.measures import Witnesses
from training.ablation.statistics import Measurements
from training.ablation.tables import fill
from training.ablation.variants import (
    BOTH,
    FULL,
    NOTHING,
    PROMPT,
    TRAINING_FREE,
    VARIANTS,
    Learned,
    Variant,
)
from training.lpips import Lpips
from training.scenes import synthetic_maker
from training.tables import replace_rows
from training.vocabulary import read_objects

PLAN = schedule(1, "0.06M")
QUIET = TrainingSettings(noise_strength=0, cond_drop=0)
HOW = TrainingSettings(grad_clip=0.05), 1e-2
"""Clips in every iteration, so that clipping two pictures together would show."""


@pytest.fixture(scope="module")
def model() -> Infinity:
    torch.manual_seed(3)
    return Infinity(preset("tiny").transformer).requires_grad_(False)


@pytest.fixture(scope="module")
def sources() -> Sources:
    torch.manual_seed(5)
    texts = [torch.randn(4, 128), torch.randn(7, 128)]
    return Sources(torch.randn(2, 8, 16, 16), texts, PLAN)


def one(sources: Sources, index: int, learned: torch.Tensor | None = None) -> Source:
    text = TextFeatures(sources.texts[index][None])
    return Source(sources.features[index : index + 1], text, PLAN, learned)


def test_vectors_are_learned_as_one_by_one(model: Infinity, sources: Sources) -> None:
    together_ = torch.nn.Parameter(torch.zeros(2, 20, 128))
    loss = ManyLoss(model.train(), sources, together_, QUIET, 2)
    train_many([together_], loss, *HOW, range(1, 4), torch.manual_seed)
    for index in range(2):
        alone = torch.nn.Parameter(torch.zeros(20, 128))
        source = one(sources, index, alone)
        train([alone], InversionLoss(model, model, source, QUIET, 2), *HOW, range(1, 4),
              torch.manual_seed)  # fmt: skip
        assert alone.detach().abs().max() > 1e-3
        torch.testing.assert_close(together_[index], alone, rtol=1e-3, atol=1e-5)
        expected = float(InversionLoss(model, model, source, QUIET, 1)().detach())
        assert losses_of(model, sources, together_)[index] == pytest.approx(expected, rel=1e-4)


def test_adapters_are_learned_as_by_peft(model: Infinity, sources: Sources) -> None:
    shape = LoraSettings(lora_dropout=0.0)
    adapted = Adapted(model, 2, shape)
    fresh = adapted.state()
    loss = ManyLoss(adapted.model.train(), sources, None, QUIET, 2, 2e-7)
    train_many(adapted.parameters, loss, *HOW, range(1, 4), torch.manual_seed)
    for index in range(2):
        alone = copy.deepcopy(model)
        peft = add_lora(alone, shape)
        parameters = [p for p in peft.parameters() if p.requires_grad]
        with torch.no_grad():  # the same start
            for parameter, start in zip(parameters, fresh, strict=True):
                parameter.copy_(start[index])
        source = one(sources, index)
        train(parameters, InversionLoss(peft.train(), alone, source, QUIET, 2, 2e-7), *HOW,
              range(1, 4), torch.manual_seed)  # fmt: skip
        for ours, theirs in zip(adapted.parameters, parameters, strict=True):
            torch.testing.assert_close(ours[index], theirs, rtol=1e-3, atol=1e-5)
        assert not torch.equal(parameters[1], fresh[1][index])


@pytest.mark.parametrize("away", [False, True])
def test_padded_texts_draw_as_alone(model: Infinity, sources: Sources, away: bool) -> None:
    likelier = SamplingSettings(top_k=1)
    vectors = torch.randn(2, 20, 128)
    inside = torch.rand(2, 16, 16)
    model.eval()

    def many() -> torch.Tensor:
        text = together(sources.texts, vectors)
        other = together(sources.texts[::-1], vectors)
        guide = ManySourceNegative(4, other, inside, PLAN) if away else ClassifierFree(4)
        return sample(model, text, PLAN, likelier, torch.Generator(), guidance=guide).code

    for index, drawn in enumerate(many()):
        text = TextFeatures(torch.cat([sources.texts[index], vectors[index]])[None])
        other = TextFeatures(torch.cat([sources.texts[1 - index], vectors[index]])[None])
        guide = SourceNegative(4, other, inside[index], PLAN) if away else ClassifierFree(4)
        alone = sample(model, text, PLAN, likelier, torch.Generator(), guidance=guide).code[0]
        # A bit on the fence may fall either way by rounding.
        assert (drawn - alone).abs().gt(1e-4).float().mean() < 0.01


def test_every_way_is_drawn_once() -> None:
    keys = [variant.key for variant in VARIANTS]
    assert len(set(keys)) == len(keys)
    assert {FULL, TRAINING_FREE} <= set(VARIANTS)
    for kernel in ("none", "gaussian", "linear"):
        assert Variant(BOTH[50], kernel) in VARIANTS


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ablation") / "edits.safetensors"
    maker = synthetic_maker(torch.device("cpu"))
    make(maker, HashedEncoder(128, 128), path, {"replace": 1, "recolour": 1, "remove": 1})
    return path


def test_a_pack_holds_what_an_edit_needs(pack: Path) -> None:
    edits = read(pack, [0, 1, 2], torch.device("cpu"))
    assert [fact.kind for fact in edits.facts] == ["replace", "recolour", "remove"]
    assert edits.facts[2].wanted == "nothing"
    assert edits.facts[1].wanted_colour
    changed = (edits.source - edits.wanted).abs().amax(1) > 0
    assert changed.any((1, 2)).all()
    assert not (changed & ~edits.mask).any()
    assert (edits.thing & ~edits.mask).sum() == 0
    assert [len(texts.target) for texts in edits.encoded.values()] == [3, 3]


@pytest.mark.slow
def test_rows_of_every_edit_and_going_on(pack: Path, tmp_path: Path, lpips_weights: Path) -> None:
    torch.manual_seed(0)
    device = torch.device("cpu")
    witnesses = Witnesses(Judge(len(read_objects())).eval(), Lpips(lpips_weights))
    variants = (Variant(NOTHING), Variant(BOTH[10]), TRAINING_FREE, Variant(BOTH[10], "everywhere"))

    def run() -> dict[str, str]:
        draw_all(pack, tmp_path, Studio.load(device, "tiny"), witnesses, 2, [1], variants,
                 [NOTHING, BOTH[10]], 1)  # fmt: skip
        return {name: (tmp_path / name).read_text() for name in ("edits.tsv", "inversions.tsv")}

    first = run()
    lines = [line.split("\t") for line in first["edits.tsv"].splitlines()]
    assert len(lines) == 1 + 3 * (len(variants) + 2)
    assert {line[0] for line in lines[1:]} == {str(fact.edit) for fact in read_facts(pack)}
    wanted = [dict(zip(lines[0], line, strict=True)) for line in lines if line[1] == "wanted"]
    assert {row["psnr"] for row in wanted} == {"100"}
    assert {row["to_wanted"] for row in wanted} == {"0"}
    assert {row["luminance"] != "nan" for row in wanted if row["edit"] == "1"} == {True}
    assert len(first["inversions.tsv"].splitlines()) == 1 + 3 * 2
    assert (tmp_path / "pictures/1/both10-linear-cfg.jpg").exists()
    (tmp_path / "slice1.inversions.tsv").unlink()
    kept = (tmp_path / "slice0.edits.tsv").stat().st_mtime_ns
    assert run() == first
    assert (tmp_path / "slice0.edits.tsv").stat().st_mtime_ns == kept
    draw_all(pack, tmp_path, Studio.load(device, "tiny"), witnesses, 2, [], variants, [NOTHING], 1,
             process=(1, 2))  # fmt: skip
    rows = (tmp_path / "slice1.edits.tsv").read_text().splitlines()[1:]
    assert {row.split("\t")[1] for row in rows} == {"wanted", "rendering", "nothing"}
    assert (tmp_path / "slice0.edits.tsv").stat().st_mtime_ns == kept  # another process's
    assert (tmp_path / "edits.tsv").read_text() == first["edits.tsv"]  # not all are done


def test_intervals_hold_the_mean_and_pairs_tell_more(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    level = rng.normal(30, 3, 120)  # edits differ far more than variants do
    lines = ["edit\tinversion\tpsnr\tluminance"]
    for edit in range(120):
        for name, shift in (("nothing", 0.0), ("both50", 0.2)):
            noise = rng.normal(0, 0.1)
            kept = "nan" if edit % 2 else f"{0.5 + shift}"
            lines.append(f"{edit}\t{name}\t{level[edit] + shift + noise:.3f}\t{kept}")
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    found = Measurements(tmp_path / "rows.tsv", ("inversion",))
    plain = found.mean(("both50",), "psnr")
    assert plain.low < plain.mean < plain.high
    assert plain == found.mean(("both50",), "psnr")
    assert plain.high - plain.low == pytest.approx(2 * 1.96 * 3 / 120**0.5, rel=0.25)
    change = found.difference(("both50",), ("nothing",), "psnr")
    assert change.low > 0.15 and change.high < 0.25
    assert change.cell(signed=True).startswith("**+0.")
    assert found.mean(("nothing",), "luminance").mean == pytest.approx(0.5)


def test_pages_get_their_tables_and_keep_their_words() -> None:
    page = "A\n<!-- table one -->\nold\n<!-- end -->\nB\n"
    filled = fill(page, {"one": "new"})
    assert filled == "A\n<!-- table one -->\nnew\n<!-- end -->\nB\n"
    assert fill(filled, {"one": "new"}) == filled
    with pytest.raises(KeyError):
        fill(page, {})


def test_the_caption_suffix_follows_prompts_only_where_learned_vectors_follow(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the workflow and the Python pipeline, when training and when drawing."""
    device = torch.device("cpu")
    encoder, fact = HashedEncoder(128, 128), read_facts(pack)[1]
    trained: list[tuple[bool, torch.Tensor]] = []
    drawn: list[torch.Tensor] = []

    class Recorded(Exception):
        """Ends a drawing when its texts are known."""

    class Loss(ManyLoss):
        def __init__(self, model: Infinity, sources: Sources, *rest: Any) -> None:
            super().__init__(model, sources, *rest)
            trained.append((self.vectors is not None, sources.texts[0]))

    def record(model: Infinity, text: TextFeatures, *rest: Any, guidance: Any = None) -> None:
        drawn.append(text.features[0])
        if isinstance(guidance, ManySourceNegative):
            drawn.append(guidance.source.features[0])
        raise Recorded

    monkeypatch.setattr(drawing, "ManyLoss", Loss)
    monkeypatch.setattr(drawing, "sample", record)
    part = Slice(Studio.load(device, "tiny"), read(pack, [1], device), 0)
    over, alone = Learned(True, 1), Learned(False, 1)
    part.invert([over, alone], 1)

    def encoded(prompt: str, learned: Learned) -> torch.Tensor:
        return encoder.encode(prompt + caption_suffix(learned.vectors)).features[0]

    assert [has_vectors for has_vectors, _ in trained] == [True, True, False]
    for has_vectors, text in trained:
        assert torch.equal(text, encoded(fact.source_prompt, Learned(has_vectors)))
    for learned in (NOTHING, alone, PROMPT, over):
        drawn.clear()
        with pytest.raises(Recorded):
            part.draw(Variant(learned, "linear", "source_negative"))
        with pytest.raises(Recorded):
            part.redraw(learned)
        expected = [
            encoded(prompt, learned)
            for prompt in (fact.prompt, fact.source_prompt, fact.source_prompt)
        ]
        after = 20 if learned.vectors else 0
        assert [len(text) for text in drawn] == [len(text) + after for text in expected]
        for text, prompt in zip(drawn, expected, strict=True):
            assert torch.equal(text[: len(prompt)], prompt)


def test_drawing_needs_few_packages() -> None:
    """So that it can run on a machine that has a GPU but not the workflow."""
    missing = ("snakemake", "pandas", "peft", "typer")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import training.ablation."
    subprocess.run([sys.executable, "-c", code + "__main__"], check=True)


def test_rows_that_are_not_drawn_again_stay(tmp_path: Path) -> None:
    old, new = tmp_path / "old.tsv", tmp_path / "new.tsv"
    old.write_text("edit\tinversion\tpsnr\n0\tnothing\t1\n0\tlora50\t2\n1\tnothing\t3\n")
    new.write_text("edit\tinversion\tpsnr\n0\tnothing\t4\n1\tnothing\t5\n")
    replace_rows(old, new, "inversion")
    assert old.read_text().splitlines()[1:] == ["0\tnothing\t4", "1\tnothing\t5", "0\tlora50\t2"]
    replace_rows(tmp_path / "none.tsv", new, "inversion")
    assert (tmp_path / "none.tsv").read_text() == new.read_text()


def test_a_slice_learns_adapters_that_change_what_is_drawn(pack: Path) -> None:
    device = torch.device("cpu")
    part = Slice(Studio.load(device, "tiny"), read(pack, [1], device), 0)
    one, two, alone = Learned(True, 1), Learned(True, 2), Learned(False, 1)
    part.invert([NOTHING, one, two, alone], 1)
    assert part.vectors is not None and part.vectors.abs().max() > 0
    ups = [part.adapters[each.name][1] for each in (one, two, alone)]
    assert all(up.abs().max() > 0 for up in ups)
    assert not torch.equal(ups[0], ups[1]) and not torch.equal(ups[0], ups[2])
    losses = [losses_of(*model_first(part, each)) for each in (NOTHING, one, two, alone)]
    assert len({tuple(loss) for loss in losses}) == 4


def model_first(part: Slice, learned: Learned) -> tuple[Infinity, Sources, torch.Tensor | None]:
    model, vectors = part.model_of(learned)
    return model, part.sources(vectors), vectors
