"""Access numbers, and what is dialled on them: taken apart rightly, or answered, never shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st
from moneyed import USD

import cardbill
from cardbill import (
    AccessKind,
    AccessNumber,
    Asks,
    Caller,
    Denied,
    DialPlan,
    Grant,
    Keyring,
    NumberCheck,
    Plan,
    Stage,
)
from cardbill.access import plain_access
from cardbill.catalogueitems import ACCESS, decode, encode
from cardbill.dialled import Dialled, join, parse
from cardbill.errors import InvalidInput, MissingFields, UnknownName
from tests.building import STORES, UK, UK_E164, Shop, open_shop

TOLL_FREE = "+1 800 555-1234"
BRITISH = DialPlan(country_code="44", international_prefix="00", national_prefix="0")

# What a PIN may hold where dialled strings are used: visible, neither * nor #.
VISIBLE = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in "*#"]
pins = st.text("0123456789", min_size=4, max_size=20) | st.text(VISIBLE, min_size=4, max_size=32)
numbers = st.text("0123456789", min_size=1, max_size=20) | st.text("+0123456789 -", max_size=20)
lengths = st.none() | st.integers(4, 20)


def access(**terms: Any) -> AccessNumber:
    return AccessNumber(**{"number": TOLL_FREE, "stage": "one", **terms})


# -- the class ------------------------------------------------------------------------------


def test_what_is_not_told_is_the_plainest_access_number():
    made = AccessNumber(number="1234")
    assert (made.number, made.stage, made.language) == ("1234", Stage.TWO, "en")
    assert (made.dial_plan, made.pin_length) == (None, None)
    assert (made.kind, made.credential) == (AccessKind.LOCAL, Asks.PIN)


@pytest.mark.parametrize("written", ["+18005551234", "1 800 555 1234", "+1 (800) 555-1234"])
def test_a_number_is_its_digits_however_it_is_written(written: str):
    assert AccessNumber(number=written) == AccessNumber(number="18005551234")


@pytest.mark.parametrize("number", ["", None])
def test_a_number_must_be_given(number: Any):
    with pytest.raises(MissingFields) as refused:
        AccessNumber(number=number)
    assert refused.value.fields == ("number",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "help"),
        ("number", "+1٢345678"),
        ("number", 18005551234),
        ("number", "1234567890123456"),
        ("stage", "three"),
        ("language", None),
        ("language", "en_US!"),
        ("dial_plan", "NANP"),
        ("pin_length", 3),
        ("pin_length", 21),
        ("pin_length", True),
        ("kind", "freephone"),
        ("credential", "password"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(field: str, value: Any):
    with pytest.raises(InvalidInput) as refused:
        access(**{field: value})
    assert refused.value.field == field


@pytest.mark.parametrize("credential", ["ani", "number+pin"])
def test_a_pin_length_is_for_pins_alone(credential: str):
    with pytest.raises(InvalidInput) as refused:
        access(pin_length=12, credential=credential)
    assert refused.value.field == "pin_length"


plans = st.none() | st.builds(
    DialPlan,
    country_code=st.sampled_from(["1", "44", "972"]),
    international_prefix=st.sampled_from(["00", "011"]),
    national_prefix=st.sampled_from(["", "0"]),
    national_lengths=st.lists(st.integers(1, 15), max_size=3).map(tuple),
    shortest=st.integers(1, 15),
    other_international_prefixes=st.sampled_from([(), ("0011",), ("0015", "001")]),
    other_national_prefixes=st.sampled_from([(), ("8", "18")]),
    check=st.sampled_from(NumberCheck),
)


@given(
    st.builds(
        AccessNumber,
        number=st.text("0123456789", min_size=1, max_size=15),
        stage=st.sampled_from(Stage),
        language=st.sampled_from(["en", "es-419"]),
        dial_plan=plans,
        pin_length=lengths,
        kind=st.sampled_from(AccessKind),
    ),
    st.sampled_from(Asks),
)
def test_what_is_published_reads_back_as_it_was(made: AccessNumber, asks: Asks):
    other = AccessNumber(number=made.number, dial_plan=made.dial_plan, credential=asks)
    for item in (made, other):
        kind, name, content = encode(item)
        assert (kind, name) == (ACCESS, item.number)
        assert decode(kind, content) == item


# -- dialled strings ------------------------------------------------------------------------


@given(pins, numbers, lengths, st.sampled_from(["{0}*", "*", ""]), st.sampled_from(["", "#"]))
def test_what_was_joined_comes_apart_again(
    pin: str, number: str, length: int | None, begin: str, end: str
):
    """With the access number, without it, or with the star that was behind it."""
    on = access(pin_length=length)
    assume(begin != "" or plain_access(pin) != on.number)  # a PIN like it needs it in front
    whole = join(on, pin, number)
    dialled = begin.format(on.number) + whole.removeprefix(f"{on.number}*") + end
    assert parse(on, dialled) == Dialled(pin=pin, to=number)


def test_a_pin_that_equals_the_access_number_needs_it_in_front():
    on = access()
    assert parse(on, join(on, on.number, UK)) == Dialled(pin=on.number, to=UK)


@given(st.text("0123456789", min_size=4, max_size=20), numbers, st.sampled_from(["", "*", "{0}*"]))
def test_pin_digits_are_cut_where_the_access_number_says(pin: str, number: str, begin: str):
    assume("*" not in number)
    on = access(pin_length=len(pin))
    assert parse(on, begin.format(on.number) + pin + number) == Dialled(pin=pin, to=number)


@given(st.text("0123456789", min_size=5, max_size=19), pins, numbers)
def test_a_card_number_stands_before_its_pin(card_number: str, pin: str, number: str):
    on = access(credential="number+pin")
    whole = join(on, card_number, pin, number)
    assert parse(on, whole) == Dialled(card_number=card_number, pin=pin, to=number)
    if card_number != on.number:
        assert parse(on, whole.removeprefix(f"{on.number}*")) == parse(on, whole)


@given(numbers)
def test_a_pinless_string_is_the_number_alone(number: str):
    on = access(credential="ani")
    for whole in (number, join(on, number), f"*{number}", f"{number}#"):
        assert parse(on, whole) == Dialled(to=number)


@given(st.text("0123456789*#+ax ", max_size=50), lengths, st.sampled_from(Asks))
def test_whatever_is_dialled_has_an_answer_that_shows_nothing(
    dialled: str, length: int | None, asks: Asks
):
    on = access(credential=asks, pin_length=length if asks is Asks.PIN else None)
    told = parse(on, dialled)
    assert repr(told) in ("None", "Dialled()")
    if told is not None:
        assert "*" not in (told.pin or "") + (told.card_number or "") + told.to


@pytest.mark.parametrize(
    ("dialled", "told"),
    [
        ("", None),
        ("902817364551", Dialled(pin="902817364551", to="")),
        ("*902817364551*", Dialled(pin="902817364551", to="")),
        ("18005551234*902817364551", Dialled(pin="902817364551", to="")),
        ("902817364551*44*5", None),
        ("18005551234*902817364551*44*5", None),
        ("18005551235*902817364551*44", None),
        ("902817364551*44##", Dialled(pin="902817364551", to="44#")),
    ],
)
def test_strings_that_lack_something(dialled: str, told: Dialled | None):
    assert parse(access(), dialled) == told


def test_fewer_digits_than_a_pin_has_are_nobodys():
    assert parse(access(pin_length=12), "90281736455") is None
    assert parse(access(pin_length=12), "902817364551") == Dialled(pin="902817364551", to="")


# -- the engine -----------------------------------------------------------------------------


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        opened.bill.access_numbers.publish(access(language="es", pin_length=12))
        yield opened


def dial(shop: Shop, dialled: Any, call_id: str = "c1", **told: Any) -> Grant | Denied:
    return shop.bill.authorize(
        dialled=dialled, call_id=call_id, **{"access": "+18005551234", **told}
    )


def reason(answer: Any) -> str:
    assert isinstance(answer, Denied), answer
    return str(answer.reason.value)


def test_access_numbers_are_published_and_read(shop: Shop):
    numbers = shop.bill.access_numbers
    assert numbers.publish(access(language="es", pin_length=12)) == 1  # it is there already
    assert numbers.publish(access(language="fr")) == 2
    assert (numbers.names(), numbers.version("18005551234")) == (["18005551234"], 2)
    assert numbers.get("+18005551234") == numbers.get("18005551234") == access(language="fr")
    with pytest.raises(UnknownName):
        numbers.get("18005550000")
    with pytest.raises(InvalidInput, match="access"):
        numbers.publish("18005551234")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["18005551234*{0}*{1}", "{0}*{1}", "*{0}*{1}#", "{0}{1}"])
def test_one_dialled_string_makes_a_call(shop: Shop, form: str):
    whole = form.format(shop.pin(), UK)
    grant = dial(shop, whole, ani="+13055550199")
    assert isinstance(grant, Grant)
    assert grant.number == UK_E164
    again = dial(shop, whole)
    assert isinstance(again, Grant)
    assert again.replayed
    assert again.handle == grant.handle
    assert shop.bill.authorize(pin=shop.pin(), to=UK, call_id="c1").granted  # the same request
    record = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="acme")
    assert (record.number, record.hold and record.hold.ani) == (UK_E164, "+13055550199")


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("", "unknown_credential"),
        ("*", "unknown_credential"),
        ("***", "unknown_credential"),
        ("902817364551*{1}", "unknown_credential"),
        ("902817364551{1}", "unknown_credential"),
        ("{0}*{1}*5", "unknown_credential"),
        ("abc", "unknown_credential"),
        ("{0}", "invalid_number"),
        ("{0}*", "invalid_number"),
        ("{0}*12", "invalid_number"),
        ("{0}*{1}*", "unknown_credential"),
        ("{0}*01144x", "invalid_number"),
    ],
)
def test_a_string_that_cannot_be_used_is_denied(shop: Shop, form: str, why: str):
    assert reason(dial(shop, form.format(shop.pin(), UK))) == why
    assert not shop.records()


@pytest.mark.parametrize("told", ["18005551234", "+1 800 555 1234", "8005551234", "+18005551234"])
def test_an_access_number_is_known_however_the_switch_tells_it(shop: Shop, told: str):
    assert dial(shop, f"{shop.pin()}*{UK}", access=told).granted


@pytest.mark.parametrize("told", ["+18005550000", "902817364551", "", "anonymous", 18005551234])
def test_an_unknown_access_number_is_named_as_the_field_and_not_repeated(shop: Shop, told: Any):
    for ask in (
        lambda: dial(shop, f"{shop.pin()}*{UK}", access=told),
        lambda: shop.bill.authenticate(pin=shop.pin(), access=told),
        lambda: shop.bill.authorize(pin=shop.pin(), to=UK, call_id="c1", access=told),
    ):
        with pytest.raises(InvalidInput) as refused:
            ask()
        assert (refused.value.field, refused.value.value) == ("access", None)
        assert not told or str(told) not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("access", {"access": None}),
        ("dialled", {"pin": "902817364551"}),
        ("dialled", {"card_number": "88001"}),
        ("dialled", {"dialled": 5}),
        ("dialled", {"access": "5550100"}),
        ("to", {"to": UK}),
    ],
)
def test_too_little_or_too_much_beside_a_dialled_string_is_misuse(
    shop: Shop, field: str, told: dict[str, Any]
):
    shop.bill.access_numbers.publish(AccessNumber(number="5550100"))  # takes two stages
    request = {"dialled": f"{shop.pin()}*{UK}", "access": "18005551234", **told}
    with pytest.raises(InvalidInput) as refused:
        shop.bill.authorize(call_id="c1", **request)
    assert refused.value.field == field
    assert shop.pin() not in str(refused.value)


def test_a_caller_and_a_dialled_string_are_one_too_many(shop: Shop):
    caller = shop.bill.authenticate(pin=shop.pin())
    with pytest.raises(InvalidInput) as refused:
        dial(shop, f"{shop.pin()}*{UK}", caller=caller)
    assert refused.value.field == "caller"


def test_the_language_is_the_plans_or_the_access_numbers_or_english(shop: Shop):
    def heard(access: str | None = None) -> str:
        caller = shop.bill.authenticate(pin=shop.pin(), access=access)
        assert isinstance(caller, Caller)
        return caller.language

    assert (heard("18005551234"), heard()) == ("es", "en")
    shop.bill.plans.publish(Plan(name="Basic", deck="retail", currency=USD, language="pt-BR"))
    assert (heard("18005551234"), heard()) == ("pt-BR", "pt-BR")


def test_numbers_are_read_as_the_access_number_says(shop: Shop):
    """A caller on the British number dials as at home, in either stage."""
    shop.bill.access_numbers.publish(
        AccessNumber(number="+442033330000", stage="one", dial_plan=BRITISH)
    )
    pin, home = shop.pin(), "02071234567"
    assert reason(shop.bill.authorize(pin=pin, to=home, call_id="x")) == "invalid_number"
    caller = shop.bill.authenticate(pin=pin, access="+442033330000")
    assert isinstance(caller, Caller)
    assert caller.access == "442033330000"
    granted = [
        dial(shop, f"{pin}*{home}", access="442033330000"),
        shop.bill.authorize(pin=pin, to=home, call_id="c1", access="442033330000"),
        shop.bill.authorize(caller, to=home, call_id="c1"),  # the access number is remembered
        shop.bill.authorize(caller, to=UK, call_id="c1", access="18005551234"),
    ]
    assert [answer.granted and answer.number for answer in granted] == [UK_E164] * 4


def test_another_process_knows_a_new_access_number_at_once(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        other = shop.second()
        shop.bill.access_numbers.publish(access(language="fr"))
        caller = other.authenticate(pin=shop.pin(), access="18005551234")
        assert isinstance(caller, Caller)
        assert caller.language == "fr"


def test_nothing_presented_is_misuse():
    with cardbill.open("memory:", keyring=Keyring.generate()) as bill:
        with pytest.raises(InvalidInput) as refused:
            bill.authenticate()
        assert refused.value.field == "pin"
        with pytest.raises(InvalidInput) as refused:
            bill.authorize(to=UK, call_id="c1")
        assert refused.value.field == "caller"
