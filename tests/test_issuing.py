"""Batches and their PINs: made once, all or none, and assigned to a plan."""

import io
import subprocess
import sys
import textwrap
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from moneyed import JPY, USD, Money

import cardbill
from cardbill import (
    Batch,
    FirstUse,
    Generated,
    Jurisdiction,
    Keyring,
    Plan,
    Status,
    TaxRegions,
)
from cardbill.errors import (
    DuplicateName,
    FloatRefused,
    GuessTooLikely,
    InvalidInput,
    KeyMissing,
    OperationError,
    TermsLocked,
    UnknownName,
)
from tests.building import START, KnownNumbers, Shop, address, open_shop, rows


def more(shop: Shop, name: str = "C", quantity: int = 2, **terms: Any) -> Batch:
    """Another batch, without PINs yet."""
    batch = Batch(name=name, face_value=Money(2, USD), quantity=quantity, **terms)
    shop.bill.batches.create(batch)
    return batch


# -- creating -----------------------------------------------------------------------------------


def test_a_batch_is_kept_with_every_term(shop: Shop):
    batch = Batch(
        name="Ünïcode & Co. = 5 $",
        face_value=Money("12.50", USD),
        quantity=3,
        effective_date=date(2025, 1, 1),
        expiration_date=date(2027, 12, 31),
        expires_days_after_first_use=90,
        taxable=True,
        tax_jurisdiction="US-FL",
        pin_length=16,
        first_use=FirstUse.AUTHENTICATION,
        time_zone="America/New_York",
        plan="Basic",
    )
    with pytest.raises(UnknownName, match="US-FL"):
        shop.bill.batches.create(batch)
    shop.bill.jurisdictions.publish(Jurisdiction(name="US-FL", country="US", state="FL"))
    shop.bill.batches.create(batch)
    assert shop.second().batches.get(batch.name) == batch
    assert shop.bill.batches.names() == ["B", batch.name]
    shop.bill.batches.generate_pins(batch.name)
    assert [pin.card_id for pin in shop.bill.batches.pins(batch.name)] == [
        f"{batch.name}/{serial}" for serial in (1, 2, 3)
    ]


def test_whose_taxes_is_nothing_without_taxable(shop: Shop):
    shop.bill.jurisdictions.publish(Jurisdiction(name="US-FL", country="US"))
    terms: dict[str, Any] = {"name": "C", "face_value": Money(9, USD), "quantity": 9}
    for whose in ({"tax_jurisdiction": "US-FL"}, {"tax_regions": TaxRegions(default="US-FL")}):
        with pytest.raises(InvalidInput, match="taxable: must be True"):
            shop.bill.batches.create(Batch(**terms, **whose))
    shop.bill.batches.create(Batch(**terms, taxable=True, tax_jurisdiction="US-FL"))


def test_a_name_that_is_taken_is_refused_even_for_the_same_terms(shop: Shop):
    batch = more(shop)
    before = rows(shop.bill.storage)
    for again in (batch, Batch(name="C", face_value=Money(9, USD), quantity=9)):
        with pytest.raises(DuplicateName) as taken:
            shop.bill.batches.create(again)
        assert (taken.value.kind, taken.value.name) == ("batch", "C")
    assert rows(shop.bill.storage) == before


# -- generating ---------------------------------------------------------------------------------


def test_every_pin_opens_its_own_card_with_its_face_value(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=1_001, face=Money(500, JPY)) as shop:
        pins = [shop.pin(serial) for serial in range(1, 1_002)]
        assert len(set(pins)) == 1_001
        assert {len(pin) for pin in pins} == {12}
        assert all(pin.isascii() and pin.isdigit() for pin in pins)
        for serial in (1, 1_000, 1_001):
            caller = shop.bill.authenticate(pin=pins[serial - 1])
            assert isinstance(caller, cardbill.Caller)
            assert caller.card_id == f"B/{serial}"
            assert caller.balance == Money(500, JPY)
        view = shop.bill.card("B/1001")
        assert (view.status, view.serial, view.batch) == (Status.GENERATED, 1_001, "B")
        assert view.face_value == view.balance == view.available == Money(500, JPY)
        shop.check_books()


@pytest.mark.parametrize("length", [8, 12, 20])
def test_pins_have_the_length_of_their_batch(shop: Shop, length: int):
    more(shop, quantity=20, pin_length=length)
    shop.bill.batches.generate_pins("C")
    pins = [shop.pin(serial, "C") for serial in range(1, 21)]
    assert {len(pin) for pin in pins} == {length}
    assert all(shop.bill.authenticate(pin=pin).reason.value == "not_assigned" for pin in pins)  # type: ignore[union-attr]


def test_leading_zeros_are_kept(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, numbers=[42, 7_000_000, 10**11]) as shop:
        assert shop.pin(1) == "000000000042"
        assert shop.pin(2) == "000007000000"
        assert shop.bill.authenticate(pin="000000000042").authenticated
        assert not shop.bill.authenticate(pin="42").authenticated
        assert not shop.bill.authenticate(pin="00000042").authenticated
        shown = io.StringIO()
        shop.bill.batches.export("B", shown, with_pins=True, actor="a", reason="r")
        assert "000000000042" in shown.getvalue()


def test_pins_that_people_try_first_are_not_drawn(kind: str, tmp_path: Path):
    trivial = [0, 111_111_111_111, 12_345_678_901, 999_999_999_999, 987_654_321_098]
    with open_shop(kind, tmp_path, numbers=[*trivial, 314_159_265_358]) as shop:
        assert shop.pin(1) == "314159265358"


def test_a_pin_that_is_taken_is_drawn_again(kind: str, tmp_path: Path):
    """Within the job, across jobs, several times in a row, without losing a serial."""
    with open_shop(kind, tmp_path, numbers=[100, 100, 100, 200, 100, 200, 300]) as shop:
        assert [shop.pin(serial) for serial in (1, 2, 3)] == [
            "000000000100",
            "000000000200",
            "000000000300",
        ]
        numbers = KnownNumbers([300, 100, 400, 400, 200, 500])
        other = shop.second(below=numbers)
        more(shop)
        assert other.batches.generate_pins("C").count == 2
        assert [shop.pin(serial, "C") for serial in (1, 2)] == ["000000000400", "000000000500"]
        assert numbers.waiting == []
        for batch, serial in (("B", 1), ("B", 3), ("C", 1), ("C", 2)):
            pin = shop.pin(serial, batch)
            found = shop.bill.storage.resolve("pin", [shop.keyring.token(pin)])
            assert found is not None
            assert found.card.id == f"{batch}/{serial}"


def test_a_crowded_range_is_filled_to_the_last_number(shop: Shop):
    """Draws from 0 to 49 only, until all 50 are taken: no endless loop, none twice."""
    import random

    draws = random.Random(5)
    crowded = shop.second(below=lambda _: draws.randrange(100, 150))
    more(shop, quantity=50, pin_length=8)
    assert crowded.batches.generate_pins("C").count == 50
    pins = {shop.pin(serial, "C") for serial in range(1, 51)}
    assert pins == {f"{number:08d}" for number in range(100, 150)}


def test_the_same_job_again_makes_nothing_and_answers_alike(shop: Shop):
    before = rows(shop.bill.storage)
    for bill in (shop.bill, shop.second()):
        for _ in range(2):
            again = bill.batches.generate_pins("B")
            assert again == Generated(batch="B", count=3, guess_probability=Fraction(3, 10**12))
            assert again.one_in == 333_333_333_333
    assert rows(shop.bill.storage) == before


def test_the_same_job_again_answers_alike_when_there_are_many_more_pins(shop: Shop):
    """What was done was done: a later limit or a later batch does not make it an error."""
    more(shop, "C", quantity=900, pin_length=8)
    first = shop.bill.batches.generate_pins("C")
    more(shop, "D", quantity=900, pin_length=8)
    shop.bill.batches.generate_pins("D", max_guess_probability="0.001")
    before = rows(shop.bill.storage)
    assert shop.bill.batches.generate_pins("C").count == first.count == 900
    assert shop.bill.batches.generate_pins("C", max_guess_probability=0).count == 900
    assert shop.second().batches.generate_pins("C").count == 900
    assert rows(shop.bill.storage) == before


def test_a_second_job_for_the_same_batch_is_refused(shop: Shop):
    before = rows(shop.bill.storage)
    with pytest.raises(TermsLocked, match="'B'"):
        shop.bill.batches.generate_pins("B", job="again")
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize("job", ["monday", "pins:B"])
def test_a_job_key_that_made_another_batch_is_no_success(shop: Shop, job: str):
    more(shop, "C", quantity=2)
    more(shop, "D", quantity=7)
    if job == "monday":
        shop.bill.batches.generate_pins("C", job=job)
    before = rows(shop.bill.storage)
    with pytest.raises(OperationError, match=job):
        shop.bill.batches.generate_pins("D", job=job)
    assert rows(shop.bill.storage) == before


def test_progress_is_told_and_ends_at_the_total(shop: Shop):
    told: list[tuple[int, int]] = []
    more(shop, quantity=2_500)
    shop.bill.batches.generate_pins("C", progress=lambda done, total: told.append((done, total)))
    assert told == [(1_000, 2_500), (2_000, 2_500), (2_500, 2_500)]


@pytest.mark.parametrize("at", [1_000, 2_500])
def test_when_the_caller_gives_up_nothing_was_made(shop: Shop, at: int):
    class GaveUp(Exception):
        pass

    def progress(done: int, _total: int) -> None:
        if done == at:
            raise GaveUp

    more(shop, quantity=2_500)
    before = rows(shop.bill.storage)
    with pytest.raises(GaveUp):
        shop.bill.batches.generate_pins("C", progress=progress)
    assert rows(shop.bill.storage) == before
    assert shop.bill.storage.count_cards(batch="C") == 0
    assert shop.bill.batches.generate_pins("C").count == 2_500


def test_nobody_sees_half_a_batch(shop: Shop):
    seen: list[int] = []
    other = shop.second() if shop.url != "memory:" else shop.bill

    def progress(_done: int, _total: int) -> None:
        seen.append(other.storage.count_cards(batch="C"))
        seen.append(len(other.batches.pins("C")))

    more(shop, quantity=2_500)
    shop.bill.batches.generate_pins("C", progress=progress)
    assert seen == [0] * 6
    assert shop.bill.storage.count_cards(batch="C") == 2_500


def test_a_process_killed_while_generating_leaves_nothing(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        keys = tmp_path / "cards.key"
        keys.write_text(shop.keyring.dumps())
        keys.chmod(0o600)
        more(shop, quantity=5_000)
        before = rows(shop.bill.storage)
        script = f"""
            import os, signal
            import cardbill
            from cardbill import Keyring
            def progress(done, total):
                if done == 4_000:
                    os.kill(os.getpid(), signal.SIGKILL)
            with cardbill.open({shop.url!r}, keyring=Keyring.load({str(keys)!r})) as bill:
                bill.batches.generate_pins("C", progress=progress)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=60
        )
        assert done.returncode == -9
        assert rows(shop.bill.storage) == before
        assert shop.bill.batches.generate_pins("C").count == 5_000
        shop.check_books()


def test_a_source_of_numbers_that_fails_leaves_nothing(shop: Shop):
    def broken(bound: int) -> int:
        raise OSError("no entropy")

    more(shop)
    before = rows(shop.bill.storage)
    with pytest.raises(OSError, match="no entropy"):
        shop.second(below=broken).batches.generate_pins("C")
    assert rows(shop.bill.storage) == before


def test_pins_too_easy_to_guess_are_refused_unless_allowed(shop: Shop):
    more(shop, "C", quantity=1_001, pin_length=8)
    assert shop.bill.batches.guess_probability("C") == Fraction(1_001, 10**8)
    before = rows(shop.bill.storage)
    with pytest.raises(GuessTooLikely) as refused:
        shop.bill.batches.generate_pins("C")
    assert "99,900" in str(refused.value)  # one guess in
    assert "100,000" in str(refused.value)  # allowed is one in
    for limit in (Fraction(1_000, 10**8), Decimal("0.00001"), "1/100000", 0, -1):
        with pytest.raises(GuessTooLikely):
            shop.bill.batches.generate_pins("C", max_guess_probability=limit)
    assert rows(shop.bill.storage) == before
    made = shop.bill.batches.generate_pins("C", max_guess_probability="0.0000101")
    assert made.guess_probability == Fraction(1_001, 10**8)


def test_pins_of_all_batches_of_that_length_count_for_guessing(shop: Shop):
    more(shop, "C", quantity=600, pin_length=8)
    more(shop, "D", quantity=401, pin_length=8)
    more(shop, "E", quantity=400, pin_length=8)
    shop.bill.batches.generate_pins("C")
    with pytest.raises(GuessTooLikely):
        shop.bill.batches.generate_pins("D")
    made = shop.bill.batches.generate_pins("E")
    assert made.guess_probability == Fraction(1_000, 10**8)


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (FloatRefused, 0.5),
        (InvalidInput, "often"),
        (InvalidInput, "1/0"),
        (InvalidInput, ""),
        (InvalidInput, None),
        (InvalidInput, Decimal("NaN")),
        (InvalidInput, Decimal("Infinity")),
        (InvalidInput, True),
    ],
)
def test_a_limit_that_is_no_probability_is_refused_by_name(
    shop: Shop, error: type[InvalidInput], limit: Any
):
    more(shop)
    before = rows(shop.bill.storage)
    with pytest.raises(error) as refused:
        shop.bill.batches.generate_pins("C", max_guess_probability=limit)
    assert refused.value.field == "max_guess_probability"
    assert rows(shop.bill.storage) == before


def test_without_a_sealing_key_no_pins_are_made(kind: str, tmp_path: Path):
    keyring = Keyring(lookup={1: b"x" * 32}, audit={1: b"a" * 32})
    with cardbill.open(address(kind, tmp_path), keyring=keyring) as bill:
        bill.batches.create(Batch(name="B", face_value=Money(1, USD), quantity=1))
        with pytest.raises(KeyMissing, match="sealing"):
            bill.batches.generate_pins("B")
        assert bill.storage.count_cards() == 0


# -- assigning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["created", "before", "after"])
def test_a_plan_may_be_assigned_before_or_after_the_pins_are_made(shop: Shop, when: str):
    more(shop, plan="Basic" if when == "created" else None)
    if when == "before":
        shop.bill.batches.assign("C", plan="Basic")
    shop.bill.batches.generate_pins("C")
    if when == "after":
        assert shop.denied(batch="C") == "not_assigned"
        shop.bill.batches.assign("C", plan="Basic")
    assert shop.grant(batch="C").granted
    assert shop.bill.card("C/1").plan == "Basic"


def test_assigning_changes_no_card_and_nothing_but_the_plan(shop: Shop):
    batch = more(shop, expires_days_after_first_use=3)
    shop.bill.batches.generate_pins("C")
    before = rows(shop.bill.storage)
    shop.bill.batches.assign("C", plan="Basic")
    after = rows(shop.bill.storage)
    assert after["cards"] == before["cards"]
    changed = shop.bill.batches.get("C")
    assert changed.plan == "Basic"
    assert changed.expires_days_after_first_use == 3
    assert changed.quantity == batch.quantity


def test_a_batch_whose_cards_only_expired_may_still_change_its_plan(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"expiration_date": date(2025, 3, 3)}) as shop:
        shop.bill.plans.publish(Plan(name="Other", deck="retail", currency=USD))
        shop.bill.sweep(at=START + timedelta(days=2))
        shop.bill.batches.assign("B", plan="Other")
        assert shop.bill.batches.get("B").plan == "Other"
