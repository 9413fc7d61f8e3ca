"""Tells a document's language, or says that it does not know."""

import re
from functools import cache
from typing import Protocol

from workers.documents.document import BlockKind, ParsedDocument

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA = re.compile(r"[\u3041-\u30ff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_OTHER_WORD = re.compile(r"[^\W\d_\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]{2,}")
_NOT_PROSE = re.compile(r"`[^`\n]*`|\]\([^)\s]*\)|https?://\S+|<[^>\n]+>|\S+@\S+")
_SAMPLES = 6
_SAMPLE_CHARACTERS = 2_000
_FEWEST_LETTERS = 20
_SMALLEST_PROBABILITY = 0.8
_SMALLEST_AGREEMENT = 0.7
_CODE_LENGTH = 2


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


def detect_language(document: ParsedDocument) -> str | None:
    """Return the ISO 639-1 code of the language of most of the document's prose, or None when unsure.

    The first call loads a model of some 100 MB, so this runs in the worker, not in the process of each parse.
    """
    samples = [_NOT_PROSE.sub(" ", sample) for sample in _prose_samples(document)]
    script = _by_script("".join(samples))
    return script or _by_model(samples)


def _prose_samples(document: ParsedDocument) -> list[str]:
    """Pieces from the whole length of the document: a preface may be in another language."""
    text = "\n".join(
        document.text[block.start : block.end] for block in document.blocks if block.kind is not BlockKind.CODE
    )
    text = text or document.text
    step = max(len(text) // _SAMPLES, _SAMPLE_CHARACTERS)
    return [text[start : start + _SAMPLE_CHARACTERS] for start in range(0, len(text), step)][:_SAMPLES]


def _by_script(text: str) -> str | None:
    """Kana and Hangul belong to one language each; Han without kana is Chinese. A Han word is about two characters."""
    han, kana, hangul = (len(pattern.findall(text)) for pattern in (_HAN, _KANA, _HANGUL))
    others = len(_OTHER_WORD.findall(text))
    east_asian_words = (han + kana + hangul) / 2
    if east_asian_words < _CODE_LENGTH or east_asian_words < others:
        return None
    if hangul > han + kana:
        return "ko"
    return "ja" if kana > (han + kana) / 10 else "zh"


def _by_model(samples: list[str]) -> str | None:
    votes: dict[str, int] = {}
    for sample in samples:
        letters = sum(map(str.isalpha, sample))
        if letters < _FEWEST_LETTERS:
            continue
        code, probability = _identifier().classify(sample)
        if len(code) == _CODE_LENGTH and probability >= _SMALLEST_PROBABILITY:
            votes[code] = votes.get(code, 0) + letters
    best = max(votes, key=lambda code: votes[code], default=None)
    if best is None or votes[best] < sum(votes.values()) * _SMALLEST_AGREEMENT:
        return None
    return best


@cache
def _identifier() -> _Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if len(label) == _CODE_LENGTH])
    found: _Identifier = identifier
    return found
