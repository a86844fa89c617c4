"""Callers' numbers: which may be registered, who confirms them, and one number opens one card."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from cardbill import NORTH_AMERICA, AccessNumber, Caller, Denied, Grant
from cardbill.callerid import registrable
from cardbill.keyring import ANI
from tests.building import UK, UK_E164, Shop, open_shop
from tests.registering import (
    BRITISH,
    OTHER,
    PHONE,
    PINLESS,
    caller,
    change_plan,
    numbers,
    owner,
    said,
    void,
)
from tests.test_races import crowd, threads_take_turns_all_the_time  # noqa: F401  # autouse


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(kind, tmp_path, plan=PINLESS, batch={"expires_days_after_first_use": 3}) as it:
        yield it


# -- which numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("ani", ["3055551234", "13055551234", "+13055551234", "+1 (305) 555-1234"])
def test_a_number_is_one_however_it_is_told(ani: str):
    assert registrable(ani, NORTH_AMERICA) == "13055551234"


@pytest.mark.parametrize(
    "ani",
    [
        None,
        "",
        "anonymous",
        "Restricted",
        "+266696687",  # ANONYMOUS on the keys of a telephone
        "7378742833",  # RESTRICTED
        "101",
        "555012",
        "0000000000",
        "+1",
        "305555123x",
        "٣٠٥٥٥٥١٢٣٤",
        "+123456789012345678",
        3055551234,
    ],
)
def test_what_stands_for_no_one_caller_is_no_credential(ani: Any, tmp_path: Path):
    assert registrable(ani, NORTH_AMERICA) is None
    with open_shop("memory", tmp_path, plan=PINLESS) as shop:
        assert said(shop.bill.callers.register(caller(shop, ani=ani))) == "no_number"
        if ani is not None:
            answer = shop.bill.callers.register("B/1", ani, confirm=True)
            assert said(answer) == "no_number"
            assert owner(shop, ani) is None
            assert not shop.bill.callers.unregister("B/1", ani)
        assert numbers(shop) == []


@given(st.text(max_size=25) | st.text("+0123456789 -.()", max_size=25))
def test_whatever_a_network_sends_has_an_answer(ani: str):
    number = registrable(ani, NORTH_AMERICA)
    assert number is None or registrable(f"+{number}", NORTH_AMERICA) == number


def test_internal_numbers_are_short_of_a_number():
    assert registrable("123456", BRITISH) is None  # with its country code it would be long enough
    assert registrable("02071234567", BRITISH) == UK_E164


# -- registering ----------------------------------------------------------------------------


def test_a_caller_registers_the_number_he_calls_from(shop: Shop):
    assert owner(shop) is None
    assert said(shop.bill.callers.register(caller(shop))) == "registered"
    assert owner(shop) == "B/1"
    assert numbers(shop) == [("13055550199", True)]
    for told in ("3055550199", "13055550199", "+1 305 555 0199"):
        assert owner(shop, told) == "B/1"
    assert owner(shop, OTHER) is None


def test_a_call_without_a_pin(shop: Shop):
    shop.bill.callers.register(caller(shop))
    grant = shop.bill.authorize(ani="3055550199", to=UK, call_id="c1")
    assert isinstance(grant, Grant)
    assert shop.bill.authorize(pin=shop.pin(), to=UK, call_id="c1").granted  # the same request
    known = shop.bill.authenticate(ani=PHONE)
    assert shop.bill.authorize(known, to=UK, call_id="c1").granted
    record = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="acme")
    assert record.card_id == "B/1"
    unknown = shop.bill.authorize(ani=OTHER, to=UK, call_id="c2")
    assert isinstance(unknown, Denied)
    assert unknown.reason.value == "unknown_credential"
    shop.check_books()


def test_a_pinless_access_number_takes_the_number_alone(shop: Shop):
    shop.bill.access_numbers.publish(
        AccessNumber(number="18005551234", stage="one", credential="ani")
    )
    shop.bill.callers.register(caller(shop))

    def dial(ani: str | None) -> Grant | Denied:
        return shop.bill.authorize(dialled=UK, ani=ani, access="18005551234", call_id="c1")

    assert dial(PHONE).granted
    for withheld in (None, "", "anonymous", OTHER):
        answer = dial(withheld)
        assert isinstance(answer, Denied)
        assert answer.reason.value == "unknown_credential"
    denied = shop.bill.authenticate(access="18005551234")
    assert isinstance(denied, Denied)


def test_asking_again_changes_nothing(shop: Shop):
    shop.bill.callers.register(caller(shop))
    before = shop.stored("B/1")
    assert said(shop.bill.callers.register(caller(shop))) == "registered"
    assert said(shop.bill.callers.confirm(caller(shop))) == "registered"
    assert said(shop.bill.callers.register("B/1", PHONE)) == "registered"
    assert shop.stored("B/1") == before
    assert shop.stored("B/1").version == before.version


def test_pinless_is_off_unless_the_plan_offers_it(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        assert said(shop.bill.callers.register(caller(shop))) == "not_offered"
        assert said(shop.bill.callers.register("B/1", PHONE, confirm=True)) == "not_offered"
        assert owner(shop) is None


def test_a_card_has_as_many_numbers_as_its_plan_lets_it(shop: Shop):
    assert said(shop.bill.callers.register(caller(shop))) == "registered"
    assert said(shop.bill.callers.register("B/1", OTHER)) == "unconfirmed"  # it counts already
    third = "+13055550177"
    assert said(shop.bill.callers.register(caller(shop, ani=third))) == "limit_reached"
    assert owner(shop, third) is None
    assert said(shop.bill.callers.confirm("B/1", OTHER)) == "registered"
    assert said(shop.bill.callers.register(caller(shop, ani=third))) == "limit_reached"
    assert shop.bill.callers.unregister(caller(shop))
    assert said(shop.bill.callers.register(caller(shop, ani=third))) == "registered"
    assert numbers(shop) == [("13055550177", True), ("13055550188", True)]


def test_a_number_is_taken_off(shop: Shop):
    shop.bill.callers.register(caller(shop))
    assert not shop.bill.callers.unregister("B/2", PHONE)  # another card's is left alone
    assert owner(shop) == "B/1"
    assert shop.bill.callers.unregister("B/1", "3055550199")
    assert not shop.bill.callers.unregister("B/1", PHONE)
    assert owner(shop) is None
    assert shop.bill.storage.credentials(["B/1"], ANI) == []
    assert said(shop.bill.callers.register(caller(shop, 2))) == "registered"


# -- confirming -----------------------------------------------------------------------------


def test_a_number_that_nobody_called_from_waits_for_confirmation(shop: Shop):
    """Nobody can keep somebody else's number busy: it is not taken until it is confirmed."""
    assert said(shop.bill.callers.register("B/1", PHONE)) == "unconfirmed"
    assert said(shop.bill.callers.register(caller(shop, 1, OTHER), PHONE)) == "unconfirmed"
    assert owner(shop) is None
    assert numbers(shop) == [("13055550199", False)]
    assert said(shop.bill.callers.register(caller(shop, 2))) == "registered"
    assert owner(shop) == "B/2"
    assert said(shop.bill.callers.confirm("B/1", PHONE)) == "taken"


def test_a_call_from_the_number_confirms_it(shop: Shop):
    shop.bill.callers.register("B/1", PHONE)
    assert said(shop.bill.callers.confirm(caller(shop, 1, OTHER), PHONE)) == "unconfirmed"
    assert said(shop.bill.callers.confirm(caller(shop, 1, OTHER))) == "not_pending"
    assert said(shop.bill.callers.confirm(caller(shop, 2))) == "not_pending"
    assert said(shop.bill.callers.confirm(caller(shop, 1))) == "registered"
    assert owner(shop) == "B/1"
    assert numbers(shop) == [("13055550199", True)]


def test_the_operator_confirms(shop: Shop):
    assert said(shop.bill.callers.confirm("B/1", PHONE)) == "not_pending"
    shop.bill.callers.register("B/1", PHONE)
    assert said(shop.bill.callers.confirm("B/1", PHONE)) == "registered"
    assert said(shop.bill.callers.register("B/1", OTHER, confirm=True)) == "registered"
    assert (owner(shop), owner(shop, OTHER)) == ("B/1", "B/1")


def test_a_number_that_waits_is_taken_off_too(shop: Shop):
    shop.bill.callers.register("B/1", PHONE)
    assert shop.bill.callers.unregister("B/1", PHONE)
    assert numbers(shop) == []
    assert said(shop.bill.callers.confirm("B/1", PHONE)) == "not_pending"


def test_where_the_plan_asks_for_no_confirmation_a_number_counts_at_once(shop: Shop):
    change_plan(shop, ani_confirm=False)
    assert said(shop.bill.callers.register("B/1", PHONE)) == "registered"
    assert owner(shop) == "B/1"


def test_who_came_by_a_number_alone_adds_no_other(shop: Shop):
    """A number can be forged; a forger must not make himself at home."""
    shop.bill.callers.register(caller(shop))
    known = shop.bill.authenticate(ani=PHONE)
    assert isinstance(known, Caller)
    assert said(shop.bill.callers.register(known, OTHER)) == "pin_needed"
    assert said(shop.bill.callers.register(known, OTHER, confirm=True)) == "pin_needed"
    assert said(shop.bill.callers.register(known)) == "registered"
    assert numbers(shop) == [("13055550199", True)]


# -- one number, one card -------------------------------------------------------------------


def test_another_cards_number_stays_where_it_is(shop: Shop):
    shop.bill.callers.register(caller(shop, 1))
    assert said(shop.bill.callers.register(caller(shop, 2))) == "taken"
    assert said(shop.bill.callers.register("B/2", PHONE, confirm=True)) == "taken"
    assert owner(shop) == "B/1"
    assert numbers(shop, "B/2") == []
    assert all(kind == "pin" for kind, _ in shop.stored("B/2").credentials)


def test_another_cards_number_moves_if_the_plan_says_so(shop: Shop):
    change_plan(shop, ani_rebind="move")
    shop.bill.callers.register(caller(shop, 1))
    assert said(shop.bill.callers.register(caller(shop, 2))) == "registered"
    assert owner(shop) == "B/2"
    assert (numbers(shop, "B/1"), numbers(shop, "B/2")) == ([], [("13055550199", True)])
    assert all(kind == "pin" for kind, _ in shop.stored("B/1").credentials)


def test_who_was_known_by_a_number_that_moved_is_not_any_more(shop: Shop):
    change_plan(shop, ani_rebind="move")
    shop.bill.callers.register(caller(shop, 1))
    before = shop.bill.authenticate(ani=PHONE)
    assert isinstance(before, Caller)
    shop.bill.callers.register(caller(shop, 2))
    answer = shop.bill.authorize(before, to=UK, call_id="c1")
    assert isinstance(answer, Denied)
    assert said(shop.bill.callers.register(before)) == "card_unusable"
    assert owner(shop) == "B/2"


def expire(shop: Shop) -> None:
    shop.grant("c1")
    shop.clock.tick(days=4)


@pytest.mark.parametrize("end", [expire, void])
@pytest.mark.parametrize("swept", [False, True])
def test_a_card_that_is_over_frees_its_numbers(
    shop: Shop, end: Callable[[Shop], None], *, swept: bool
):
    """Whether or not any step has been taken on the old card since."""
    shop.bill.callers.register(caller(shop))
    end(shop)
    if swept:
        shop.bill.sweep()
    assert said(shop.bill.callers.register(caller(shop, 2))) == "registered"
    assert owner(shop) == "B/2"
    assert numbers(shop, "B/2") == [("13055550199", True)]
    assert numbers(shop, "B/1") == []
    assert not shop.bill.callers.unregister("B/1", PHONE) or end is void
    assert owner(shop) == "B/2"
    shop.check_books()


def test_an_expired_card_lists_no_numbers(shop: Shop):
    shop.bill.callers.register(caller(shop))
    shop.bill.callers.register("B/1", OTHER)
    expire(shop)
    assert owner(shop) is None  # no denial tells that the number was known
    assert numbers(shop) == []
    shop.bill.sweep()
    card = shop.stored("B/1")
    assert [kind for kind, _ in card.credentials] == ["pin"]
    assert card.pending == {}
    shop.check_books()


@pytest.mark.parametrize(
    ("facts", "answer"), [({"blocked": True}, "card_unusable"), ({"voided": True}, "card_unusable")]
)
def test_cards_out_of_use_take_no_numbers(shop: Shop, facts: dict[str, bool], answer: str):
    shop.edit("B/1", **facts)
    assert said(shop.bill.callers.register("B/1", PHONE, confirm=True)) == answer


def test_a_blocked_card_keeps_its_numbers(shop: Shop):
    shop.bill.callers.register(caller(shop))
    shop.edit("B/1", blocked=True)
    denied = shop.bill.authenticate(ani=PHONE)
    assert isinstance(denied, Denied)
    assert denied.reason.value == "blocked"
    assert said(shop.bill.callers.register(caller(shop, 2))) == "taken"


def test_cards_without_a_plan_or_past_their_time_take_no_numbers(kind: str, tmp_path: Path):
    terms = {"expiration_date": date(2025, 3, 5)}
    with open_shop(kind, tmp_path, plan=PINLESS, batch=terms, assign=False) as shop:
        assert said(shop.bill.callers.register("B/1", PHONE, confirm=True)) == "card_unusable"
        shop.bill.batches.assign("B", plan="Basic")
        assert said(shop.bill.callers.register("B/1", PHONE, confirm=True)) == "registered"
        shop.clock.tick(days=5)
        assert said(shop.bill.callers.register("B/2", OTHER, confirm=True)) == "card_unusable"
