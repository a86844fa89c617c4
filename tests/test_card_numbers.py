"""Printed card numbers with short PINs, and check digits."""

import csv
import io
import random
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import USD, Money

from cardbill import AccessNumber, Batch, Caller, Denied, Engine, Grant, luhn
from cardbill.cardnumbers import CardNumbers
from cardbill.errors import DuplicateName, GuessTooLikely, InvalidInput, UploadRefused
from cardbill.pins import draw
from tests.building import STORES, UK, KnownNumbers, Shop, open_shop
from tests.test_races import crowd, threads_take_turns_all_the_time  # noqa: F401  # autouse

digits = st.text("0123456789", min_size=1, max_size=30)


# -- Luhn -----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["79927398713", "4111111111111111", "5500005555555559", "0"])
def test_numbers_that_everybody_knows_pass(known: str):
    assert luhn.passes(known)
    assert luhn.check_digit(known[:-1]) == known[-1]


@given(digits, st.data())
def test_every_single_wrong_digit_is_caught(number: str, data: st.DataObject):
    whole = number + luhn.check_digit(number)
    assert luhn.passes(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    wrong = data.draw(st.sampled_from([d for d in "0123456789" if d != whole[place]]))
    assert not luhn.passes(whole[:place] + wrong + whole[place + 1 :])


@given(digits)
def test_neighbours_exchanged_are_caught_unless_they_are_0_and_9(number: str):
    whole = number + luhn.check_digit(number)
    for place, (left, right) in enumerate(pairwise(whole)):
        swapped = whole[:place] + right + left + whole[place + 2 :]
        unseen = left == right or {left, right} == {"0", "9"}
        assert luhn.passes(swapped) == unseen


@given(st.integers(4, 20), st.integers())
def test_a_pin_with_a_check_digit_passes_and_the_rest_is_drawn(length: int, seed: int):
    pin = draw(length, random.Random(seed).randrange, checked=True)
    assert len(pin) == length
    assert luhn.passes(pin)


def test_obvious_pins_are_drawn_again_with_a_check_digit_too():
    waiting = KnownNumbers([0, 9017])  # 0000 and its check digit 0
    assert draw(5, waiting, checked=True) == "90175"
    assert len(waiting.drawn) == 2


def test_a_batch_of_checked_pins(tmp_path: Path):
    with open_shop("memory", tmp_path, quantity=200, batch={"pin_luhn": True}) as shop:
        pins = [shop.pin(serial) for serial in range(1, 201)]
        assert all(len(pin) == 12 and luhn.passes(pin) for pin in pins)
        assert len({pin[-1] for pin in pins}) == 10
        assert shop.bill.batches.guess_probability("B") == Fraction(200, 10**11)


def test_a_check_digit_makes_guessing_ten_times_easier(tmp_path: Path):
    with open_shop("memory", tmp_path, quantity=1) as shop:

        def batch(name: str, quantity: int, **terms: Any) -> None:
            terms = {"face_value": Money(5, USD), "pin_length": 8, **terms}
            shop.bill.batches.create(Batch(name=name, quantity=quantity, **terms))

        batch("L", 90, pin_luhn=True)
        batch("P", 100)
        batch("Q", 1)
        shop.bill.batches.generate_pins("L")
        assert shop.bill.batches.guess_probability("P") == Fraction(10 * 90 + 100, 10**8)
        shop.bill.batches.generate_pins("P")
        with pytest.raises(GuessTooLikely, match="one guess in 99,900 would hit a live PIN"):
            shop.bill.batches.generate_pins("Q")
        with pytest.raises(GuessTooLikely):
            shop.bill.batches.upload_pins("Q", io.StringIO("PIN\n40917263\n"))


# -- card numbers ---------------------------------------------------------------------------


@given(st.text("0123456789", min_size=1, max_size=10), st.integers(1, 9_999), st.data())
def test_a_number_is_prefix_serial_and_check_digit(prefix: str, quantity: int, data: Any):
    numbers = CardNumbers(prefix=prefix, quantity=quantity)
    serial = data.draw(st.integers(1, quantity))
    number = numbers.number(serial)
    assert number.startswith(prefix)
    assert len(number) == numbers.length
    assert int(number[len(prefix) : -1]) == serial
    assert luhn.passes(number)
    first, last = numbers.span
    assert first <= int(number[:-1]) <= last


@given(
    st.lists(st.tuples(st.text("089", min_size=1, max_size=4), st.integers(1, 120)), max_size=2,
             min_size=2)
)  # fmt: skip
def test_spans_overlap_just_where_numbers_do(terms: list[tuple[str, int]]):
    one, other = (CardNumbers(prefix=prefix, quantity=quantity) for prefix, quantity in terms)
    shared = {one.number(serial) for serial in range(1, one.quantity + 1)} & {
        other.number(serial) for serial in range(1, other.quantity + 1)
    }
    (begin, end), (first, last) = one.span, other.span
    assert bool(shared) == (one.length == other.length and begin <= last and first <= end)


def batch(name: str = "N", **terms: Any) -> Batch:
    face = Money(5, USD)
    terms = {"quantity": 20, "pin_length": 4, "card_numbers": "88001", "plan": "Basic", **terms}
    return Batch(name=name, face_value=face, **terms)


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("card_numbers", {"card_numbers": ""}),
        ("card_numbers", {"card_numbers": "88-01"}),
        ("card_numbers", {"card_numbers": "٨٨"}),
        ("card_numbers", {"card_numbers": 88001}),
        ("card_numbers", {"card_numbers": "1" * 17}),
        ("pin_length", {"pin_length": 3}),
        ("pin_length", {"pin_length": 21}),
        ("pin_length", {"card_numbers": None}),
        ("pin_luhn", {"pin_luhn": "yes"}),
    ],
)
def test_terms_that_cannot_be_used_are_named(field: str, terms: dict[str, Any]):
    with pytest.raises(InvalidInput) as refused:
        batch(**terms)
    assert refused.value.field == field


def test_the_longest_prefix_fits():
    made = batch(card_numbers="1" * 16)
    assert made.numbering is not None
    assert made.numbering.length == 19


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        opened.bill.batches.create(batch())
        opened.bill.batches.generate_pins("N", max_guess_probability="0.0001")
        yield opened


def number(serial: int = 1) -> str:
    return CardNumbers(prefix="88001", quantity=20).number(serial)


def pin(shop: Shop, serial: int = 1) -> str:
    return shop.bill.batches.reveal(f"N/{serial}", actor="ann", reason="test")


def reason(answer: Any) -> str:
    assert isinstance(answer, Denied), answer
    return str(answer.reason.value)


def test_a_card_number_and_its_pin_open_the_card(shop: Shop):
    caller = shop.bill.authenticate(card_number=number(), pin=pin(shop), ani="+13055550199")
    assert isinstance(caller, Caller)
    assert (caller.card_id, caller.credential[0]) == ("N/1", "number+pin")
    assert shop.bill.authorize(caller, to=UK, call_id="c1").granted
    again = shop.bill.authorize(card_number=number(), pin=pin(shop), to=UK, call_id="c1")
    assert isinstance(again, Grant)
    assert again.replayed
    shop.check_books()


def test_a_card_number_is_read_as_it_is_printed(shop: Shop):
    spaced = f"{number()[:4]} {number()[4:6]}-{number()[6:]}"
    assert shop.bill.authenticate(card_number=spaced, pin=pin(shop)).authenticated


def test_one_without_the_other_opens_nothing(shop: Shop):
    of_two = next(s for s in range(2, 21) if pin(shop, s) != pin(shop, 1))
    wrong: list[dict[str, Any]] = [
        {"pin": pin(shop)},
        {"pin": f"{number()}{pin(shop)}"},
        {"pin": f"{number()}|{pin(shop)}"},
        {"card_number": number(), "pin": pin(shop, of_two)},
        {"card_number": number(of_two), "pin": pin(shop)},
        {"card_number": number()[:-1], "pin": pin(shop)},
        {"card_number": "9" * 20, "pin": pin(shop)},
        {"card_number": "N/1", "pin": pin(shop)},
        {"card_number": number(), "pin": ""},
        {"card_number": number(), "pin": shop.pin()},
    ]
    for keyed in wrong:
        assert reason(shop.bill.authenticate(**keyed)) == "unknown_credential", keyed


def test_a_pin_alone_is_no_pin_of_a_card_number(shop: Shop):
    """Equal digits of two kinds never meet."""
    assert shop.bill.authenticate(pin=shop.pin()).authenticated
    denied = shop.bill.authenticate(card_number="", pin=shop.pin())
    assert reason(denied) == "unknown_credential"


@pytest.mark.parametrize(
    ("field", "keyed"),
    [("pin", {"card_number": "88001017"}), ("card_number", {"card_number": 88001, "pin": "4711"})],
)
def test_what_no_caller_can_key_is_misuse(shop: Shop, field: str, keyed: dict[str, Any]):
    with pytest.raises(InvalidInput) as refused:
        shop.bill.authenticate(**keyed)
    assert (refused.value.field, refused.value.value) == (field, None)


def test_number_and_pin_in_one_dialled_string(shop: Shop):
    shop.bill.access_numbers.publish(
        AccessNumber(number="18005551234", stage="one", credential="number+pin")
    )
    for whole in (f"{number()}*{pin(shop)}*{UK}#", f"18005551234*{number()}*{pin(shop)}*{UK}"):
        assert shop.bill.authorize(dialled=whole, access="18005551234", call_id="c1").granted


def test_short_pins_may_be_alike_and_still_open_their_own_cards(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        shop.bill.batches.create(batch(quantity=300))
        shop.bill.batches.generate_pins("N", max_guess_probability="0.0001")
        numbers = CardNumbers(prefix="88001", quantity=300)
        pins = Counter(pin(shop, serial) for serial in range(1, 301))
        assert max(pins.values()) > 1  # 300 of 10,000: some are alike
        for serial in range(1, 301):
            caller = shop.bill.authenticate(
                card_number=numbers.number(serial), pin=pin(shop, serial)
            )
            assert isinstance(caller, Caller)
            assert caller.card_id == f"N/{serial}"
        shop.check_books()


def test_pins_are_uploaded_for_card_numbers_too(shop: Shop):
    shop.bill.batches.create(batch("U", quantity=2, card_numbers="88002"))
    file = "PIN\n4711\n4711\n"  # alike: each is good with its own number only
    with pytest.raises(GuessTooLikely, match="one guess in 10,000 would hit the PIN of a given"):
        shop.bill.batches.upload_pins("U", io.StringIO(file))
    made = shop.bill.batches.upload_pins("U", io.StringIO(file), max_guess_probability="0.0001")
    assert made.guess_probability == Fraction(1, 10_000)
    numbers = CardNumbers(prefix="88002", quantity=2)
    for serial in (1, 2):
        caller = shop.bill.authenticate(card_number=numbers.number(serial), pin="4711")
        assert isinstance(caller, Caller)
        assert caller.card_id == f"U/{serial}"


def test_uploaded_pins_alone_must_still_differ(shop: Shop):
    shop.bill.batches.create(batch("U", quantity=2, card_numbers=None, pin_length=8))
    with pytest.raises(UploadRefused):
        shop.bill.batches.upload_pins("U", io.StringIO("PIN\n40917263\n40917263\n"))


@pytest.mark.parametrize(
    ("terms", "chance"),
    [
        ({"pin_length": 4}, Fraction(1, 10**4)),
        ({"pin_length": 6}, Fraction(1, 10**6)),
        ({"pin_length": 6, "pin_luhn": True}, Fraction(1, 10**5)),
        ({"pin_length": 12, "quantity": 9}, Fraction(1, 10**12)),
    ],
)
def test_a_guess_is_at_one_card_number(shop: Shop, terms: dict[str, Any], chance: Fraction):
    """How many cards there are does not matter, to them or to PINs that stand alone."""
    shop.bill.batches.create(batch("G", card_numbers="88003", **terms))
    assert shop.bill.batches.guess_probability("G") == chance
    if chance > Fraction(1, 10**5):
        with pytest.raises(GuessTooLikely, match="the PIN of a given card number"):
            shop.bill.batches.generate_pins("G")
    else:
        assert shop.bill.batches.generate_pins("G").guess_probability == chance
    assert shop.bill.batches.guess_probability("B") == Fraction(3, 10**12)
    shop.bill.batches.create(
        batch("P", quantity=1, card_numbers=None, pin_length=max(8, terms["pin_length"]))
    )
    file = f"PIN\n{'90175':0<{max(8, terms['pin_length'])}}\n"
    made = shop.bill.batches.upload_pins("P", io.StringIO(file), dry_run=True)
    assert made.guess_probability in (Fraction(1, 10**8), Fraction(4, 10**12))


@pytest.mark.parametrize(
    ("prefix", "quantity"), [("88001", 20), ("88001", 10), ("8800", 199), ("880", 1_020)]
)
def test_numbers_of_another_batch_are_refused_by_name(shop: Shop, prefix: str, quantity: int):
    with pytest.raises(InvalidInput, match="those of batch 'N'") as refused:
        shop.bill.batches.create(batch("M", card_numbers=prefix, quantity=quantity))
    assert (refused.value.field, refused.value.value) == ("card_numbers", prefix)
    assert shop.bill.batches.names() == ["B", "N"]


@pytest.mark.parametrize(
    ("prefix", "quantity"),
    [("88002", 20), ("88001", 9), ("88001", 100), ("8800", 100), ("088001", 9), ("8801", 100)],
)
def test_numbers_that_are_nobodys_are_taken(shop: Shop, prefix: str, quantity: int):
    shop.bill.batches.create(batch("M", card_numbers=prefix, quantity=quantity))
    assert "M" in shop.bill.batches.names()


def test_a_batch_that_was_not_created_gives_its_numbers_up(shop: Shop):
    with pytest.raises(DuplicateName):
        shop.bill.batches.create(batch("N", card_numbers="99"))
    shop.bill.batches.create(batch("M", card_numbers="99"))

    class Broken(Exception):
        pass

    def fail(*_: Any, **__: Any) -> None:
        raise Broken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.bill._shelf, "publish", fail)
        with pytest.raises(Broken):
            shop.bill.batches.create(batch("L", card_numbers="77"))
        with pytest.raises(Broken):
            shop.bill.batches.create(batch("J", card_numbers="76"))
    shop.bill.batches.create(batch("L", card_numbers="78"))
    shop.bill.batches.create(batch("K", card_numbers="77"))
    with pytest.raises(InvalidInput, match="those of batch 'J'"):
        shop.bill.batches.create(batch("H", card_numbers="76"))
    shop.bill.batches.create(batch("J", card_numbers="76"))  # asked for again


def test_who_comes_second_to_the_numbers_does_not_get_them(shop: Shop):
    """Another batch is created between looking and taking."""
    publish, waiting = shop.bill.storage.publish, ["now"]

    def interrupted(kind: str, *args: Any, **options: Any) -> Any:
        if kind == "numbering" and waiting:
            waiting.clear()
            shop.bill.batches.create(batch("M", card_numbers="77"))
        return publish(kind, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.bill.storage, "publish", interrupted)
        with pytest.raises(InvalidInput, match="those of batch 'M'"):
            shop.bill.batches.create(batch("L", card_numbers="77"))
        assert not waiting
    assert shop.bill.batches.names() == ["B", "M", "N"]


@pytest.mark.parametrize("kind", STORES)
def test_of_batches_created_at_once_one_gets_the_numbers(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop, crowd(16) as many:
        engines: list[Engine] = [shop.bill, shop.second()]
        for turn in range(10):
            answers = many.rush(
                lambda each, turn=turn: engines[each % 2].batches.create(
                    batch(f"R{turn}-{each}", card_numbers=f"9{turn}")
                )
            )
            assert answers.count(None) == 1
            assert {type(answer) for answer in answers} == {type(None), InvalidInput}


def test_the_export_tells_the_printer_number_and_pin(shop: Shop):
    file = io.StringIO()
    shop.bill.batches.export("N", file, with_pins=True, actor="ann", reason="print")
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [(row["card_number"], row["number"]) for row in rows] == [
        (number(serial), pin(shop, serial)) for serial in range(1, 21)
    ]
    (first,) = shop.bill.batches.pins("N", limit=1)
    assert first.card_number == number(1)
    (plain,) = shop.bill.batches.pins("B", limit=1)
    assert plain.card_number is None


def test_the_audit_sees_a_pin_that_opens_another_card(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        shop.bill.batches.create(batch())
        shop.bill.batches.generate_pins("N", max_guess_probability="0.0001")
        shop.check_books()
        (row,) = shop.bill.storage.credentials(["N/1"], "number+pin")
        assert shop.bill.storage.bind(row._replace(card="N/2"), expected="N/1")
        assert len(shop.bill.audit().problems) == 3  # both cards, and the sealed copy
