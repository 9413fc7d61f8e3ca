"""Made-up passages and questions with subjects: texts of one subject share words, so they lie near each other."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.corpus import made_up_word

_VOCABULARY = 20_000
_SUBJECTS = 400
_WORDS_OF_A_SUBJECT = 150
_WORDS = 60

TAGS: Mapping[str, str] = {"one": "1 % of the passages", "ten": "10 %, whole subjects", "half": "50 %"}


@dataclass(frozen=True, slots=True)
class Text:
    """What an entry is made of."""

    name: str
    description: str
    tags: tuple[str, ...]


class Corpus:
    """Draws texts, the same ones for the same seed.

    A text has sixty words: half of them of its subject, half of the whole vocabulary, both with Zipf's frequencies. Its
    tags are `TAGS`: two are drawn for each text, one belongs to a tenth of the subjects.
    """

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - texts, not secrets
        self._words = [made_up_word(number) for number in range(_VOCABULARY)]
        self._weights = _zipf(_VOCABULARY)
        subjects = random.Random(0)  # noqa: S311 - the same subjects for texts and questions
        self._subjects = [subjects.sample(self._words, _WORDS_OF_A_SUBJECT) for _ in range(_SUBJECTS)]
        self._subject_weights = _zipf(_WORDS_OF_A_SUBJECT)

    def texts(self) -> Iterator[Text]:
        """Yield texts without an end."""
        while True:
            subject = self._random.randrange(_SUBJECTS)
            words = self._draw(subject, _WORDS // 2, _WORDS // 2)
            tags = [
                tag
                for tag, has_it in (
                    ("one", self._random.random() < 0.01),
                    ("ten", subject % 10 == 0),
                    ("half", self._random.random() < 0.5),
                )
                if has_it
            ]
            yield Text(" ".join(words[:4]), " ".join(words), tuple(tags))

    def questions(self) -> Iterator[str]:
        """Yield questions of six words without an end, four of them of a subject."""
        while True:
            yield " ".join(self._draw(self._random.randrange(_SUBJECTS), 4, 2))

    def _draw(self, subject: int, of_subject: int, of_all: int) -> list[str]:
        words = self._random.choices(self._subjects[subject], cum_weights=self._subject_weights, k=of_subject)
        words += self._random.choices(self._words, cum_weights=self._weights, k=of_all)
        self._random.shuffle(words)
        return words


def _zipf(count: int) -> list[float]:
    """Return cumulative weights: what is drawn comes second half as often as what comes first, and so on."""
    return list(accumulate(1 / rank for rank in range(1, count + 1)))
