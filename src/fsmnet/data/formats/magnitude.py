"""Images that are no magnitudes, by the words that DICOM, dcm2niix and BIDS have for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Whatever the vendor calls it: words of ImageType behind the second (Siemens, UIH: P, PHASE; Philips: PHASE MAP, R_SE,
# I_FFE; Canon: PHASE), ComplexImageComponent, and the value of BIDS's entity ``part``.
_KINDS = {
    "phase": r"P|PHASE|PHASE[ _-]?MAP|P_[A-Z0-9]+|VELOCITY[ _-]?MAP",
    "real": r"R|REAL|R_[A-Z0-9]+",
    "imaginary": r"I|IMAG|IMAGINARY|I_[A-Z0-9]+",
}


def kind_by_words(words: Iterable[str]) -> str:
    """``phase``, ``real`` or ``imaginary``, if one of the words says it; else empty."""
    given = [word.strip().upper() for word in words]
    for kind, expression in _KINDS.items():
        if any(re.fullmatch(expression, word) for word in given):
            return kind
    return ""
