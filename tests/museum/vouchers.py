"""F: vouchers and first uses that should happen once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

from cardbill import Charge, Denied, accounting, transferring
from cardbill.cards import Card
from cardbill.errors import StorageUnavailable
from cardbill.operations import Operation, Outgoing
from tests.building import START, UK, Shop, open_shop
from tests.museum.exhibits import Section, patched, told_of_nothing_before
from tests.museum.stores import answers_lost, reads_and_later_writes
from tests.test_races import crowd, said

SECTION = Section("Vouchers and first uses")


# -- how they are rebuilt ------------------------------------------------------------------------


def credits_whatever_becomes_of_the_voucher() -> AbstractContextManager[None]:
    def send_all(card: Card, done: Any, request: Any, _: Any, __: Any, at: Any) -> Operation:
        card.outgoing[request.key] = Outgoing(request.other, card.face, at)
        return accounting.record_done(card, request, card.face, at)

    return patched((transferring, "send_all", send_all))


def credits_again_when_asked_again() -> AbstractContextManager[None]:
    return told_of_nothing_before(transferring, "receive")


def activates_at_every_use() -> AbstractContextManager[None]:
    def use(
        self: Card, at: Any, *, plan: Any, expires_at: Any, awaits_answer: bool = False
    ) -> None:
        self.open(at)
        self.plan, self.first_used_at, self.expires_at = plan, at, expires_at

    return patched((Card, "in_use", False), (Card, "use", use))


# -- the defects ---------------------------------------------------------------------------------


def used(shop: Shop, *serials: int) -> None:
    """Make the first use of cards, so that money can be put on them."""
    for serial in serials:
        shop.bill.cancel(shop.grant(serial=serial).handle)


def redeemed(shop: Shop, card_id: str, key: str) -> Operation | Denied:
    """Redeem the third card as a voucher."""
    return shop.bill.accounts.redeem(card_id, pin=shop.pin(3), key=key)


@SECTION.defect(
    73, "A2Billing, its function refill_card_with_voucher",
    "A voucher is looked up, marked and credited in three statements: two callers get its money.",
    reads_and_later_writes,
)  # fmt: skip
def of_two_who_redeem_a_voucher_at_once_one_gets_it(folder: Path) -> None:
    with open_shop("memory", folder) as shop, crowd(2) as both:
        used(shop, 1, 2)
        answers = both.rush(lambda number: redeemed(shop, f"B/{number + 1}", f"k{number}"))
        assert sorted(said(answers).values()) == [1, 1]
        assert sum(shop.stored(f"B/{serial}").balance for serial in (1, 2, 3)) == 15_000_000
        shop.check_books()


@SECTION.defect(
    74, "django-oscar#2101 and saleor#544",
    "A voucher for one use is accepted for further orders.",
    credits_whatever_becomes_of_the_voucher,
)  # fmt: skip
def a_voucher_that_was_redeemed_is_void(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        used(shop, 1, 2)
        assert isinstance(redeemed(shop, "B/1", "k1"), Operation)
        again = redeemed(shop, "B/2", "k2")
        assert isinstance(again, Denied)
        assert again.reason.value == "void"
        assert shop.stored("B/2").balance == 5_000_000


@SECTION.defect(
    75, "OpenCart, opencart#4812",
    "Orders at the same moment all use one coupon.",
    reads_and_later_writes,
)  # fmt: skip
def of_five_requests_at_once_a_voucher_serves_one(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop, crowd(5) as many:
        used(shop, 1)
        answers = many.rush(lambda number: redeemed(shop, "B/1", f"k{number}"))
        assert said(answers)["Operation"] == 1
        assert shop.stored().balance == 10_000_000
        shop.check_books()


@SECTION.defect(
    76, "eventyay, fossasia/eventyay#1398, and Shopware, shopware#11245",
    "A code with a limit of three uses is used five times.",
    credits_again_when_asked_again,
)  # fmt: skip
def a_request_cut_short_and_repeated_credits_once(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        used(shop, 1)
        with answers_lost(shop, step=2), pytest.raises(StorageUnavailable):
            redeemed(shop, "B/1", "k1")
        for _ in range(2):
            assert isinstance(redeemed(shop, "B/1", "k1"), Operation)
        assert shop.stored().balance == 10_000_000
        shop.check_books()


@SECTION.defect(
    77, "ASTPP, its function validate_card_usage",
    "Nothing guards the mark of the first use, and a second call activates the card again.",
    activates_at_every_use,
)  # fmt: skip
def a_card_is_activated_once(folder: Path) -> None:
    fee = Charge(name="activation", trigger="activation", amount=Money(1, USD))
    batch = {"expires_days_after_first_use": 5}
    with open_shop("memory", folder, batch=batch, plan={"charges": [fee]}) as shop:
        for day in (0, 2):
            at = START + timedelta(days=day)
            shop.bill.cancel(shop.grant(f"c{day}", at=at).handle, at=at)
        assert shop.stored().first_used_at == START
        assert shop.stored().expires_at == START.replace(hour=0) + timedelta(days=6)
        assert [kind for kind, _, _ in shop.ledger()] == ["face", "charge"]


@SECTION.defect(
    78, "django-rest-firebase-auth#10 and mozilla/fjord#523",
    "Two requests 17 ms apart both find no account, and make two.",
    reads_and_later_writes,
)  # fmt: skip
def eight_first_uses_at_once_open_one_account(folder: Path) -> None:
    plan = {"calls_at_once": 8, "max_call_seconds": 60}
    with open_shop("memory", folder, plan=plan) as shop, crowd(8) as many:
        pin = shop.pin()
        answers = many.rush(
            lambda number: shop.bill.authorize(pin=pin, to=UK, call_id=f"c{number}")
        )
        assert said(answers) == {"Grant": 8}
        assert [entry.kind for entry in shop.bill.storage.entries("B/1")] == ["face"]
        assert len(shop.stored().holds) == 8
