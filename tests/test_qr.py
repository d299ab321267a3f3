"""QR codes: compared with a known one, and read back module by module."""

from __future__ import annotations

import pytest

from byway.ui import qr

#: `h` fourteen times, in version 1: the same modules as those of another encoder (segno 1.6.6, seen 2026-11-30).
KNOWN = (
    "#######.#.#.#.#######",
    "#.....#...###.#.....#",
    "#.###.#.##.#..#.###.#",
    "#.###.#..#.#..#.###.#",
    "#.###.#....##.#.###.#",
    "#.....#.##....#.....#",
    "#######.#.#.#.#######",
    ".........##..........",
    "#.#...##.#.#...#..#.#",
    "####...##.#.#.#.#.#.#",
    ".#.######.#.###.###.#",
    "..#.#..#.#...#...#...",
    ".#..###.#.##.#.#.#.#.",
    "........#...#.#.#.#.#",
    "#######.###.###.###.#",
    "#.....#..##..#...#..#",
    "#.###.#...##.#.#.#...",
    "#.###.#...#.#.#.#.#..",
    "#.###.#.#...###.#####",
    "#.....#......#...#...",
    "#######.#..#.#.#.#..#",
)


def test_a_code_is_that_of_another_encoder() -> None:
    assert ["".join("#" if dark else "." for dark in row) for row in qr.qr_code("h" * 14)] == list(KNOWN)


def read(code: qr.Matrix) -> bytes:
    """The text of a code: the format gives the mask, then blocks are separated and their correction is checked."""
    size = len(code)
    version = (size - 17) // 4
    format_bits = 0
    for at in range(8):
        format_bits |= code[at if at < 6 else at + 1][8] << at
    for at in range(8, 15):
        format_bits |= code[8][15 - at if at < 9 else 14 - at] << at
    mask = (format_bits ^ 0x5412) >> 10
    assert mask < 8, "the level is M"
    _, fixed = qr._patterns(version)
    bits = []
    columns = [column if column > 6 else column - 1 for column in range(size - 1, 0, -2)]
    for number, column in enumerate(columns):
        for row in range(size - 1, -1, -1) if number % 2 == 0 else range(size):
            for at in (column, column - 1):
                if not fixed[row][at]:
                    bits.append(code[row][at] ^ qr._MASKS[mask](row, at))
    words = [
        sum(bit << 7 - at for at, bit in enumerate(bits[start : start + 8])) for start in range(0, len(bits) - 7, 8)
    ]
    blocks, degree = qr._BLOCKS[version - 1], qr._CORRECTION[version - 1]
    data = len(words) - blocks * degree
    pieces: list[list[int]] = [[] for _ in range(blocks)]
    short = data // blocks
    for at in range(short * blocks):
        pieces[at % blocks].append(words[at])
    for at in range(data % blocks):
        pieces[blocks - data % blocks + at].append(words[short * blocks + at])
    message = [word for piece in pieces for word in piece]
    for block, piece in enumerate(pieces):
        whole = [*piece, *words[data + block :: blocks]]
        assert len(whole) == len(piece) + degree
        for power in range(degree):
            value = 0
            for word in whole:
                value = qr.multiply(value, qr._EXP[power]) ^ word
            assert value == 0, "every syndrome is 0"
    stream = "".join(f"{word:08b}" for word in message)
    assert stream[:4] == "0100"
    count = 8 if version < 10 else 16
    length = int(stream[4 : 4 + count], 2)
    start = 4 + count
    return bytes(int(stream[at : at + 8], 2) for at in range(start, start + 8 * length, 8))


@pytest.mark.parametrize("size", [1, 14, 15, 62, 84, 106, 122, 152, 180, 181, 213, 251, 287, 331, 362, 412])
def test_a_code_is_read_back(size: int) -> None:
    text = ("http://192.168.1.20:38080/login?token=" + "Ab1-_." * 70)[:size]
    assert read(qr.qr_code(text)) == text.encode()


def test_text_beyond_ascii_is_its_bytes() -> None:
    assert read(qr.qr_code("grüße ✓")) == "grüße ✓".encode()


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        qr.qr_code("x" * 413)


def test_the_path_has_every_dark_module_and_a_margin() -> None:
    size, path = qr.qr_path("h" * 14)
    assert size == 21 + 8
    dark = 0
    for run in path.split("M")[1:]:
        place, _, rest = run.partition("h")
        column, row = map(int, place.split())
        assert 4 <= column < 25 and 4 <= row < 25
        dark += int(rest.partition("v")[0])
    assert dark == sum(row.count("#") for row in KNOWN)
