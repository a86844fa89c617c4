"""A jurisdiction is published anew: what was in force at an instant is what counts for it."""

from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from cardbill import BillingCycle, Jurisdiction, Tax, TaxRegions
from cardbill.errors import InvalidInput
from tests.building import START, Shop, open_shop
from tests.test_sold_with import CENT, call, fee, posted, taxed

DUES = Tax(name="dues", on="recurring", percent=10)
INSTANT = timedelta(microseconds=1)
WEEKLY = fee("weekly", "period", "1.00", every=BillingCycle(unit="weeks"))


def place(*taxes: Tax) -> Jurisdiction:
    return Jurisdiction(name="X", country="X", taxes=taxes)


def publish(shop: Shop, *taxes: Tax) -> int:
    return shop.bill.jurisdictions.publish(place(*taxes))


def use(shop: Shop) -> None:
    call(shop, "first", 0, batch="T")


# -- what is past ------------------------------------------------------------------------------


@pytest.mark.parametrize("swept", [True, False], ids=["swept", "not swept"])
def test_what_fell_due_is_taxed_by_what_was_in_force_then(kind: str, swept: bool, tmp_path: Path):
    with taxed(kind, tmp_path, DUES, charges=[WEEKLY]) as shop:
        use(shop)
        for percent in (20, 30, 40):  # published on days 8, 16 and 24
            shop.clock.tick(days=8)
            if swept:
                shop.bill.sweep()
            publish(shop, evolve(DUES, percent=percent))
        shop.clock.tick(days=5)
        shop.bill.sweep()
        taxes = [amount for what, _, amount in posted(shop, "T/1") if what == "tax"]
        assert taxes == [-10 * CENT, -20 * CENT, -30 * CENT, -40 * CENT]
        shop.check_books()


def test_what_falls_due_at_the_instant_of_publication_is_taxed_by_what_is_published(
    tmp_path: Path,
):
    with taxed("memory", tmp_path, DUES, charges=[WEEKLY]) as shop:
        use(shop)
        due = shop.stored("T/1").due_at
        assert due is not None
        for instant, percent in ((due - INSTANT, 20), (due, 30), (due + INSTANT, 40)):
            shop.clock.now = instant
            publish(shop, evolve(DUES, percent=percent))
        shop.bill.sweep()
        assert ("tax", "dues", -30 * CENT) in posted(shop, "T/1")


def test_a_date_in_the_past_changes_nothing_before_it_is_published(tmp_path: Path):
    with taxed("memory", tmp_path, charges=[WEEKLY]) as shop:
        use(shop)
        shop.clock.tick(days=10)
        publish(shop, evolve(DUES, effective_from=START.date()))
        shop.clock.tick(days=5)
        shop.bill.sweep()
        assert [kind for kind, *_ in posted(shop, "T/1")].count("charge") == 2
        assert [kind for kind, *_ in posted(shop, "T/1")].count("tax") == 1


def test_the_same_jurisdiction_later_is_no_new_version(tmp_path: Path):
    with taxed("memory", tmp_path, DUES) as shop:
        shop.clock.tick(days=1)
        assert publish(shop, DUES) == 1
        assert publish(shop, evolve(DUES, percent=11)) == 2
        shop.clock.tick(days=1)
        assert publish(shop, evolve(DUES, percent=11)) == 2
        assert shop.bill.jurisdictions.get("X") == place(evolve(DUES, percent=11))


# -- taxed once --------------------------------------------------------------------------------

ON_SALE = Tax(name="sales tax", on="sale", percent=10)
ON_USE = Tax(name="VAT", on="usage", percent=10)
ONCE = "a card is taxed once"


def test_cards_whose_sale_was_taxed_are_not_taxed_on_their_use_by_a_new_version(
    kind: str, tmp_path: Path
):
    with taxed(kind, tmp_path, ON_SALE) as shop:
        shop.bill.control.sell("T/1", actor="till")
        for later in range(3):
            with pytest.raises(InvalidInput, match=ONCE) as caught:
                publish(shop, ON_USE)
            assert caught.value.field == "taxes"
            shop.clock.tick(days=1)
            publish(shop, *[DUES][:later])  # whatever stands between
        with pytest.raises(InvalidInput, match=ONCE):
            publish(shop, evolve(ON_USE, effective_from=shop.clock().date() + timedelta(days=9)))
        assert shop.bill.jurisdictions.get("X").taxes == (DUES,)
        use(shop)
        assert "tax" not in [what for what, *_ in posted(shop, "T/1")]


def test_a_new_version_may_go_over_from_use_to_sale(tmp_path: Path):
    with taxed("memory", tmp_path, ON_USE) as shop:
        use(shop)
        publish(shop, ON_SALE)
        shop.bill.control.sell("T/2", actor="till")
        assert ("sale_tax", "sales tax", 0) in posted(shop, "T/2")
        with pytest.raises(InvalidInput, match=ONCE):
            publish(shop, ON_USE)


def test_a_tax_on_sales_that_never_began_is_no_obstacle(tmp_path: Path):
    never = evolve(ON_SALE, effective_from=START + timedelta(days=9))
    with taxed("memory", tmp_path, never) as shop:
        shop.clock.tick(days=8)
        assert publish(shop, ON_USE) == 2
        shop.clock.tick(days=8)
        assert publish(shop, evolve(ON_USE, percent=11)) == 3
        over = START + timedelta(days=1)
        assert publish(shop, evolve(ON_SALE, effective_until=over)) == 4  # too late to be taken
        shop.clock.tick(days=8)
        assert publish(shop, ON_USE) == 5


def test_a_tax_on_use_that_was_over_before_sales_were_taxed_is_no_obstacle(tmp_path: Path):
    with taxed("memory", tmp_path, ON_SALE) as shop:
        shop.clock.tick(days=8)
        assert publish(shop, evolve(ON_USE, effective_until=START.date())) == 2


def test_what_was_taxed_before_there_was_the_batch_is_no_obstacle(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        for tax in (ON_SALE, evolve(ON_SALE, percent=11), ON_USE):
            publish(shop, tax)
            shop.clock.tick(days=1)
        terms = shop.bill.batches.get("B")
        shop.bill.batches.create(evolve(terms, name="T", taxable=True, tax_jurisdiction="X"))
        shop.clock.tick(days=1)
        assert publish(shop, evolve(ON_USE, percent=11)) == 4


def test_a_card_sold_in_one_place_is_not_taxed_in_another_by_a_new_version(tmp_path: Path):
    regions = TaxRegions(default="X", follows="caller", prefixes={"49": "DE"})
    with open_shop("memory", tmp_path) as shop:
        publish(shop, ON_SALE)
        shop.bill.jurisdictions.publish(evolve(place(), name="DE"))
        terms = shop.bill.batches.get("B")
        shop.bill.batches.create(evolve(terms, name="T", taxable=True, tax_regions=regions))
        shop.clock.tick(days=1)
        publish(shop)
        with pytest.raises(InvalidInput, match=ONCE):
            shop.bill.jurisdictions.publish(evolve(place(ON_USE), name="DE"))
