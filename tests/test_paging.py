"""What is read page by page ends, and so does the log, over a store that repeats itself."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from moneyed import USD, Money

from cardbill.errors import StorageError
from cardbill.paging import due_cards, job_rows
from cardbill.storage.contract import Storage
from cardbill.storage.memory import MemoryStorage
from tests.building import LIFETIME, Shop, open_shop
from tests.museum.exhibits import patched

READERS: dict[str, Callable[[Shop], Iterable[object]]] = {
    "entries": lambda shop: shop.bill.entries("B/1"),
    "records": lambda shop: shop.bill.records(batch="B"),
    "find_cards": lambda shop: [shop.bill.reports.utilisation("B")],
    "jobs": lambda shop: job_rows(shop.bill.storage),
    "audit_log": lambda shop: [shop.bill.audit().problems == []],
    "due": lambda shop: due_cards(shop.bill.storage, shop.clock.now + LIFETIME),
}


def repeating(method: str) -> Callable[..., object]:
    """The method as it would be, had it forgotten where the page before it ended."""
    real = getattr(MemoryStorage, method)

    def repeat(self: Storage, *where: object, after: object = None, **how: object) -> object:
        return real(self, *where, **how)

    return repeat


@pytest.mark.parametrize("method", READERS)
def test_pages_that_repeat_are_told_and_not_read_for_ever(method: str, tmp_path: Path):
    with open_shop("memory", tmp_path, plan={"calls_at_once": 2, "max_call_seconds": 60}) as shop:
        shop.bill.settle(shop.grant("c1").handle, talk_ms=60_000)
        shop.bill.accounts.recharge("B/1", Money(5, USD), key="k")
        shop.grant("c2")
        found = list(READERS[method](shop))
        assert found
        with (
            patched((MemoryStorage, method, repeating(method))),
            pytest.raises(StorageError, match="repeats itself"),
        ):
            list(READERS[method](shop))
        assert list(READERS[method](shop)) == found


def test_a_statement_of_repeating_pages_is_refused(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        shop.bill.settle(shop.grant("c1").handle, talk_ms=60_000)
        assert shop.bill.statement("B/1").lines
        with (
            patched((MemoryStorage, "entries", repeating("entries"))),
            pytest.raises(StorageError, match="repeats itself"),
        ):
            shop.bill.statement("B/1")


def test_a_log_that_takes_nothing_after_its_newest_row_is_told(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        with (
            patched((MemoryStorage, "append_audit", lambda *_, **__: False)),
            pytest.raises(StorageError, match="takes nothing after it"),
        ):
            shop.bill.batches.reveal("B/1", actor="ann", reason="lost slip")
        shop.bill.batches.reveal("B/1", actor="ann", reason="lost slip")
        assert shop.bill.audit().clean
