"""PINs are drawn fairly from all there are but the obvious ones, and are never repeated back."""

import itertools
import random
import traceback
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from cardbill.errors import FloatRefused, GuessTooLikely, InvalidInput
from cardbill.pins import (
    GUESS_LIMIT,
    MASK,
    Below,
    check_length,
    check_pin,
    check_probability,
    draw,
    guess_probability,
)


def drawing(*numbers: int) -> tuple[Below, Iterator[int]]:
    """A source that answers with these numbers, and what it has left."""
    left = iter(numbers)
    return (lambda _limit: next(left)), left


# -- drawing --------------------------------------------------------------------------------


def test_leading_zeros_are_kept():
    assert draw(12, lambda _limit: 7) == "000000000007"
    assert draw(8, lambda _limit: 0o17) == "00000015"


def test_the_whole_space_is_drawn_from():
    asked: list[int] = []

    def below(limit: int) -> int:
        asked.append(limit)
        return limit - 2

    assert draw(12, below) == "999999999998"
    assert draw(20, below) == "9" * 19 + "8"
    assert asked == [10**12, 10**20]


@pytest.mark.parametrize(
    "obvious",
    [
        "000000000000",
        "111111111111",
        "999999999999",
        "012345678901",
        "123456789012",
        "890123456789",
        "987654321098",
        "210987654321",
        "098765432109",
    ],
)
def test_what_people_try_first_is_drawn_again(obvious: str):
    below, left = drawing(int(obvious), int(obvious), 271_828_182_845, 1)
    assert draw(12, below) == "271828182845"
    assert list(left) == [1]


@pytest.mark.parametrize(
    "plain", ["000000000001", "121212121212", "135791357913", "011111111111", "123456789013"]
)
def test_nothing_less_obvious_is_lost(plain: str):
    assert draw(12, lambda _limit: int(plain)) == plain


def test_of_all_pins_of_a_length_just_30_are_too_obvious():
    lost = []
    for number in range(10**5):
        below, left = drawing(number, 31_415)
        if draw(5, below) != f"{number:05d}":
            lost.append(number)
            assert not list(left)
    assert len(lost) == 30
    assert {11_111, 12_345, 54_321, 0, 90_123, 10_987} <= set(lost)


def test_each_digit_is_as_likely_as_any_other_at_each_place():
    source = random.Random(20_240_601)
    drawn = [draw(12, source.randrange) for _ in range(20_000)]
    assert len(set(drawn)) == len(drawn)
    assert {len(pin) for pin in drawn} == {12}
    for place in range(12):
        counts = Counter(pin[place] for pin in drawn)
        expected = len(drawn) / 10
        squares = sum((counts[digit] - expected) ** 2 for digit in "0123456789") / expected
        assert squares < 33.7, (place, counts)  # chi-square, 9 degrees: 1 in 10,000
    pairs = Counter(a + b for pin in drawn for a, b in itertools.pairwise(pin))
    expected = 11 * len(drawn) / 100
    squares = sum((pairs[f"{pair:02d}"] - expected) ** 2 for pair in range(100)) / expected
    assert squares < 165, pairs  # 99 degrees: under 1 in 10,000 (neighbours overlap)


# -- what a caller or a file gives ----------------------------------------------------------


@pytest.mark.parametrize(
    "pin",
    [
        "1234",
        "0000",
        "1234567891234",
        "000000000007",
        "1" * 32,
        "!!!!",
        "~~~~",
        "aB3$",
        "=1+1+cmd",
        "'--;",
        "1.23E+11",
        "*123#",
        "\\\\\\\\",
    ],
)
def test_a_pin_of_visible_ascii_is_kept_exactly(pin: str):
    assert check_pin(pin) == pin


@pytest.mark.parametrize(
    "pin",
    [
        "",
        "123",
        "1" * 33,
        "1" * 100_000,
        " 123456",
        "123456 ",
        "1234 5678",
        "12345678\n",
        "\n12345678",
        "12345678\r\n",
        "12345678\t",
        "12345678\0",
        "12345678\x7f",
        "1234567²",
        "١٢٣٤٥٦٧٨",
        "१२३४५६७८",
        "\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
        "①②③④⑤⑥⑦⑧",
        "1234567\u00a0",
        "\ufeff12345678",
        "1234\u200b5678",
        "passwörter",
        "1234\ud800",
        None,
        12345678,
        12345678.0,
        b"12345678",
        ["1", "2", "3", "4"],
    ],
)
def test_what_could_be_no_pin_is_refused_and_never_repeated(pin: object):
    with pytest.raises(InvalidInput) as caught:
        check_pin(pin)
    error = caught.value
    assert error.field == "pin"
    assert error.value is None
    assert error.__cause__ is None
    assert error.__context__ is None
    told = str(error) + repr(error) + "".join(traceback.format_exception_only(error))
    if isinstance(pin, str) and len(pin) > 3:
        assert pin[:8] not in told
        assert pin.strip()[:8] not in told


@given(st.text(max_size=40) | st.text("0123456789 \n²", max_size=40))
def test_a_pin_is_4_to_32_visible_ascii_characters(text: str):
    fits = 4 <= len(text) <= 32 and all(0x21 <= ord(character) <= 0x7E for character in text)
    try:
        assert check_pin(text) == text
    except InvalidInput:
        assert not fits
    else:
        assert fits


def test_the_mask_says_nothing_of_a_pin():
    assert set(MASK) == {"*"}


# -- how likely a guess is ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "length", "chance"),
    [
        (10**6, 12, Fraction(1, 10**6)),
        (10**7, 12, Fraction(1, 10**5)),
        (0, 12, Fraction(0)),
        (10**8, 8, Fraction(1)),
        (1, 20, Fraction(1, 10**20)),
        (3, 8, Fraction(3, 10**8)),
    ],
)
def test_the_chance_of_a_guess_is_exact(live: int, length: int, chance: Fraction):
    assert guess_probability(live, length) == chance


def test_as_many_pins_as_the_limit_allows_are_made_and_not_one_more():
    assert guess_probability(10**7, 12) == guess_probability(1_000, 8) == GUESS_LIMIT
    check_probability(GUESS_LIMIT)
    for one_more in (guess_probability(10**7 + 1, 12), guess_probability(1_001, 8)):
        with pytest.raises(GuessTooLikely):
            check_probability(one_more)


@pytest.mark.parametrize(
    "limit", [Fraction(1, 10_000), Decimal("0.0001"), "1/10000", "0.0001", "1e-4"]
)
def test_another_limit_counts_exactly_however_it_is_written(limit: object):
    check_probability(guess_probability(10**8, 12), limit)
    with pytest.raises(GuessTooLikely, match="use longer PINs"):
        check_probability(guess_probability(10**8 + 1, 12), limit)


def test_the_refusal_tells_both_chances():
    with pytest.raises(GuessTooLikely) as caught:
        check_probability(guess_probability(20_000_000, 12))
    assert "one guess in 50,000" in str(caught.value)
    assert "one in 100,000" in str(caught.value)


def test_a_float_limit_is_refused():
    with pytest.raises(FloatRefused):
        check_probability(Fraction(0), 0.00001)


@pytest.mark.parametrize(
    "limit",
    ["", "often", "1/0", "nan", "inf", Decimal("NaN"), Decimal("Infinity"), None, [1], True],
)
def test_a_limit_that_is_no_number_is_refused_by_name(limit: object):
    with pytest.raises(InvalidInput) as caught:
        check_probability(Fraction(0), limit)
    assert caught.value.field == "max_guess_probability"


def test_a_limit_of_nothing_allows_nothing():
    with pytest.raises(GuessTooLikely):
        check_probability(guess_probability(1, 20), 0)


# -- lengths --------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(8, 21))
def test_a_generated_pin_has_8_to_20_digits(length: int):
    assert check_length("pin_length", length) == length


@pytest.mark.parametrize("length", [7, 21, 0, -12, 4, True, "12", 12.0, Decimal(12), None])
def test_any_other_length_is_refused_by_name(length: object):
    with pytest.raises(InvalidInput) as caught:
        check_length("pin_length", length)
    assert caught.value.field == "pin_length"
