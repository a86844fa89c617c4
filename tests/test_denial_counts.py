"""How often callers were denied is counted beside the ledger, and never in the way of a call."""

import threading
from datetime import date, timedelta
from typing import Any

import pytest

from cardbill import Denial, DenialCount, Denied, Engine
from cardbill.errors import InvalidInput, RowAltered, StorageUnavailable
from cardbill.storage.contract import Tally
from tests.building import BARRED, INVALID, START, UK, UNRATED, open_shop

TODAY = START.date()
WRONG = "000000000001"


def told(bill: Engine, **asked: Any) -> list[tuple[str, str, int]]:
    return [(row.batch, row.reason.value, row.count) for row in bill.reports.denials(**asked)]


def test_denials_are_counted_by_day_batch_and_reason(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        assert told(shop.bill) == []
        shop.bill.authenticate(pin=WRONG)
        for number in range(3):
            shop.denied(f"c{number}", to=BARRED)
        shop.denied("c4", to=INVALID)
        assert shop.ask("c5").granted  # is no denial
        shop.bill.control.block("B/2", actor="ann", reason="lost")
        denied = shop.bill.authenticate(pin=shop.pin(2))
        assert shop.bill.authorize(denied, to=UK, call_id="c6") == denied  # is counted once
        shop.clock.tick(days=1)
        shop.denied("c7", to=UNRATED)
        assert shop.bill.reports.denials(until=TODAY + timedelta(days=1)) == [
            DenialCount(TODAY, "", Denial.UNKNOWN_CREDENTIAL, 1),
            DenialCount(TODAY, "B", Denial.BLOCKED, 1),
            DenialCount(TODAY, "B", Denial.DESTINATION_BARRED, 3),
            DenialCount(TODAY, "B", Denial.INVALID_NUMBER, 1),
        ]
        assert told(shop.bill, since=date(2025, 3, 4)) == [("B", "no_rate", 1)]
        assert told(shop.bill, batch="") == [("", "unknown_credential", 1)]
        for asked in ("since", "until"):
            with pytest.raises(InvalidInput, match=f"{asked}: must be a date"):  # days are in UTC
                told(shop.bill, **{asked: START})
        shop.check_books()


def test_a_slice_that_is_denied_counts(kind, tmp_path):
    with open_shop(kind, tmp_path, plan={"slice_seconds": 60, "max_call_seconds": 60}) as shop:
        call = shop.grant()
        assert not shop.bill.extend(call.handle, used_seconds=60, number=1).granted
        assert told(shop.bill) == [("B", "limit_reached", 1)]


@pytest.mark.parametrize("when", ["a hundred", "a minute", "sweep", "close"])
def test_other_processes_see_what_was_added_to_the_store(kind, tmp_path, when):
    with open_shop(kind, tmp_path) as shop:
        other = shop.second(throttle=None)
        times = 100 if when == "a hundred" else 2
        for number in range(times):
            if when == "a minute":
                shop.clock.tick(seconds=31 * number * 2)
            other.authorize(pin=shop.pin(), to=BARRED, call_id=f"c{number}")
        if when == "sweep":
            other.sweep()
        if when == "close" and kind != "memory":  # or it would close the store of both
            other.close()
        expected = [("B", "destination_barred", times)]
        assert told(shop.bill) == ([] if when == "close" and kind == "memory" else expected)


def test_many_threads_and_processes_lose_no_count(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        engines = [shop.bill, shop.second()]
        pin = shop.pin()

        def deny(bill: Engine, name: str) -> None:
            for number in range(70):
                bill.authorize(pin=pin, to=BARRED, call_id=f"{name}{number}")

        threads = [
            threading.Thread(target=deny, args=(bill, f"{place}{copy}-"))
            for place, bill in enumerate(engines)
            for copy in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engines[1].sweep()
        assert told(shop.bill) == [("B", "destination_barred", 4 * 70)]


def test_counts_are_forgotten_after_400_days(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        shop.denied("c1", to=BARRED)
        shop.bill.sweep()
        shop.clock.tick(days=399)
        shop.bill.sweep()
        assert told(shop.bill) == [("B", "destination_barred", 1)]
        shop.clock.tick(days=1)
        shop.bill.sweep()
        assert told(shop.bill) == []


def test_a_store_that_is_out_of_reach_is_in_nobodys_way(tmp_path, monkeypatch):
    with open_shop("memory", tmp_path) as shop:

        def gone(*_: object) -> None:
            raise StorageUnavailable("gone")

        pin = shop.pin()
        caller = shop.bill.authenticate(pin=pin)
        monkeypatch.setattr(shop.bill.storage, "take_attempts", gone)
        for number in range(150):
            answer = shop.bill.authorize(caller, to=BARRED, call_id=f"c{number}")
            assert isinstance(answer, Denied)
            assert answer.reason is Denial.DESTINATION_BARRED
        monkeypatch.undo()
        assert told(shop.bill) == [("B", "destination_barred", 50)]  # the others are lost


def test_counts_that_somebody_altered_are_refused(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        shop.denied("c1", to=BARRED)
        assert told(shop.bill) != []
        place = next(r for r in shop.bill.storage.attempts() if r.subject.startswith("denials|"))
        forged = place.state.replace(b": 1}", b": 9}")
        assert forged != place.state
        shop.bill.storage.take_attempts(
            place.group, place.subject, lambda *_: Tally(None, forged, place.keep_until)
        )
        with pytest.raises(RowAltered):
            shop.bill.reports.denials()
        assert shop.bill.audit().problems != []
        assert shop.bill.recount_attempts(actor="ann", reason="somebody was here") == 1
        assert told(shop.bill) == []
