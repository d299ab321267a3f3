"""QR codes of short texts, for links that a phone reads from the screen. Pure. Bytes only, with error correction level M.

The standard is ISO/IEC 18004: its tables for level M are below, up to version 15 (412 bytes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

Matrix = list[list[bool]]
#: Codewords for error correction of each block, and the number of blocks, by version, for level M (table 9).
_CORRECTION: Final = (10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24)
_BLOCKS: Final = (1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10)
#: The eight masks (table 10): a module whose condition holds is inverted.
_MASKS: Final[tuple[Callable[[int, int], bool], ...]] = (
    lambda row, column: (row + column) % 2 == 0,
    lambda row, column: row % 2 == 0,
    lambda row, column: column % 3 == 0,
    lambda row, column: (row + column) % 3 == 0,
    lambda row, column: (row // 2 + column // 3) % 2 == 0,
    lambda row, column: row * column % 2 + row * column % 3 == 0,
    lambda row, column: (row * column % 2 + row * column % 3) % 2 == 0,
    lambda row, column: ((row + column) % 2 + row * column % 3) % 2 == 0,
)
#: Dark modules that look like a part of a finder.
_FINDER: Final = ((1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0), (0, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1))
#: White modules around the code.
QUIET: Final = 4


def qr_path(text: str) -> tuple[int, str]:
    """The size of a code with its margin, and its dark modules as the path of an SVG. Raises ValueError for a long text."""
    matrix = qr_code(text)
    parts = []
    for row, modules in enumerate(matrix):
        column = 0
        while column < len(modules):
            start = column
            while column < len(modules) and modules[column]:
                column += 1
            if column > start:
                parts.append(f"M{start + QUIET} {row + QUIET}h{column - start}v1h-{column - start}z")
            column += 1
    return len(matrix) + 2 * QUIET, "".join(parts)


def qr_code(text: str) -> Matrix:
    """The modules of a QR code by row, True for dark. Raises ValueError when the text is too long."""
    data = text.encode()
    version = next((at for at in range(1, len(_BLOCKS) + 1) if _fits(len(data), at)), 0)
    if not version:
        raise ValueError(f"a text of {len(data)} bytes is too long for a QR code")
    codewords = _with_correction(_data_codewords(data, version), version)
    base, fixed = _patterns(version)
    _place(base, fixed, codewords)
    codes = []
    for mask in range(8):
        code = [
            [dark ^ (not fixed[r][c] and _MASKS[mask](r, c)) for c, dark in enumerate(row)]
            for r, row in enumerate(base)
        ]
        _format(code, mask)
        codes.append(code)
    return min(codes, key=penalty)


def _fits(size: int, version: int) -> bool:
    return 4 + _count_bits(version) + 8 * size <= 8 * _capacity(version)


def _count_bits(version: int) -> int:
    return 8 if version < 10 else 16


def _codewords(version: int) -> int:
    """All codewords of a version: the modules that are no pattern, as bytes."""
    modules = (16 * version + 128) * version + 64
    if version > 1:
        aligned = version // 7 + 2
        modules -= (25 * aligned - 10) * aligned - 55
    return (modules - (36 if version > 6 else 0)) // 8


def _capacity(version: int) -> int:
    """The codewords for data."""
    return _codewords(version) - _CORRECTION[version - 1] * _BLOCKS[version - 1]


def _data_codewords(data: bytes, version: int) -> list[int]:
    """Mode, length and bytes, filled to the capacity."""
    capacity = _capacity(version)
    bits = f"0100{len(data):0{_count_bits(version)}b}" + "".join(f"{byte:08b}" for byte in data)
    bits += "0" * min(4, 8 * capacity - len(bits))
    bits += "0" * (-len(bits) % 8)
    words = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    return words + [0xEC if at % 2 == 0 else 0x11 for at in range(capacity - len(words))]


# ----------------------------------------------------------------------------------------------------- error correction

_EXP: Final = [1] * 255
_LOG: Final = [0] * 256
for _at in range(1, 255):
    _EXP[_at] = _EXP[_at - 1] * 2 ^ (0x11D if _EXP[_at - 1] > 127 else 0)
for _at, _power in enumerate(_EXP):
    _LOG[_power] = _at


def multiply(left: int, right: int) -> int:
    """The product in the field of 256 elements of Reed-Solomon codes."""
    return _EXP[(_LOG[left] + _LOG[right]) % 255] if left and right else 0


def _generator(degree: int) -> list[int]:
    """The polynomial whose roots are the first powers, without its leading 1."""
    polynomial = [1]
    for root in _EXP[:degree]:
        # Times (x - root).
        scaled = [0, *(multiply(factor, root) for factor in polynomial)]
        polynomial = [factor ^ other for factor, other in zip([*polynomial, 0], scaled, strict=True)]
    return polynomial[1:]


def _remainder(data: Iterable[int], generator: list[int]) -> list[int]:
    rest = [0] * len(generator)
    for word in data:
        factor = word ^ rest.pop(0)
        rest.append(0)
        rest = [value ^ multiply(coefficient, factor) for value, coefficient in zip(rest, generator, strict=True)]
    return rest


def _with_correction(words: list[int], version: int) -> list[int]:
    """Data and correction of all blocks, interleaved."""
    blocks, degree = _BLOCKS[version - 1], _CORRECTION[version - 1]
    generator = _generator(degree)
    short, long = len(words) // blocks, len(words) % blocks
    pieces, at = [], 0
    for block in range(blocks):
        size = short + (block >= blocks - long)
        pieces.append(words[at : at + size])
        at += size
    corrections = [_remainder(piece, generator) for piece in pieces]
    result = [piece[index] for index in range(short + 1) for piece in pieces if index < len(piece)]
    return result + [correction[index] for index in range(degree) for correction in corrections]


# ------------------------------------------------------------------------------------------------------------- the matrix


def alignments(version: int) -> list[int]:
    """The centres of the alignment patterns, along one side."""
    if version == 1:
        return []
    number, size = version // 7 + 2, 17 + 4 * version
    step = (4 * version + 2 * number + 1) // (2 * number - 2) * 2
    return [6, *(size - 7 - step * at for at in range(number - 2, -1, -1))]


def _patterns(version: int) -> tuple[Matrix, Matrix]:
    """The patterns of a version, and which modules belong to one."""
    size = 17 + 4 * version
    dark, fixed = [[False] * size for _ in range(size)], [[False] * size for _ in range(size)]

    def put(row: int, column: int, value: bool) -> None:
        if 0 <= row < size and 0 <= column < size:
            dark[row][column], fixed[row][column] = value, True

    for at in range(size):
        put(6, at, at % 2 == 0)
        put(at, 6, at % 2 == 0)
    for row, column in ((3, 3), (3, size - 4), (size - 4, 3)):
        for down in range(-4, 5):
            for right in range(-4, 5):
                put(row + down, column + right, max(abs(down), abs(right)) not in (2, 4))
    places = alignments(version)
    for row in places:
        for column in places:
            if (row, column) not in ((6, 6), (6, places[-1]), (places[-1], 6)):
                for down in range(-2, 3):
                    for right in range(-2, 3):
                        put(row + down, column + right, max(abs(down), abs(right)) != 1)
    for at in range(9):
        # The format, which depends on the mask.
        put(8, at, dark[8][at])
        put(at, 8, dark[at][8])
        if at < 8:
            put(8, size - 1 - at, False)
            put(size - 1 - at, 8, at == 7)
    if version > 6:
        rest = version
        for _ in range(12):
            rest = rest << 1 ^ (rest >> 11) * 0x1F25
        for at in range(18):
            bit = bool((version << 12 | rest) >> at & 1)
            put(size - 11 + at % 3, at // 3, bit)
            put(at // 3, size - 11 + at % 3, bit)
    return dark, fixed


def _place(dark: Matrix, fixed: Matrix, codewords: list[int]) -> None:
    """Write the codewords: two columns at a time from the right, up and down in turn."""
    size = len(dark)
    bits = iter([word >> at & 1 for word in codewords for at in range(7, -1, -1)])
    upward = True
    for right in range(size - 1, 0, -2):
        # The column of the timing pattern is left out.
        column = right if right > 6 else right - 1
        for row in range(size - 1, -1, -1) if upward else range(size):
            for at in (column, column - 1):
                if not fixed[row][at]:
                    dark[row][at] = bool(next(bits, 0))
        upward = not upward


def _format(code: Matrix, mask: int) -> None:
    """Write the level (M is 0) and the mask, twice."""
    rest = mask
    for _ in range(10):
        rest = rest << 1 ^ (rest >> 9) * 0x537
    bits, size = (mask << 10 | rest) ^ 0x5412, len(code)
    for at in range(15):
        bit = bool(bits >> at & 1)
        # Beside the first finder, where the timing patterns are left out.
        if at < 8:
            code[at if at < 6 else at + 1][8] = bit
            code[8][size - 1 - at] = bit
        else:
            code[8][15 - at if at < 9 else 14 - at] = bit
            code[size - 15 + at][8] = bit


def penalty(code: Matrix) -> int:
    """How hard a code is to read: the mask with the lowest value is used."""
    size, total = len(code), 0
    for lines in (code, [list(column) for column in zip(*code, strict=True)]):
        for line in lines:
            run = 1
            for before, here in zip(line, [*line[1:], None], strict=True):
                if before == here:
                    run += 1
                    continue
                total += run - 2 if run > 4 else 0
                run = 1
            total += 40 * sum(tuple(line[at : at + 11]) in _FINDER for at in range(size - 10))
    for row in range(size - 1):
        for column in range(size - 1):
            block = {code[row][column], code[row][column + 1], code[row + 1][column], code[row + 1][column + 1]}
            total += 3 if len(block) == 1 else 0
    share = sum(map(sum, code)) * 100 / (size * size)
    return total + int(abs(share - 50) / 5) * 10
