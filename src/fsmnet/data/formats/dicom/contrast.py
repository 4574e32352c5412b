"""Which contrast a series is: by its description, or by its echo, repetition and inversion times.

Descriptions are free text and times overlap, so this is a guess; it proposes pairs, which a person can overrule by
naming the series.
"""

from __future__ import annotations

import re

CONTRASTS = ("t1", "t1ce", "t2", "flair", "pd")

_T1 = re.compile(r"(?<![a-z0-9])t1(?![0-9])|mp-?rage|spgr|bravo")
_T2 = re.compile(r"(?<![a-z0-9])t2(?![0-9])")
_FLAIR = re.compile(r"flair|dark.?fluid|tirm")
_PD = re.compile(r"(?<![a-z0-9])pdw?(?![a-z0-9])|proton")
_ENHANCED = re.compile(r"(?<![a-z0-9])(gd|gad[a-z]*|post|ce|km|contrast|c\+)(?![a-z0-9])|\+ ?(c|gd|ce|km)(?![a-z0-9])")
_BEFORE = re.compile(r"(?<![a-z])(pre|non|no|without|w/?o)(?![a-z])")
_ANOTHER = re.compile(r"t2 ?(\*|star)|map|scout|locali[sz]er")  # has T1 or T2 in its name and is another thing


def guess_contrast(
    description: str,
    echo_time: float | None = None,
    repetition_time: float | None = None,
    inversion_time: float | None = None,
    agent: str = "",
    sequence: str = "",
) -> str:
    """One of :data:`CONTRASTS`, or empty if neither description nor times tell.

    The bounds on the times are this module's own, about what is usual for spin echoes: T1-weighted is short TE and TR,
    T2-weighted long both, PD-weighted short TE and long TR, FLAIR long TE after an inversion of about 2 s. Gradient
    echoes are recognised by their names, and by an inversion of about 1 s before short echoes (MP-RAGE).

    Args:
        description: SeriesDescription.
        echo_time: TE in ms.
        repetition_time: TR in ms.
        inversion_time: TI in ms; None or 0 without inversion.
        agent: ContrastBolusAgent.
        sequence: ScanningSequence; ``GR`` among it for gradient echoes.
    """
    text = description.lower().replace("_", " ")
    if _ANOTHER.search(text):
        return ""
    words = {"t1": _T1, "flair": _FLAIR, "t2": _T2, "pd": _PD}  # T1 FLAIR is T1-weighted, T2 FLAIR is FLAIR
    by_words = [name for name, expression in words.items() if expression.search(text)]
    contrast = by_words[0] if by_words else _by_times(echo_time, repetition_time, inversion_time, "GR" in sequence)
    given = agent.strip().lower() not in ("", "no", "none")
    enhanced = (given or _ENHANCED.search(text) is not None) and not _BEFORE.search(text)
    return "t1ce" if contrast == "t1" and enhanced else contrast


def _by_times(
    echo_time: float | None, repetition_time: float | None, inversion_time: float | None, gradient: bool
) -> str:
    if echo_time is None or repetition_time is None:
        return ""
    if gradient:
        return "t1" if echo_time <= 10 and 600 <= (inversion_time or 0) <= 1400 else ""
    if echo_time >= 70 and repetition_time >= 2000:
        return "flair" if (inversion_time or 0) >= 1500 else "t2"
    if inversion_time:
        return ""
    if echo_time <= 30 and repetition_time <= 1000:
        return "t1"
    return "pd" if echo_time <= 40 and repetition_time >= 2000 else ""
