"""Damage to files: the same seed makes the same bytes on every machine."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

TOKENS = [
    b"null", b"NaN", b"-1", b"0", b"1e999", b"99999999999999999999", b"[]", b"{}", b'""', b"true", b"\xff\xfe", b"\x00",
    b"[" * 20000, b'{"a":' * 20000, b"&a [*a]", b"..", b"../../x", b"=1+1", b'"', b"'", b",", b"\n", b"\t", b":",
    b"<!DOCTYPE a>", b"x" * 5000, b"9" * 5000, "\u202e\u0000".encode(),
]  # fmt: skip
NUMBERS = [b"\xff" * 4, b"\xff" * 8, b"\x00" * 4, b"\x00" * 8, b"\x7f" + b"\xff" * 3, b"\x00\x00\x00\x80", b"\x01" * 8]


def mutated(data: bytes, seed: int) -> bytes:
    """One to four damages, one after the other."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 2, 4))):
        data = chance.choice(DAMAGES)(data, chance)
    return data


def _place(data: bytes, chance: random.Random) -> int:
    """Half of the damage goes to the first bytes, where headers are."""
    return chance.randrange(min(len(data), 512) or 1) if chance.random() < 0.5 else chance.randrange(len(data) or 1)


def _bytes(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(min(len(data), chance.choice((1, 3, 20)))):
        changed[_place(data, chance)] = chance.randrange(256)
    return bytes(changed)


def _bit(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    if changed:
        changed[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _left_out(data: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    return data[:place] + data[place + chance.choice((1, 2, 8, 100)) :]


def _twice(data: bytes, chance: random.Random) -> bytes:
    place, length = _place(data, chance), chance.choice((1, 8, 100, 1000))
    return data[: place + length] + data[place:]


def _number(data: bytes, chance: random.Random) -> bytes:
    place, number = _place(data, chance), chance.choice(NUMBERS)
    return data[:place] + number + data[place + len(number) :]


def _token(data: bytes, chance: random.Random) -> bytes:
    """Something in the place of a word or number."""
    words = list(re.finditer(rb"[\w.+-]+", data[:20000]))
    if not words:
        return chance.choice(TOKENS)
    word = chance.choice(words)
    return data[: word.start()] + chance.choice(TOKENS) + data[word.end() :]


def _inserted(data: bytes, chance: random.Random) -> bytes:
    place = _place(data, chance)
    return data[:place] + chance.choice(TOKENS) + data[place:]


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [
    _bytes, _bit, _cut, _left_out, _twice, _number, _token, _token, _inserted,
]  # fmt: skip
