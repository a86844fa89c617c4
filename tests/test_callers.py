"""Callers' numbers that open cards: registered, confirmed, limited, moved, freed, one card each."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import USD, Money

from cardbill import (
    NORTH_AMERICA,
    AccessNumber,
    Batch,
    Caller,
    Denied,
    DialPlan,
    Engine,
    Grant,
    Keyring,
    Plan,
    Registration,
)
from cardbill.callerid import registrable
from cardbill.errors import InvalidInput, StorageUnavailable, UnknownName
from cardbill.keyring import ANI
from cardbill.storage.contract import CredentialRow
from tests.building import UK, UK_E164, Shop, open_shop
from tests.test_races import crowd, threads_take_turns_all_the_time  # noqa: F401  # autouse

PHONE = "+13055550199"
OTHER = "+13055550188"
BRITISH = DialPlan(country_code="44", international_prefix="00", national_prefix="0")
PINLESS: dict[str, Any] = {"ani_limit": 2}


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(kind, tmp_path, plan=PINLESS, batch={"expires_days_after_first_use": 3}) as it:
        yield it


def change_plan(shop: Shop, **terms: Any) -> None:
    shop.bill.plans.publish(Plan(name="Basic", deck="retail", currency=USD, **{**PINLESS, **terms}))


def caller(shop: Shop, serial: int = 1, ani: str | None = PHONE) -> Caller:
    """A caller who gave his PIN."""
    found = shop.bill.authenticate(pin=shop.pin(serial), ani=ani)
    assert isinstance(found, Caller)
    return found


def owner(shop: Shop, ani: str = PHONE) -> str | None:
    """The card that a number opens; None: it opens none, as a denial says."""
    found = shop.bill.authenticate(ani=ani)
    if isinstance(found, Caller):
        assert found.credential[0] == "ani"
        return found.card_id
    assert found.reason.value == "unknown_credential"
    return None


def said(registration: Registration) -> str:
    assert registration.registered == (registration.reason is None)
    return "registered" if registration.reason is None else registration.reason.value


def numbers(shop: Shop, card_id: str = "B/1") -> list[tuple[str | None, bool]]:
    return [(each.number, each.confirmed) for each in shop.bill.callers.numbers(card_id)]


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


def void(shop: Shop) -> None:
    shop.bill.control.void("B/1", actor="ann", reason="misprint")


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
