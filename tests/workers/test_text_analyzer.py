"""The analyzer of the full-text leg."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.text_analyzer import TextAnalyzer

_ANALYZER = TextAnalyzer()
_TRICKY = st.sampled_from(
    [
        *"ﬁ ｶﾞ Ｆ 한 İ ① ΑΣ ß ㎏ क्ष สวัสดี 中文 𠀀 日本語 don't _ ٣ مَدْرَسَة".split(),  # noqa: SIM905 - reads better than a list of quotes
        *[" ", "\x00", "\ud800", "\u00ad", "\u200d", "\ufeff", "葛\U000e0100"],
        *["\u0301", "\u0345", "e\u0301", "\u1112\u1161\u11ab"],
    ]
)
_TEXTS = st.lists(_TRICKY | st.text(max_size=8), max_size=12).map("".join)


def test_english_is_lower_cased_stemmed_and_freed_of_stop_words():
    assert _ANALYZER.terms("The Boundary Layers were flowing over it") == ["boundari", "layer", "flow"]


def test_numbers_and_words_with_digits_stay_as_they_are():
    assert _ANALYZER.terms("Covid19s at 3.14, in 1998") == ["covid19s", "3", "14", "1998"]


def test_a_term_is_repeated_as_often_as_it_occurs():
    assert _ANALYZER.terms("noise, noises NOISE") == ["nois", "nois", "nois"]


def test_chinese_becomes_characters_and_pairs():
    assert _ANALYZER.terms("数据库") == ["数", "数据", "据", "据库", "库"]


@pytest.mark.parametrize("text", ["日本語", "ひらがな", "カタカナ", "한국어", "𠀀𠀁", "ไทย"])
def test_scripts_without_spaces_become_characters_and_pairs(text):
    expected = [text[i : i + size] for i in range(len(text)) for size in (1, 2) if i + size <= len(text)]

    assert _ANALYZER.terms(text) == expected


def test_chinese_and_english_side_by_side_are_kept_apart():
    assert _ANALYZER.terms("IBM公司的products") == ["ibm", "公", "公司", "司", "司的", "的", "product"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("ＦＵＬＬ", "full"),
        ("ｶﾞｽ", "ガス"),
        ("ﬁnd", "find"),
        ("e\u0301tat", "état"),
        ("co\u00adoperate", "cooperate"),
        ("葛\U000e0100", "葛"),
    ],
)
def test_forms_that_look_the_same_are_the_same_terms(text, same):
    assert _ANALYZER.terms(text) == _ANALYZER.terms(same)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Быстрые поезда", ["быстрые", "поезда"]),
        ("مدرسة كبيرة", ["مدرسة", "كبيرة"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("Αθήνας", ["αθήνασ"]),
    ],
)
def test_words_of_other_scripts_stay_whole(text, terms):
    assert _ANALYZER.terms(text) == terms


def test_long_words_are_cut_and_still_told_apart():
    first, second = _ANALYZER.terms("a" * 100 + " " + "a" * 101)

    assert len(first) == len(second) == 64
    assert first != second


def test_nothing_to_index_gives_no_terms():
    assert _ANALYZER.terms("the of … — !? \x00") == []


def test_offsets_point_into_the_text_as_it_was_given():
    text = "ﬁnding ｶﾞx İstanbul"

    assert [text[start:end] for start, end in _ANALYZER.spans_of({"find", "ガ", "x", "istanbul"}, text)] == [
        "ﬁnding", "ｶﾞ", "x", "İstanbul",
    ]  # fmt: skip
    assert _ANALYZER.spans_of({"x", "sediment"}, text) == [(9, 10)]


def test_the_identity_names_what_the_terms_depend_on():
    assert unicodedata.unidata_version in _ANALYZER.identity


@given(text=_TEXTS)
def test_terms_and_spans_name_the_same_terms(text):
    terms = _ANALYZER.terms(text)

    assert [len(_ANALYZER.spans_of({term}, text)) for term in terms] == [terms.count(term) for term in terms]


_SUFFIXES = """
    s es ies ied eed eedly ed edly ing ingly y ization ational tional fulness ousness iveness ousli aliti iviti biliti
    ability bly enci anci abli entli izer ation ator alism logist ologi lessli icate iciti ative alize ical ful ness
    ement e ll
""".split()  # noqa: SIM905 - a list of endings


@given(root=st.text("adeilnorsty", min_size=1, max_size=6), suffixes=st.lists(st.sampled_from(_SUFFIXES), max_size=3))
@example("d", ["ying"])
@example("sk", ["ies"])
@example("happ", ["y"])
@example("poss", ["ibility"])
@example("x" * 70, ["ing"])
def test_a_word_is_found_by_its_term_however_stemming_has_changed_it(root, suffixes):
    word = root + "".join(suffixes)

    for term in _ANALYZER.terms(word):
        for others in ({"other"}, set("123456789bcdfghjklmnpqrst")):
            assert _ANALYZER.spans_of({term, *others}, f"{word}1 un{word} {word.upper()}. {word}") == [
                (2 * len(word) + 5, 3 * len(word) + 5), (3 * len(word) + 7, 4 * len(word) + 7)
            ]  # fmt: skip


@given(text=_TEXTS)
def test_spans_lie_in_the_text_in_order_of_their_start(text):
    spans = _ANALYZER.spans_of(set(_ANALYZER.terms(text)), text)

    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)


@given(text=_TEXTS)
def test_what_a_span_covers_holds_its_term(text):
    """A unit of normalisation can't be divided, so a span may cover more than its term (㎏ is k and g), never less."""
    for term in _ANALYZER.terms(text):
        for start, end in _ANALYZER.spans_of({term}, text):
            assert term in _ANALYZER.terms(text[start:end])


@given(text=_TEXTS)
def test_every_term_fits_an_index_key(text):
    assert all(1 <= len(term) <= 64 and term == term.strip() and " " not in term for term in _ANALYZER.terms(text))


@given(text=st.text(alphabet=st.characters(codec="ascii")))
def test_the_short_cut_for_ascii_gives_what_other_text_gets(text):
    assert [*_ANALYZER.terms(text), "日"] == _ANALYZER.terms(text + " 日")
