"""F: PINs that are guessed, doubled or shown; what callers type into statements."""

from __future__ import annotations

import ast
import logging
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Batch, Caller, Denied, DialPlan, Engine, Keyring, dialing, money, uploading
from cardbill.calls import CallRecord
from cardbill.dialing import NORTH_AMERICA
from cardbill.errors import ConstraintViolated, InvalidInput, InvalidNumber, StorageUnavailable
from cardbill.gate import Gate
from cardbill.keyring import Secret
from cardbill.pins import draw
from cardbill.presented import Presented
from cardbill.storage import sqlite_adding
from cardbill.storage.memory import MemoryStorage
from cardbill.storage.sqlite import SQLiteStorage
from cardbill.uploading import UploadedPin
from tests.building import UK, KnownNumbers, Shop, open_shop, rows
from tests.museum.exhibits import Section, patched
from tests.source_tree import imports, read_sources

SECTION = Section("PINs and injection")
CANARY = 902_817_364_551
PIN, WRONG, CALLER = str(CANARY), "771288339944", "+13055550199"
HOSTILE = (
    "'", '"', "' OR '1'='1", "1; DROP TABLE card; --", "+1305'||(SELECT 1)||'", "%s%n{}", "\0",
)  # fmt: skip


# -- how they are rebuilt ------------------------------------------------------------------------


def draws_by_the_clock() -> AbstractContextManager[None]:
    def below(bound: int) -> int:
        return random.Random(time.time_ns() // 1_000 % 1_000_000).randrange(bound)

    options = {**(Engine.__init__.__kwdefaults__ or {}), "below": below}
    return patched((Engine.__init__, "__kwdefaults__", options))


def draws_again_once() -> AbstractContextManager[None]:
    def free(self: MemoryStorage, new: Any, opened: Any, redraw: Any) -> Any:
        place = new.credential[:2]
        return redraw(new) if place in self._credentials or place in opened else new

    return patched((MemoryStorage, "_free", free))


def tests_the_first_draw_again() -> AbstractContextManager[None]:
    def free(self: MemoryStorage, new: Any, opened: Any, redraw: Any) -> Any:
        offered, place = new, new.credential[:2]
        for _ in range(1_000):  # a visitor wants to get home
            if place not in self._credentials and place not in opened:
                return offered
            offered = redraw(offered)
        raise AssertionError("it never ends")

    return patched((MemoryStorage, "_free", free))


def looks_only_before_it_adds() -> AbstractContextManager[None]:
    return patched((sqlite_adding, "_TAKEN", f"{sqlite_adding._TAKEN} AND false"))


def logs_what_is_typed() -> AbstractContextManager[None]:
    real = Engine.authenticate

    def authenticate(self: Engine, **told: Any) -> Any:
        logging.getLogger("cardbill").debug("CARDNUMBER ::> %s", told.get("pin"))
        return real(self, **told)

    return patched((Engine, "authenticate", authenticate))


def repeats_what_was_dialled() -> AbstractContextManager[None]:
    real = DialPlan.called

    def called(self: DialPlan, dialled: str) -> str:
        try:
            return real(self, dialled)
        except InvalidNumber as error:
            raise InvalidNumber("to", dialled, f"{dialled!r} {error.problem}") from None

    return patched((DialPlan, "called", called))


def shows_secrets_when_debugged() -> AbstractContextManager[None]:
    return patched((Secret, "__repr__", lambda self: f"Secret({self.kind}, {self.plain})"))


def puts_callers_into_statements() -> AbstractContextManager[None]:
    real = Engine.authenticate

    def authenticate(self: Engine, *, ani: str | None = None, **told: Any) -> Any:
        assert isinstance(self.storage, SQLiteStorage)
        with self.storage._connections.lend() as connection:
            connection.execute(f"SELECT card FROM credential WHERE card = '{ani}'").fetchall()
        return real(self, ani=ani, **told)

    return patched((Engine, "authenticate", authenticate))


def puts_searches_into_statements() -> AbstractContextManager[None]:
    real = SQLiteStorage.records

    def records(self: SQLiteStorage, *, batch: str | None = None, **where: Any) -> Any:
        if batch is None or where.get("after"):
            return real(self, batch=batch, **where)
        with self._connections.lend() as connection:
            found = connection.execute(
                f"SELECT card FROM record WHERE batch = '{batch}'"
            ).fetchall()
        return [row for (card,) in found for row in real(self, card=card)]

    return patched((SQLiteStorage, "records", records))


def counts_guesses_in_each_call_alone() -> AbstractContextManager[None]:
    return patched((Gate, "_number", lambda self, ani: None))


def stores_pins_as_they_are() -> AbstractContextManager[None]:
    return patched(
        (Keyring, "token", lambda self, text, kind: b"\1" + text.encode()),
        (Keyring, "tokens", lambda self, text, kind: [b"\1" + text.encode()]),
    )


def takes_any_digits_for_digits() -> AbstractContextManager[None]:
    return patched((dialing, "is_digits", lambda text: isinstance(text, str) and text.isdigit()))


def reads_amounts_as_python_does() -> AbstractContextManager[None]:
    return patched((money, "_is_decimal", lambda value: True))


def takes_any_digits_for_a_pin() -> AbstractContextManager[None]:
    return patched(
        (uploading, "refuse", lambda pin, **_: None if pin.isdigit() else ("other", "is none"))
    )


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    69, "A2Billing, its function MDP",
    "The generator is seeded with microseconds before each draw: a million numbers at any length.",
    draws_by_the_clock,
)  # fmt: skip
def the_clock_says_nothing_about_pins(folder: Path) -> None:
    stopped = patched((time, "time", lambda: 1), (time, "time_ns", lambda: 1_000_000_000))
    with cardbill.open("memory:", keyring=Keyring.generate()) as bill, stopped:
        assert len({draw(12, bill.batches._below) for _ in range(1_000)}) == 1_000


@SECTION.defect(
    70, "ASTPP, its function find_uniq_rendno",
    "A number that is taken is drawn again once, and the second one is not looked up.",
    draws_again_once,
)  # fmt: skip
def a_number_is_drawn_until_it_is_free(folder: Path) -> None:
    with open_shop("memory", folder, quantity=2, numbers=[CANARY] * 4) as shop:
        assert shop.bill.storage.counts().credentials == 2
        assert shop.pin(1) != shop.pin(2)
        for serial in (1, 2):
            caller = shop.bill.authenticate(pin=shop.pin(serial))
            assert isinstance(caller, Caller)
            assert caller.card_id == f"B/{serial}"


@SECTION.defect(
    71, "ASTPP, its function find_uniq_rendno_customer",
    "The loop tests the first number again and again, and never ends once that is taken.",
    tests_the_first_draw_again,
)  # fmt: skip
def a_space_of_numbers_can_be_filled_to_the_last(folder: Path) -> None:
    numbers = random.Random(71)
    below = lambda _: numbers.randrange(1, 60)  # noqa: E731
    with cardbill.open("memory:", keyring=Keyring.generate(), below=below) as bill:
        bill.batches.create(Batch(name="B", face_value=Money(5, USD), quantity=59))
        assert bill.batches.generate_pins("B").count == 59
        assert bill.storage.counts().credentials == 59


@SECTION.defect(
    72, "A2Billing, its function generate_unique_value",
    "A number is looked up first and added later; taken meanwhile, the whole job fails.",
    looks_only_before_it_adds, error=ConstraintViolated,
)  # fmt: skip
def a_number_taken_meanwhile_is_drawn_again(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        other = shop.second(below=KnownNumbers([CANARY]))
        shop.bill.batches._below = KnownNumbers([CANARY])
        for name, quantity in (("mine", 1_001), ("other", 1)):
            batch = Batch(name=name, face_value=Money(5, USD), quantity=quantity)
            shop.bill.batches.create(batch)

        def progress(done: int, total: int) -> None:
            if done == total:  # the first of them was drawn and laid aside long ago
                other.batches.generate_pins("other")

        assert shop.bill.batches.generate_pins("mine", progress=progress).count == 1_001
        assert shop.pin(1, "other") == PIN
        assert shop.pin(1, "mine") != PIN


@contextmanager
def overheard() -> Iterator[list[str]]:
    """All that is logged meanwhile, at any level."""
    said: list[str] = []
    handler, root = logging.Handler(), logging.getLogger()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield said
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@SECTION.defect(
    79, "ASTPP and A2Billing, their calling-card scripts",
    "Card numbers, PINs and vouchers stand in the logs.",
    logs_what_is_typed,
)  # fmt: skip
def no_log_and_no_answer_shows_a_pin(folder: Path) -> None:
    with open_shop("sqlite", folder, numbers=[CANARY]) as shop, overheard() as said:
        for pin in (PIN, WRONG):
            for answer in (
                shop.bill.authenticate(pin=pin, ani=CALLER),
                shop.bill.authorize(pin=pin, to=UK, call_id="c1", ani=CALLER),
                shop.bill.accounts.redeem("B/2", pin=pin, key="k"),
            ):
                said += [repr(answer), str(answer)]
        assert not [text for text in said if PIN in text or WRONG in text]


@SECTION.defect(
    80, "Yubico PAM, Yubico/yubico-pam#184",
    "A secret that is typed into the wrong field is logged.",
    repeats_what_was_dialled,
)  # fmt: skip
def a_pin_dialled_as_a_number_is_not_repeated(folder: Path) -> None:
    with open_shop("memory", folder, numbers=[CANARY]) as shop:
        answer = shop.ask(to=PIN)
        assert isinstance(answer, Denied)
        assert answer.reason.value == "invalid_number"
        assert PIN not in repr(answer)
        with pytest.raises(InvalidNumber) as refused:
            NORTH_AMERICA.called(PIN)
        assert PIN not in f"{refused.value} {refused.value!r} {vars(refused.value)}"


@SECTION.defect(
    81, "OpenSC, OpenSC#877",
    "The PIN stands in what is printed at debug level 3.",
    shows_secrets_when_debugged,
)  # fmt: skip
def what_holds_a_pin_does_not_print_it(folder: Path) -> None:
    presented = Presented(pin=PIN, ani=CALLER)
    uploaded = UploadedPin(pin=PIN, balance=None, first_used_at=None, expires_at=None)
    for thing in (presented, presented.secret(NORTH_AMERICA), uploaded):
        assert PIN not in f"{thing!r} {thing} {[thing]}"


@SECTION.defect(
    82, "ASTPP, its function get_ani",
    "The caller's number is put into an SQL statement as it comes.",
    puts_callers_into_statements, error=StorageUnavailable,
)  # fmt: skip
def no_number_of_a_caller_is_sql(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        before = rows(shop.bill.storage)
        for number in HOSTILE:
            assert isinstance(shop.bill.authenticate(pin=shop.pin(), ani=number), Caller)
        assert rows(shop.bill.storage) == before


@SECTION.defect(
    83, "OpenSIPS Control Panel, OpenSIPS-CP#215",
    "The search field for call records takes SQL.",
    puts_searches_into_statements, error=StorageUnavailable,
)  # fmt: skip
def no_search_for_records_is_sql(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        for text in HOSTILE:
            found: list[CallRecord] = list(shop.bill.records(batch=text))
            found += shop.bill.records(card_id=text)
            assert found == []
        assert len(list(shop.bill.records(batch="B"))) == 1


@SECTION.cannot(
    84, "ASTPP, ASTPP#611 and EDB-47889",
    "A chain of faults in the web pages ends in commands that run as root.",
    "There is nothing to chain: the library has no pages and no users of its own, and no line of "
    "it, but for the kit that tests stores, starts a program, evaluates text or unpickles.",
)  # fmt: skip
def no_line_starts_a_program_or_evaluates_text(folder: Path) -> None:
    banned = {"subprocess", "pty", "ctypes", "pickle", "marshal", "shelve", "code", "runpy"}
    calls = {"eval", "exec", "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv"}
    sources = {name: text for name, text in read_sources().items() if "testing." not in name}
    for module, source in sources.items():
        used = {target.split(".")[0] for _, target in imports(module, source)}
        called = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call)
        }
        assert used.isdisjoint(banned), module
        assert called.isdisjoint(calls), module


@SECTION.defect(
    85, "ASTPP and A2Billing, their checks of PINs",
    "PINs are stored in clear, and wrong ones are counted within one call only.",
    counts_guesses_in_each_call_alone, stores_pins_as_they_are,
)  # fmt: skip
def a_stolen_file_and_a_patient_guesser_get_no_pin(folder: Path) -> None:
    with open_shop("sqlite", folder, numbers=[CANARY]) as shop:
        stored = b"".join(path.read_bytes() for path in folder.glob("cards.db*"))
        assert PIN.encode() not in stored
        for number in range(5):
            shop.bill.authenticate(pin=WRONG[:-1] + str(number), ani=CALLER, call_id=f"c{number}")
        answer = shop.bill.authenticate(pin=PIN, ani=CALLER, call_id="c6")
        assert isinstance(answer, Denied)
        assert answer.reason.value == "locked_out"


def _refused(folder: Path, shop: Shop, pin: str) -> None:
    (folder / "pins.csv").write_text(f"pin\n{pin}\n", encoding="utf-8")
    with pytest.raises(InvalidInput):
        shop.bill.batches.upload_pins("U", folder / "pins.csv", dry_run=True)


@SECTION.defect(
    86, "python-stdnum#96 and pydantic-extra-types#120",
    "Superscripts and the digits of other scripts pass as digits.",
    takes_any_digits_for_digits, reads_amounts_as_python_does, takes_any_digits_for_a_pin,
)  # fmt: skip
def only_0_to_9_are_digits(folder: Path) -> None:
    for number in (
        "١٣٠٥٥٥٥٠١٠٠",
        "1305555010²",
        "\uff11\uff13\uff10\uff15\uff15\uff15\uff15\uff10\uff11\uff10\uff10",
        "13055550100\n",
        "1_305_555_0100",
    ):
        with pytest.raises(InvalidNumber):
            NORTH_AMERICA.called(number)
    for amount in ("١٢", "1_2", " 12 ", "1e3", "12\n"):
        with pytest.raises(InvalidInput):
            money.units("amount", amount, "USD")
    with open_shop("memory", folder) as shop:
        shop.bill.batches.create(Batch(name="U", face_value=Money(5, USD), quantity=1))
        for pin in ("١٢٣٤٥٦٧٨٩٠١٢", "12345678901²"):
            _refused(folder, shop, pin)
