"""Cases from folders and tables: what is found, what serves what, what is reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from editinfinity.cases.case import Cases
from editinfinity.cases.folders import find_folders
from editinfinity.cases.load import load_case, load_cases
from editinfinity.config.load import ConfigError, load_config
from tests.cases.nobody import as_nobody


def make_case(folder: Path, *files: str) -> Path:
    for file in ("image/original_image.jpg", "prompt/edit_image_prompt.txt", *files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("text", encoding="utf-8")
    return folder


def load(data: Path, **settings: object) -> Cases:
    return load_cases(load_config({"data": str(data), **settings}))


def test_the_mask_source_follows_what_is_there(tmp_path: Path) -> None:
    make_case(tmp_path / "one")
    make_case(tmp_path / "two", "image/mask.png", "prompt/target_word.txt")
    make_case(tmp_path / "three", "prompt/target_word.txt")
    cases = load(tmp_path).by_name
    assert list(cases) == ["one", "three", "two"]
    found = {name: case.edits["edit"] for name, case in cases.items()}
    assert {name: edit.mask_source for name, edit in found.items()} == {
        "one": "none",
        "two": "user",
        "three": "attention",
    }
    assert {name: edit.infer_function for name, edit in found.items()} == {
        "one": 0,
        "two": 2,
        "three": 2,
    }
    forced = load(tmp_path, mask_source="attention", cases=["two"]).by_name["two"]
    assert forced.edits["edit"].mask_source == "attention"
    make_case(tmp_path / "two", "image/blend.npy")
    edit = load(tmp_path, cases=["two"]).by_name["two"].edits["edit"]
    assert (edit.mask_source, edit.infer_function, edit.judged_mask) == ("blend", 2, "user")


def notices_of(data: Path, *files: str, **settings: object) -> tuple[str, ...]:
    for old in data.glob("a/*/*"):
        old.unlink()
    make_case(data / "a", *files)
    return load(data, **settings).notices


WORD, MASK, BLEND = "prompt/target_word.txt", "image/mask.png", "image/blend.npy"


@pytest.mark.parametrize(
    ("files", "unused", "decides", "sources"),
    [
        ((MASK, WORD), [WORD], MASK, "attention"),
        ((BLEND, WORD), [WORD], BLEND, "attention"),
        ((BLEND, MASK), [MASK], BLEND, "user"),
        ((BLEND, MASK, WORD), [MASK, WORD], BLEND, "user or attention"),
    ],
)
def test_a_file_without_effect_is_told_in_a_line_of_its_case(
    tmp_path: Path, files: tuple[str, ...], unused: list[str], decides: str, sources: str
) -> None:
    (line,) = notices_of(tmp_path, *files)
    names = " and ".join(Path(file).name for file in unused)
    assert line == (
        f"a: {names} {'are' if len(unused) > 1 else 'is'} not used to edit, because there is "
        f"{Path(decides).name}; delete what you do not need, or set mask_source: {sources}"
    )
    # Edits that share the files say so once; where a setting chose, there is nothing to tell.
    assert notices_of(tmp_path, *files, "prompt/edit_image_prompt.hat.txt") == (line,)
    for chosen in ("user", "attention", "none"):
        assert notices_of(tmp_path, *files, mask_source=chosen) == ()
    for forced in (0, 1):
        assert notices_of(tmp_path, *files, infer_function=forced) == ()


def test_a_file_that_another_edit_uses_is_not_told(tmp_path: Path) -> None:
    hat, own = "prompt/edit_image_prompt.hat.txt", "image/mask.hat.png"
    for files in ((MASK,), (WORD,), (BLEND,), (hat, own, WORD), (hat, own, MASK), ()):
        assert notices_of(tmp_path, *files) == ()
    assert notices_of(tmp_path, hat, "image/blend.hat.npy", MASK) == ()
    # An edit's own word is passed over for the shared mask: that is a surprise.
    (line,) = notices_of(tmp_path, hat, MASK, "prompt/target_word.hat.txt")
    assert "target_word.hat.txt is not used to edit, because there is" in line


def test_a_sweep_over_smoothing_of_a_blend_mask_is_told(tmp_path: Path) -> None:
    sweep = {"smoothing": ["linear", "paper"]}
    (line,) = notices_of(tmp_path, BLEND, **sweep)
    assert line == (
        "a: blend.npy is used as it is, so a sweep over smoothing draws equal pictures; set "
        "smoothing to one value"
    )
    assert notices_of(tmp_path, MASK, **sweep) == ()


def test_a_sweep_of_a_number_that_no_guidance_uses_is_told(tmp_path: Path) -> None:
    sweep = {"editmod_confidence": [0.8, 0.95], "aredit_threshold": 0.3}
    (line,) = notices_of(tmp_path, MASK, **sweep)
    assert line == (
        "a: editmod_confidence is a list, but cfg does not use it, so nothing more is drawn; set "
        "method: editmod, or editmod_confidence to one value"
    )
    assert notices_of(tmp_path, MASK, **sweep, guidance="editmod") == ()


def test_the_bundled_examples_have_no_file_without_effect() -> None:
    data = Path(__file__).parents[2] / "data"
    assert not any("not used" in line for line in load(data).notices)


def test_a_budget_that_a_model_was_not_released_for_is_told_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_case(tmp_path / name)
    others = {"a": {"pixel_budget": "1M"}, "b": {"pixel_budget": None}}
    chosen = {"pixel_budget": "0.25M", "overrides": others}
    (line,) = load(tmp_path, model="infinity_2b", **chosen).notices
    assert line == (
        "pixel_budget: 0.25M gives poor pictures with infinity_2b, which was released for 1M; "
        "set pixel_budget: null"
    )
    assert len(load(tmp_path, model="infinity_125m", **chosen).notices) == 2
    for model in ("infinity_8b", "bundled", "tiny"):
        assert not load(tmp_path, model=model, **chosen).notices
    assert not load(tmp_path, model="infinity_2b").notices


def test_infer_function_forces(tmp_path: Path) -> None:
    make_case(tmp_path / "a", "image/mask.png")
    freely = load(tmp_path, infer_function=0).by_name["a"].edits["edit"]
    assert (freely.infer_function, freely.mask_source) == (0, "none")
    map_only = load(tmp_path, infer_function=1).by_name["a"].edits["edit"]
    assert (map_only.infer_function, map_only.mask_source) == (1, "attention")
    assert "target word" in map_only.faults()[0]


@pytest.mark.parametrize("source", ["words", "bits", "both"])
def test_a_place_found_from_the_prompts_needs_no_file(tmp_path: Path, source: str) -> None:
    make_case(tmp_path / "a", "image/mask.png")
    for infer_function, expected in ((None, 2), (1, 1), (2, 2)):
        settings = {"mask_source": source, "infer_function": infer_function}
        edit = load(tmp_path, **settings).by_name["a"].edits["edit"]
        assert (edit.mask_source, edit.find_mask, edit.infer_function) == (source, source, expected)
        assert edit.faults() == [] and edit.judged_mask == "user"
    freely = load(tmp_path, mask_source=source, infer_function=0).by_name["a"].edits["edit"]
    assert (freely.mask_source, freely.find_mask) == ("none", None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"infer_function": 2}, "infer_function: 2 needs a mask"),
        ({"mask_source": "user"}, "mask_source: user: there is no mask"),
        ({"mask_source": "attention"}, "needs a target word"),
        (
            {"mask_source": "blend"},
            "mask_source: blend: there is no blend mask; add image/blend.npy",
        ),
    ],
)
def test_what_an_edit_lacks_is_a_fault_of_its_case(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    make_case(tmp_path / "a")
    (line,) = load(tmp_path, **settings).by_name["a"].all_faults()
    assert line.startswith("a: ")
    assert said in line


def test_edits_share_or_own_masks_and_words(tmp_path: Path) -> None:
    folder = make_case(
        tmp_path / "a",
        "prompt/edit_image_prompt.red hat.txt",
        "prompt/edit_image_prompt.v1.2.txt",
        "image/mask.png",
        "image/mask.red hat.png",
        "prompt/target_word.v1.2.txt",
        "prompt/original_image_prompt.txt",
        "image/blend.v1.2.safetensors",
    )
    case = load(tmp_path).by_name["a"]
    assert list(case.edits) == ["edit", "red hat", "v1.2"]
    assert case.edits["edit"].mask == folder / "image/mask.png"
    assert case.edits["red hat"].mask == folder / "image/mask.red hat.png"
    assert case.edits["v1.2"].target_word == folder / "prompt/target_word.v1.2.txt"
    assert case.edits["edit"].target_word is None
    assert case.edits["v1.2"].blend == folder / "image/blend.v1.2.safetensors"
    assert case.edits["edit"].blend is None
    assert case.source_prompt == folder / "prompt/original_image_prompt.txt"


def test_faults_of_a_folder_are_kept_for_its_check(tmp_path: Path) -> None:
    (tmp_path / "empty" / "image").mkdir(parents=True)
    make_case(tmp_path / "double", "image/original_image.png")
    make_case(tmp_path / "same", "prompt/edit_image_prompt.edit.txt")
    cases = load(tmp_path).by_name
    assert list(cases["empty"].edits) == ["edit"]
    assert "has no original_image" in cases["empty"].all_faults()[0]
    double = " ".join(cases["double"].all_faults())
    assert "original_image.jpg and original_image.png; keep" in double
    assert "are the same edit" in cases["same"].all_faults()[0]


HOSTILE = [
    *("a{b", "a}b", "a,b", 'a"b', "a\\b", "a\nb", "a\tb", "a\x7fb", "report.html", "  "),
    *("<b>old", "photo" + 20 * "_", 20 * "ha"),
]
WELCOME = [
    *("<3 & <B>", 19 * "_", 20 * "_" + "x"),
    *("été", "犬 と 猫", "it's", "-dash", "a.b", "$HOME", "a*?[b]", "a;b & c", "%s", "#1", "~"),
]


def test_names_snakemake_cannot_carry_are_skipped_with_one_line(tmp_path: Path) -> None:
    for name in HOSTILE + WELCOME:
        make_case(tmp_path / name)
    make_case(Path(os.fsdecode(os.fsencode(tmp_path) + b"/no-\xff-utf8")))
    make_case(tmp_path / ".hidden")
    (tmp_path / "notes").mkdir()
    cases = load(tmp_path)
    assert sorted(cases.by_name) == sorted(WELCOME)
    assert len(cases.notices) == len(HOSTILE) + 2
    assert all(line.isprintable() for line in cases.notices)


def test_entries_that_are_no_cases_stop_no_other_and_are_told(tmp_path: Path) -> None:
    make_case(tmp_path / "good")
    (tmp_path / "annexed").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").mkdir()
    for name in (".hidden", ".trashed-1"):
        (tmp_path / name / "image").mkdir(parents=True)
    (tmp_path / ".dead").symlink_to("nowhere")
    (tmp_path / "README.md").write_text("cases")
    os.mkfifo(tmp_path / "pipe")
    missing = "skipped, it is a link to a missing folder; delete the link"
    assert find_folders(tmp_path) == (
        ["good"],
        [
            f"{tmp_path}/annexed: {missing}",
            f"{tmp_path}/empty: skipped, it has neither image/ nor prompt/",
            f"{tmp_path}/loop: {missing}",
        ],
    )


def test_a_folder_that_cannot_be_listed_is_no_case(tmp_path: Path) -> None:
    make_case(tmp_path / "good")
    make_case(tmp_path / "closed").chmod(0o700)
    with as_nobody(tmp_path):
        names, notices = find_folders(tmp_path)
    assert names == ["good"]
    assert notices == [
        f"{tmp_path}/closed: skipped, it cannot be listed (Permission denied); allow reading it"
    ]


def test_hostile_edit_names_are_skipped_too(tmp_path: Path) -> None:
    make_case(tmp_path / "a", "prompt/edit_image_prompt.x,y.txt")
    cases = load(tmp_path)
    assert list(cases.by_name["a"].edits) == ["edit"]
    assert len(cases.notices) == 1


def test_selection(tmp_path: Path) -> None:
    for name in ("photo", "other"):
        make_case(tmp_path / name)
    assert list(load(tmp_path, cases=["photo"]).by_name) == ["photo"]
    assert list(load(tmp_path, cases="photo").by_name) == ["photo"]
    with pytest.raises(ConfigError, match="there is no folder .*fhoto; did you mean photo"):
        load(tmp_path, cases=["fhoto"])
    with pytest.raises(ConfigError, match="overrides: there is no case phot; did you mean photo"):
        load(tmp_path, overrides={"phot": {"cfg": 3}})
    with pytest.raises(ConfigError, match="there is no folder .*nowhere; make a case in it"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="contains no case"):
        load(tmp_path / "photo" / "image")


NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("disk", "typed"), [(NFC, NFD), (NFD, NFC), ("my\u202fcat", "my cat")])
def test_names_that_look_the_same_are_the_same(tmp_path: Path, disk: str, typed: str) -> None:
    make_case(tmp_path / disk)
    make_case(tmp_path / "other")
    settings = {"cases": [typed], "overrides": {typed: {"cfg": 7}}, "results": str(tmp_path / "r")}
    cases = load(tmp_path, **settings)
    assert (list(cases.by_name), cases.notices) == ([disk], ())
    assert cases.by_name[disk].image == tmp_path / disk / "image" / "original_image.jpg"
    assert cases.by_name[disk].settings["cfg"] == (7,)
    assert list(load(tmp_path, cases=[typed, disk]).by_name) == [disk]
    with pytest.raises(ConfigError, match="overrides: .*occurs twice"):
        load(tmp_path, overrides={NFC: {"cfg": 7}, NFD: {"cfg": 8}})

    # A folder of results keeps its name, so that a copy of the case reruns nothing.
    (tmp_path / "r" / typed).mkdir(parents=True)
    renamed = load(tmp_path, **settings).by_name
    assert list(renamed) == [typed]
    assert renamed[typed].image == cases.by_name[disk].image
    assert load_case(load_config({"data": str(tmp_path), **settings}), typed) == renamed[typed]


def test_two_folders_that_look_the_same_are_told_and_never_mixed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in (NFC, NFD):
        make_case(data / name)
    (tmp_path / "results" / NFC).mkdir(parents=True)
    settings = {"results": str(tmp_path / "results")}
    cases = load(data, **settings)
    assert [*cases.by_name] == [NFD, NFC]
    (line,) = cases.notices
    assert line.startswith(f"{data}: has folders whose names look the same, café, but are")
    assert "(cafe\\u0301 and caf\\u00e9)" in line and line.isprintable()
    for name in (NFC, NFD):
        found = load(data, cases=[name], **settings).by_name[name].image
        assert found.is_relative_to(data / name)
    with pytest.raises(ConfigError, match=r"overrides: .*look the same.*: rename one"):
        load(data, overrides={NFC: {"cfg": 7}})
    (data / NFC).rename(data / "caf\u00ad\u00e9")  # a third spelling, with a soft hyphen
    with pytest.raises(ConfigError, match="look the same"):
        load(data, cases=[NFC])


def test_an_edit_has_its_files_whatever_their_spelling(tmp_path: Path) -> None:
    make_case(
        tmp_path / "a", f"prompt/edit_image_prompt.{NFC}.txt", f"image/mask.{NFD}.png",
        f"prompt/target_word.{NFD}.txt", f"image/blend.{NFD}.npy",
    )  # fmt: skip
    cases = load(tmp_path)
    edit = cases.by_name["a"].edits[NFC]
    assert edit.mask == tmp_path / f"a/image/mask.{NFD}.png"
    assert edit.blend == tmp_path / f"a/image/blend.{NFD}.npy"
    assert edit.target_word == tmp_path / f"a/prompt/target_word.{NFD}.txt"
    assert not any("is used as" in line for line in cases.notices)
    make_case(tmp_path / "a", f"image/mask.{NFC}.png")
    faults = load(tmp_path).by_name["a"].faults
    assert any("mask.cafe\\u0301.png and mask.caf\\u00e9.png; keep one" in line for line in faults)
    make_case(tmp_path / "b", *(f"prompt/edit_image_prompt.{name}.txt" for name in (NFC, NFD)))
    faults = load(tmp_path).by_name["b"].faults
    assert len(faults) == 1 and "edit_image_prompt.caf\\u00e9.txt; keep one" in faults[0]


def test_a_table_finds_files_and_cases_whatever_their_spelling(tmp_path: Path) -> None:
    (tmp_path / NFD).mkdir()
    for file in ("a.jpg", "mask.png", "old\u202fone.jpg"):
        (tmp_path / NFD / file).touch()
    path = write_table(
        tmp_path, "case\timage\tmask\tedit_prompt\tedit",
        f"{NFC}\t{NFC}/a.jpg\t{NFC}/mask.png\ta cat\t1", f"{NFD}\t{NFD}/a.jpg\t\ta dog\t2",
        f"b\t{NFC}/old one.jpg\t\ta cat\t", f"c\t{NFC}/none.jpg\t\ta cat\t",
    )  # fmt: skip
    settings = {"overrides": {NFD: {"cfg": 7}}, "results": str(tmp_path / "results")}
    cases = load_table(path, **settings).by_name
    assert list(cases) == [NFC, "b", "c"]
    assert cases[NFC].settings["cfg"] == (7,)
    assert cases[NFC].edits["1"].mask == tmp_path / NFD / "mask.png"
    assert cases["b"].image == tmp_path / NFD / "old\u202fone.jpg"
    assert cases["c"].image == tmp_path / NFD / "none.jpg"
    (tmp_path / "results" / NFD).mkdir(parents=True)
    assert [*load_table(path, **settings).by_name] == [NFD, "b", "c"]
    path.write_text(path.read_text("utf-8").replace("\ta dog\t2", "\ta dog\t1"), "utf-8")
    with pytest.raises(ConfigError, match="line 3: .*has edit 1 twice"):
        load_table(path)


def write_table(folder: Path, *lines: str) -> Path:
    path = folder / "cases.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load_table(path: Path, **settings: object) -> Cases:
    return load_cases(load_config({"cases": str(path), **settings}))


def test_a_table_gives_cases_edits_and_settings(tmp_path: Path) -> None:
    path = write_table(
        tmp_path,
        "case\timage\tmask\tsource_prompt\tedit\tedit_prompt\ttarget_word\tcfg\ttrain_lora_iter"
        "\tblend",
        "été 1\tpics/a.jpg\tm.png\ta dog\t\ta cat\t\t4.5\t30\t",
        "été 1\tpics/a.jpg\t\ta dog\tred\ta red dog\tdog\t[3, 5]\t30\t",
        "b\t/abs/b.png\t\t\t\ta hat\tdog\t\t\tb.npy",
        "\t\t\t\t\t\t\t\t\t",
    )
    cases = load_table(path, cfg=7).by_name
    assert load_table(path).notices == (
        "b: the target word 'dog' is not used to edit, because there is b.npy; delete what you do "
        "not need, or set mask_source: attention",
    )
    first = cases["été 1"]
    assert first.image == tmp_path / "pics/a.jpg"
    assert first.source_prompt == "a dog"
    assert first.settings["train_lora_iter"] == 30
    assert first.edits["edit"].mask == tmp_path / "m.png"
    assert first.edits["edit"].settings["cfg"] == (4.5,)
    assert first.edits["red"].settings["cfg"] == (3.0, 5.0)
    assert first.edits["red"].mask_source == "attention"
    assert cases["b"].image == Path("/abs/b.png")
    assert cases["b"].source_prompt is None
    assert (cases["b"].edits["edit"].blend, first.edits["red"].blend) == (tmp_path / "b.npy", None)
    assert cases["b"].edits["edit"].settings["cfg"] == (7.0,)


HEADING = "case\timage\tedit_prompt\tedit\tcfg\ttrain_lora_iter"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["case\timage", "a\tb"], "has no column edit_prompt"),
        (["case,image,edit_prompt", "a,b,c"], "has commas between the cells; save it with tabs"),
        (
            ['"image";"case";"edit_prompt"', "b;a;c"],
            "has semicolons between the cells; save it with",
        ),
        ([HEADING + "\tdevice", "a\tb\tc\t\t\t\tcpu"], "column device: applies to the whole run"),
        ([HEADING + "\tcgf", "a\tb\tc\t\t\t\t"], "did you mean cfg"),
        ([HEADING], "has no rows"),
        ([HEADING, "a\t\tc\t\t\t"], "line 2: image is empty"),
        ([HEADING, "../a\tb\tc\t\t\t"], 'line 2: case: "../a" cannot be a name'),
        ([HEADING, "a\tb\tc\tx/y\t\t"], 'line 2: edit: "x/y" cannot be a name'),
        ([HEADING, "a\tb\tc\t\thigh\t"], "line 2: cfg: must be a number"),
        ([HEADING, "a\tb\tc\t\t[3\t"], "line 2: "),
        ([HEADING, "a\tb\tc\t\t\t", "a\tb\td\t\t\t"], "has edit edit twice"),
        ([HEADING, "a\tb\tc\t\t\t", "a\tz\td\tx\t\t"], "line 3: image differs from line 2"),
        ([HEADING, "a\tb\tc\t\t\t3", "a\tb\td\tx\t\t4"], "line 3: train_lora_iter differs"),
        ([HEADING, "a\tb\tc\t\t\t\tmore\tstill"], "more cells than the heading"),
        ([HEADING, "", "a\tb\tc\t\t\t", "\t", "b\t\tc"], "line 5: image is empty"),
        ([HEADING, "a\tb\tc\t\t\t\t\tx"], "line 2: has more cells than the heading, which has 6"),
        ([HEADING + "\t\t", "a\tb\tc\t\t\t\t\tx"], "line 2: column 8 has no heading but"),
        ([HEADING + "\tcfg", "a\tb\tc"], 'column "cfg": occurs twice; remove one'),
        ([HEADING, "a\tb\t" + "x" * 200_000], "line 2: a cell is longer than 131,072 characters"),
    ],
)
def test_each_fault_of_a_table_is_one_line(tmp_path: Path, lines: list[str], said: str) -> None:
    path = write_table(tmp_path, *lines)
    with pytest.raises(ConfigError) as fault:
        load_table(path)
    (line,) = fault.value.lines
    assert said in line
    assert str(path) in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ('a\ta.jpg\t"OPEN" sign\n', {"a": '"OPEN" sign'}),
        ('a\ta.jpg\t"stop\nb\tb.jpg\tgo"\n', {"a": '"stop', "b": 'go"'}),
        ("a\ta.jpg\ta \"big\" cat, 'red'\n", {"a": "a \"big\" cat, 'red'"}),
        ("a\ta.jpg\ta cat\t\t\n", {"a": "a cat"}),
        ("a\ta.jpg\ta cat\r\n\r\nb\tb.jpg\ta dog\r\n", {"a": "a cat", "b": "a dog"}),
        ("a\ta.jpg\ta\x0bcat\u2028\x85 b\n", {"a": "a\x0bcat\u2028\x85 b"}),
        ("a\ta.jpg\ta cat\rb\tb.jpg\ta dog\r", {"a": "a cat", "b": "a dog"}),
        ("a\ta.jpg\tNA", {"a": "NA"}),
        ("1\ta.jpg\t007", {"1": "007"}),
    ],
)
def test_cells_are_taken_as_they_are_written(
    tmp_path: Path, text: str, prompts: dict[str, str]
) -> None:
    path = tmp_path / "cases.tsv"
    path.write_bytes(f"\ufeffcase\timage\tedit_prompt\t\t\n{text}".encode())
    cases = load_table(path)
    found = {name: case.edits["edit"].prompt for name, case in cases.by_name.items()}
    assert found == prompts
    assert cases.notices == ()


def test_quotes_around_a_cell_are_kept_and_told_once(tmp_path: Path) -> None:
    heading = "case\timage\tedit_prompt"
    rows = ("a\ta.jpg\ta cat", 'b\tb.jpg\t"a ""big"" cat"', 'c\tc.jpg\t"a dog"')
    cases = load_table(write_table(tmp_path, heading, "", *rows))
    assert cases.by_name["b"].edits["edit"].prompt == '"a ""big"" cat"'
    (notice,) = cases.notices
    assert notice.startswith(f"{tmp_path / 'cases.tsv'}: line 4: a cell is in double quotes")


def test_a_missing_or_binary_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cases\.tsv: there is no such file"):
        load_table(tmp_path / "cases.tsv")
    (tmp_path / "cases.tsv").write_bytes(b"case\timage\tedit_prompt\n\xff\xfe\t\x00\n")
    with pytest.raises(ConfigError):
        load_table(tmp_path / "cases.tsv")


def test_a_job_finds_its_case_again(tmp_path: Path) -> None:
    make_case(tmp_path / "a")
    config = load_config({"data": str(tmp_path), "cases": ["a"]})
    assert load_case(config, "a") == load_cases(config).by_name["a"]
    with pytest.raises(ConfigError, match="there is no"):
        load_case(config, "b")


def test_slices_are_all_of_the_cases_in_their_order(tmp_path: Path) -> None:
    for name in "abcdefg":
        make_case(tmp_path / name)
    for count in (1, 2, 3, 7, 9):
        parts = [list(load(tmp_path, slice=f"{i}/{count}").by_name) for i in range(1, count + 1)]
        assert [name for part in parts for name in part] == list("abcdefg")
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    # An override of a case in another slice is no fault.
    load(tmp_path, slice="1/7", overrides={"g": {"cfg": 3}})
