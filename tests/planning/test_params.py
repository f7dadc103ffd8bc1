"""Params as texts with names: every value comes back as it was, and no two share a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editinfinity.planning.params import named, values_of

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)


def texts_of(**values: object) -> dict[str, str]:
    return {name: text(None) for name, text in named(**values).items()}


@given(SCALARS)
def test_values_come_back_with_their_types(value: object) -> None:
    texts = texts_of(key=value)
    assert texts["key"].startswith("key=")
    back = values_of(texts.items())["key"]
    assert back == value
    assert type(back) is type(value)


def test_texts_are_read_easily_and_words_that_look_like_numbers_are_quoted() -> None:
    assert texts_of(lora_dropout=0.3, crop="full", mask_feather=None, gps=True, rank="4") == {
        "lora_dropout": "lora_dropout=0.3",
        "crop": "crop=full",
        "mask_feather": "mask_feather=null",
        "gps": "gps=true",
        "rank": 'rank="4"',
    }


def test_equal_values_of_two_params_are_two_texts() -> None:
    assert len({*texts_of(beta_1=0.9, beta_2=0.9, drop_path=0.9).values()}) == 3


def test_functions_are_asked_for_each_job() -> None:
    assert named(seed=lambda wildcards: wildcards["case"])["seed"]({"case": 3}) == "seed=3"


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, (1,)])
def test_a_param_is_one_scalar(value: object) -> None:
    with pytest.raises(TypeError, match="a param is one scalar"):
        texts_of(key=value)
