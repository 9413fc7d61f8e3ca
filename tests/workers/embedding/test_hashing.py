"""The embedder for tests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.embedding.hashing import HashingEmbedder


async def test_similar_texts_are_nearer_than_different_ones():
    question, near, far = np.array(
        await HashingEmbedder().embed(["noise of a jet engine", "the jet engine makes noise", "a cake with apples"])
    )

    assert question @ near > 0.5 > question @ far


async def test_the_same_text_always_has_the_same_vector():
    vector = (await HashingEmbedder().embed(["noise"]))[0]

    assert (await HashingEmbedder().embed(["cake", "noise"]))[1] == vector
    assert [index for index, value in enumerate(vector) if value][:3] == [96, 99, 172]


@given(texts=st.lists(st.text(), max_size=5))
async def test_every_text_has_a_unit_vector(texts):
    vectors = await HashingEmbedder().embed(texts)

    assert [len(vector) for vector in vectors] == [384] * len(texts)
    assert [np.linalg.norm(vector) for vector in vectors] == pytest.approx([1.0] * len(texts))
