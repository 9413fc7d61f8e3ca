"""How the two legs of a search become one ranking, as SQL: chunks may be folded to sources, scores are fused convexly.

A convex combination keeps a leg that knows nothing about a question from ruining the other one, which reciprocal rank
fusion does not (Bruch, Gai, Ingber: An Analysis of Fusion Functions for Hybrid Retrieval, 2023).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from queries.search.message import GroupBy, Legs

_CJK = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff]"
)
_BY_BOTH = {
    "text": "text",
    "cosine": "cosine",
    "of_text": "(1 - %(vector_weight)s::float8) * coalesce(text / nullif(max(text) over (), 0), 0)",
    "of_vector": """
        case when cosine is null then 0 else %(vector_weight)s::float8 * coalesce(
            (cosine - min(cosine) over ()) / nullif(max(cosine) over () - min(cosine) over (), 0), 1
        ) end
    """,
}
_SCORES: Mapping[Legs, Mapping[str, str]] = {
    ("text", "vector"): _BY_BOTH,
    ("text",): {"text": "text", "cosine": "null::float8", "of_text": "text", "of_vector": "0"},
    ("vector",): {"text": "null::float8", "cosine": "cosine", "of_text": "0", "of_vector": "cosine"},
}
"""What each leg gives a chunk, and what that adds to its score.

With both legs, text scores are divided by the best one, cosines scaled from the lowest to the highest of all that were
found, which is why that must be the union of both legs' answers with both scores. A leg that does not know a chunk adds
nothing.
"""
# Sums of floats differ in their last digits from plan to plan; equal scores must be equal.
_ROUNDED = "round(({}) * 1e9) / 1e9"
_PASSAGES = "select array[chunk] as chunks, score, text, cosine from scored"
_SOURCES = f"""
select array_agg(chunk order by score desc, chunk) as chunks,
       {_ROUNDED.format("max(of_text) + max(of_vector)")} as score, max(text) as text, max(cosine) as cosine
from scored group by source_kind, source_id
"""


@dataclass(frozen=True)
class FusionWeights:
    """The share of the vector leg, 0 to 1; settings of an index generation, tuned for its model and analyzer.

    Attributes:
        usual: for questions in a language that the model knows.
        cjk: for questions with Chinese, Japanese or Korean characters, which an English model can't judge.
    """

    usual: float = 0.55
    cjk: float = 0.15

    def of(self, question: str) -> float:
        """Return the share of the vector leg for `question`."""
        return self.usual if _CJK.search(question) is None else self.cjk


def ranking_of(legs: Legs, group_by: GroupBy | None) -> dict[str, str]:
    """Return the fields of ``ranked.sql`` that rank what `legs` have found: passages, or the sources that they are of.

    The score of a source is the sum of the best that text and vector add to its passages', and its best passage is
    shown. Scores are from 0 to 1 when both legs are asked, else the leg's own. The parameter is `vector_weight`.
    """
    return {
        **_SCORES[legs],
        "score": _ROUNDED.format("of_text + of_vector"),
        "hits": _PASSAGES if group_by is None else _SOURCES,
    }
