"""The example of the design runs, and gives the figures that it names."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Keyring, Status
from tests.building import RETAIL, UK_E164

EXAMPLE = """\
import cardbill
from cardbill import Batch, Carrier, Keyring, Plan
from moneyed import Money, USD

with cardbill.open("sqlite:///cards.db", keyring=Keyring.load("cards.key")) as bill:
    bill.decks.publish("retail", cardbill.read_deck("retail.csv", currency=USD))
    bill.decks.publish("acme-cost", cardbill.read_deck("acme.csv", currency=USD))
    bill.carriers.publish(Carrier(name="acme", deck="acme-cost"))
    bill.plans.publish(Plan(name="Hello World", deck="retail", currency=USD))
    bill.batches.create(Batch(name="SUMMER-5", face_value=Money(5, USD), quantity=1_000,
                              expires_days_after_first_use=90))
    bill.batches.generate_pins("SUMMER-5")
    bill.batches.assign("SUMMER-5", plan="Hello World")

    caller = bill.authenticate(pin=digits, ani="+13055551234")                  # stage one
    call = bill.authorize(caller, to="011442071234567", call_id=channel_uuid)   # stage two
    if call.granted:
        dial(call.routes, limit=call.max_duration)
        record = bill.settle(call.handle, talk_ms=371_200, carrier="acme")
        record.price, record.tax, record.total, record.cost, record.margin
"""


class HostNames(dict[str, Any]):
    """The names of the host's program: `digits` is what a caller keys when asked, not before."""

    def __missing__(self, name: str) -> str:
        if name != "digits":
            raise KeyError(name)
        pin: str = self["bill"].batches.reveal("SUMMER-5/1", actor="caller", reason="to call")
        return pin


def test_the_example_is_the_one_of_the_design(shared_data: Path):
    design = (shared_data / "design.md").read_text(encoding="utf-8")
    assert f"```python\n{EXAMPLE}```" in design


def test_the_example_of_the_design_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "retail.csv").write_text(RETAIL)
    (tmp_path / "acme.csv").write_text("prefix,rate,increments\n44,0.02,1/1\n")
    Keyring.create("cards.key")
    dialled: list[tuple[Any, Any]] = []
    names = HostNames(
        channel_uuid="1c9b4f4e-0001",
        dial=lambda routes, limit: dialled.append((routes, limit)),
    )

    exec(EXAMPLE, {}, names)

    call, record = names["call"], names["record"]
    assert call.granted
    assert call.number == UK_E164
    assert dialled == [(call.routes, timedelta(minutes=83))]
    assert [route.carrier for route in call.routes] == ["acme"]
    assert record.outcome is cardbill.Outcome.SETTLED
    assert record.seconds == 372
    assert record.price == Money("0.42", USD)  # 7 minutes of 0.06
    assert record.tax == Money(0, USD)
    assert record.total == Money("0.42", USD)
    assert record.cost == Money("0.124", USD)  # 372 seconds of 0.02 a minute
    assert record.margin == Money("0.296", USD)
    with cardbill.open("sqlite:///cards.db", keyring=Keyring.load("cards.key")) as again:
        view = again.card("SUMMER-5/1")
        assert (view.status, view.balance) == (Status.ACTIVE, Money("4.58", USD))
        assert view.held == Money(0, USD)
        assert [r.call_id for r in again.records()] == ["1c9b4f4e-0001"]
        assert again.audit().clean
        assert len(again.batches.pins("SUMMER-5", limit=1_000)) == 1_000
