"""What is published meanwhile: calls in progress keep their terms, every engine sees the news."""

from pathlib import Path
from typing import Any

from moneyed import USD, Money

from cardbill import Batch, Caller, Grant, Plan
from cardbill.storage.memory import MemoryStorage
from tests.building import RETAIL, UK, UNROUTED, Shop, deck, open_shop


def test_a_deck_published_in_mid_call_is_for_the_next_call(shop: Shop):
    during = shop.grant("c1")
    shop.publish_retail(RETAIL.replace("44,United Kingdom,0.06", "44,Britain,0.60"))
    shop.bill.decks.publish("acme-cost", deck("prefix,rate\n44,0.50\n"))
    assert shop.grant("c1") == during
    record = shop.bill.settle(during.handle, talk_ms=60_000, carrier="acme")
    assert (record.price, record.cost) == (Money("0.06", USD), Money("0.02", USD))
    assert record.destination == "United Kingdom"
    following = shop.grant("c2")
    assert following.destination == "Britain"
    record = shop.bill.settle(following.handle, talk_ms=60_000, carrier="acme")
    assert (record.price, record.cost) == (Money("0.60", USD), Money("0.50", USD))


def test_a_destination_barred_in_mid_call_is_still_settled(shop: Shop):
    during = shop.grant()
    shop.publish_retail("prefix,rate,blocked\n44,0,yes\n")
    assert shop.bill.settle(during.handle, talk_ms=1_000).price == Money("0.06", USD)
    assert shop.denied("c2") == "destination_barred"


def test_a_used_card_keeps_the_version_of_its_plan(shop: Shop):
    shop.bill.cancel(shop.grant("c1", serial=1).handle)
    shop.bill.plans.publish(
        Plan(name="Basic", deck="retail", currency=USD, max_call_seconds=60, language="es")
    )
    assert shop.grant("c2", serial=1).max_seconds == 83 * 60
    caller = shop.bill.authenticate(pin=shop.pin(1))
    assert isinstance(caller, Caller)
    assert caller.language == "en"
    assert shop.grant("c2", serial=2).max_seconds == 60
    assert shop.stored("B/1").plan == ("Basic", 1)
    assert shop.stored("B/2").plan == ("Basic", 2)


def test_another_engine_notices_what_was_published_without_reopening(shop: Shop):
    other = shop.second()
    assert other.authorize(pin=shop.pin(1), to=UNROUTED, call_id="c1").granted is False
    shop.bill.decks.publish("beta-cost", deck("prefix,rate\n33,0.01\n44,0.001\n"))
    seen = other.authorize(pin=shop.pin(1), to=UNROUTED, call_id="c1")
    assert isinstance(seen, Grant)
    assert [route.carrier for route in seen.routes] == ["beta"]
    shop.bill.plans.publish(Plan(name="Other", deck="retail", currency=USD, max_call_seconds=30))
    shop.bill.batches.create(
        Batch(name="C", face_value=Money(5, USD), quantity=1, plan="Other"),
    )
    shop.bill.batches.generate_pins("C")
    pin = shop.pin(1, "C")
    assert other.authenticate(pin=pin).authenticated
    granted = other.authorize(pin=pin, to=UK, call_id="c2")
    assert isinstance(granted, Grant)
    assert granted.max_seconds == 30
    settled = shop.bill.settle(granted.handle, talk_ms=1_000, carrier="beta")
    assert settled.cost == Money("0.0001", USD)
    assert other.audit().clean


def test_a_store_that_was_set_back_is_followed_back(tmp_path: Path, monkeypatch: Any):
    """A backup was put in place under a running engine: no call may hang on that."""
    with open_shop("memory", tmp_path) as shop:
        pin, storage, catalogue = shop.pin(), shop.bill.storage, shop.bill.storage.catalogue
        assert isinstance(storage, MemoryStorage)
        assert shop.bill.authenticate(pin=pin).authenticated  # it has seen the newest
        storage._revision -= 1
        turns = 0

        def counted() -> Any:
            nonlocal turns
            turns += 1
            assert turns < 20, "asks for the catalogue for ever"
            return catalogue()

        monkeypatch.setattr(storage, "catalogue", counted)
        assert shop.bill.authenticate(pin=pin).authenticated
        assert shop.bill.authorize(pin=pin, to=UK, call_id="c1").granted
