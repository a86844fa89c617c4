"""Callers' numbers through random histories, misuse, rotated keys, crashes and races."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import USD, Money

from cardbill import AccessNumber, Batch, Caller, Denied, Engine, Keyring
from cardbill.errors import InvalidInput, StorageUnavailable, UnknownName
from cardbill.keyring import ANI
from cardbill.storage.contract import CredentialRow
from tests.building import Shop, open_shop
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
)
from tests.test_races import crowd, threads_take_turns_all_the_time  # noqa: F401  # autouse


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(kind, tmp_path, plan=PINLESS, batch={"expires_days_after_first_use": 3}) as it:
        yield it


# -- a history against a model --------------------------------------------------------------


class Model:
    """Who has which number, said again in plain dictionaries; cards "B/1" to "B/3"."""

    def __init__(self, limit: int, *, confirm: bool, move: bool) -> None:
        self.limit, self.asks, self.move = limit, confirm, move
        self.owner: dict[str, str] = {}
        self.waiting: set[tuple[str, str]] = set()
        self.void: set[str] = set()

    def register(self, card: str, number: str, *, confirm: bool, noted: bool = False) -> str:
        if card in self.void:
            return "card_unusable"
        if self.owner.get(number) == card:
            return "registered"
        if noted and (card, number) not in self.waiting:
            return "not_pending"
        if self.limit == 0:
            return "not_offered"
        has = {n for n, c in self.owner.items() if c == card}
        has |= {n for c, n in self.waiting if c == card}
        if len(has - {number}) >= self.limit:
            return "limit_reached"
        if self.asks and not confirm:
            self.waiting.add((card, number))
            return "unconfirmed"
        self.waiting.discard((card, number))
        if self.owner.get(number) is not None and not self.move:
            return "taken"
        if self.move:
            self.waiting.discard((self.owner.get(number, ""), number))
        self.owner[number] = card
        return "registered"

    def unregister(self, card: str, number: str) -> bool:
        there = self.owner.get(number) == card or (card, number) in self.waiting
        self.waiting.discard((card, number))
        if self.owner.get(number) == card:
            del self.owner[number]
        return there

    def voided(self, card: str) -> None:
        self.void.add(card)
        self.owner = {n: c for n, c in self.owner.items() if c != card}
        self.waiting = {(c, n) for c, n in self.waiting if c != card}


PHONES = ["+13055550101", "+13055550102", "+13055550103"]
deeds = st.tuples(
    st.sampled_from(["register", "register", "vouch", "confirm", "unregister", "void"]),
    st.integers(1, 3),
    st.sampled_from(PHONES),
)


@given(st.lists(deeds, max_size=25), st.integers(0, 2), st.booleans(), st.booleans())
def test_any_history_leaves_each_number_where_it_belongs(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[str, int, str]],
    limit: int,
    confirm: bool,
    move: bool,
):
    rebind = "move" if move else "refuse"
    terms = {"ani_limit": limit, "ani_confirm": confirm, "ani_rebind": rebind}
    with open_shop("memory", tmp_path_factory.getbasetemp(), plan=terms) as shop:
        calls, model = shop.bill.callers, Model(limit, confirm=confirm, move=move)
        for deed, serial, phone in history:
            card = f"B/{serial}"
            if deed == "void":
                shop.bill.control.void(card, actor="ann", reason="misprint")
                model.voided(card)
            elif deed == "unregister":
                was_void = card in model.void  # whose numbers may still be on their way out
                gone = calls.unregister(card, phone)
                assert model.unregister(card, phone) == gone or was_void
            elif deed == "confirm":
                told = said(calls.confirm(card, phone))
                assert told == model.register(card, phone, confirm=True, noted=True)
            else:
                told = said(calls.register(card, phone, confirm=deed == "vouch"))
                assert told == model.register(card, phone, confirm=deed == "vouch")
            for number in PHONES:
                found = shop.bill.authenticate(ani=number)
                has = found.card_id if isinstance(found, Caller) else None
                assert has == model.owner.get(number)
        shop.check_books()


# -- misuse, keys, crashes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "ask"),
    [
        (UnknownName, lambda calls: calls.register("B/99", PHONE)),
        (UnknownName, lambda calls: calls.unregister("B/99", PHONE)),
        (UnknownName, lambda calls: calls.numbers("B/99")),
        (InvalidInput, lambda calls: calls.register("B/1")),
        (InvalidInput, lambda calls: calls.register(None, PHONE)),
        (InvalidInput, lambda calls: calls.confirm(Denied)),
        (InvalidInput, lambda calls: calls.register("B/1", PHONE, access="1")),
    ],
)
def test_misuse_is_an_error(shop: Shop, error: type[Exception], ask: Callable[[Any], Any]):
    with pytest.raises(error):
        ask(shop.bill.callers)


def test_the_access_number_says_how_callers_numbers_are_read(shop: Shop):
    shop.bill.access_numbers.publish(AccessNumber(number="442033330000", dial_plan=BRITISH))
    home = shop.bill.authenticate(pin=shop.pin(), ani="07700900123", access="442033330000")
    assert isinstance(home, Caller)
    assert said(shop.bill.callers.register(home)) == "registered"
    assert numbers(shop) == [("447700900123", True)]
    assert owner(shop, "+447700900123") == "B/1"
    assert owner(shop, "07700900123") is None  # in North America that is no number
    known = shop.bill.authenticate(ani="07700900123", access="442033330000")
    assert isinstance(known, Caller)
    by_id = shop.bill.callers.unregister("B/1", "07700900123", access="442033330000")
    assert by_id


def test_equal_digits_of_two_kinds_never_meet():
    keyring = Keyring.generate()
    tokens = {keyring.token("13055550199", kind) for kind in ("pin", "ani", "number+pin")}
    assert len(tokens) == 3
    assert keyring.token("13055550199") == keyring.token("13055550199", "pin")


def test_a_process_that_only_takes_calls_registers_too(shop: Shop):
    """Without a sealing key the number works, and cannot be shown."""
    ring = Keyring(lookup=shop.keyring.lookup, audit=shop.keyring.audit)
    takes_calls = Engine(shop.bill.storage, ring, clock=shop.clock)
    assert said(takes_calls.callers.register(caller(shop))) == "registered"
    assert said(takes_calls.callers.register("B/1", OTHER)) == "unconfirmed"
    assert owner(shop) == "B/1"
    assert numbers(shop) == [(None, True), (None, False)]


def test_a_number_registered_under_an_older_key_is_still_the_same(shop: Shop):
    shop.bill.callers.register(caller(shop))
    ring = shop.keyring
    newer = ring.rotated()
    later = Engine(shop.bill.storage, newer, clock=shop.clock)
    known = later.authenticate(ani=PHONE)
    assert isinstance(known, Caller)
    assert said(later.callers.register("B/2", PHONE, confirm=True)) == "taken"
    assert said(later.callers.register("B/1", PHONE)) == "registered"
    assert len(shop.bill.storage.credentials(["B/1"], ANI)) == 1
    assert later.callers.unregister("B/1", PHONE)
    assert owner(shop) is None


@pytest.mark.parametrize("method", ["bind", "unbind", "transact"])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("after", range(3))
def test_what_a_crash_left_half_done_is_completed_by_asking_again(
    kind: str, tmp_path: Path, method: str, after: int, *, done: bool
):
    """Cut before or after any write: never two cards, and asking again completes it."""
    with open_shop(kind, tmp_path, plan={**PINLESS, "ani_rebind": "move"}) as shop:
        storage, calls = shop.bill.storage, shop.bill.callers
        calls.register("B/1", PHONE, confirm=True)
        real, left = getattr(storage, method), [after]

        def cut(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                return real(*args, **kwargs)
            if done:
                real(*args, **kwargs)
            raise StorageUnavailable("cut", outcome_unknown=True)

        def work() -> None:
            calls.register("B/2", PHONE, confirm=True)
            calls.unregister("B/2", PHONE)
            calls.register("B/2", PHONE, confirm=True)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(storage, method, cut)
            try:
                work()
            except StorageUnavailable:
                assert owner(shop) in (None, "B/1", "B/2")
        assert said(calls.register("B/2", PHONE, confirm=True)) == "registered"
        assert owner(shop) == "B/2"
        assert numbers(shop, "B/2") == [("13055550199", True)]
        assert calls.unregister("B/2", PHONE)
        assert owner(shop) is None
        shop.check_books()


def test_a_row_that_its_card_does_not_list_opens_nothing(shop: Shop):
    token = shop.keyring.token("13055550199", ANI)
    assert shop.bill.storage.bind(CredentialRow(ANI, token, "B/1", None), expected=None)
    assert owner(shop) is None
    assert said(shop.bill.callers.register(caller(shop, 2))) == "registered"


# -- races ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rebind", ["refuse", "move"])
@pytest.mark.parametrize("threads", [2, 16])
def test_of_cards_that_register_one_number_at_once_one_has_it(
    kind: str, tmp_path: Path, rebind: str, threads: int
):
    rounds = 15
    with (
        open_shop(kind, tmp_path, plan={"ani_limit": 50, "ani_rebind": rebind}, quantity=threads)
        as shop,
        crowd(threads) as many,
    ):  # fmt: skip
        engines = [shop.bill, shop.second()]
        cards = [f"B/{serial}" for serial in range(1, threads + 1)]
        for turn in range(rounds):
            phone = f"+1305555{1000 + turn}"
            answers = many.rush(
                lambda each, phone=phone: engines[each % 2].callers.register(
                    cards[each], phone, confirm=True
                )
            )
            has = owner(shop, phone)
            told = [said(answer) for answer in answers]
            rows = shop.bill.storage.credentials(cards, ANI)
            token = shop.keyring.token(phone[1:], ANI)
            assert [row.card for row in rows if row.token == token] == [has]
            assert [card for card in cards if (phone[1:], True) in numbers(shop, card)] == [has]
            if rebind == "refuse":
                assert sorted(told) == ["registered"] + ["taken"] * (threads - 1)
                assert told[cards.index(str(has))] == "registered"
                listing = [c for c in cards if (ANI, token) in shop.stored(c).credentials]
                assert listing == [has]
            else:
                assert set(told) == {"registered"}


def test_of_cards_that_want_an_expired_cards_number_at_once_one_has_it(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan=PINLESS, quantity=16) as shop, crowd(16) as many:
        shop.bill.batches.create(
            Batch(
                name="OLD",
                face_value=Money(5, USD),
                quantity=10,
                plan="Basic",
                expiration_date=date(2025, 3, 5),
            )
        )
        shop.bill.batches.generate_pins("OLD")
        phones = [f"+1305555{1000 + turn}" for turn in range(10)]
        for serial, phone in enumerate(phones, start=1):
            shop.bill.callers.register(f"OLD/{serial}", phone, confirm=True)
        shop.clock.tick(days=9)
        change_plan(shop, ani_limit=50)
        for phone in phones:
            answers = many.rush(
                lambda each, phone=phone: shop.bill.callers.register(
                    f"B/{each + 1}", phone, confirm=True
                )
            )
            told = [said(answer) for answer in answers]
            assert sorted(told) == ["registered"] + ["taken"] * 15
            assert owner(shop, phone) == f"B/{told.index('registered') + 1}"


def test_the_limit_holds_however_many_numbers_come_at_once(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan={"ani_limit": 3}) as shop, crowd(16) as many:
        answers = many.rush(
            lambda each: shop.bill.callers.register("B/1", f"+1305555{1000 + each}", confirm=True)
        )
        told = [said(answer) for answer in answers]
        assert sorted(told) == ["limit_reached"] * 13 + ["registered"] * 3
        assert len(numbers(shop)) == 3
