"""No PIN is ever found where it does not belong: looked for everywhere, in every flow."""

import base64
import gc
import io
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from attrs import define, field
from moneyed import USD, Money

import cardbill
from cardbill import NORTH_AMERICA, AccessNumber, Batch, Denied, Engine, Keyring
from cardbill.calls import make_handle
from cardbill.cli import main
from cardbill.dialled import Dialled
from cardbill.errors import CardbillError
from cardbill.pins import check_pin
from cardbill.presented import Presented
from tests.building import EVERY_STORE, START, UK, KnownNumbers, Shop, open_shop, rows

# Twelve, eight and twenty digits that appear nowhere by chance; one is never a card's.
CANARIES = [902_817_364_551, 40_917_263, 13_579_086_420_975_318_642]
PINS = ["902817364551", "40917263", "13579086420975318642"]
WRONG = "771288339944"
SECRETS = [*PINS, WRONG]
CALLER = "+13055550199"
ANI = "+13055551234"
ACCESS = "18005550009"


@define
class Watch:
    """Collects whatever was said, and looks for the canaries in it."""

    said: list[tuple[str, str]] = field(factory=list)

    def hear(self, where: str, thing: object) -> None:
        """Note a thing as people print it, and all that it holds."""
        self.said.append((f"{where}: repr", repr(thing)))
        self.said.append((f"{where}: str", str(thing)))
        self.said.append((f"{where}: format", f"{thing}"))
        for name in dir(thing):
            if name.startswith("_"):
                continue
            with suppress(Exception):
                value = getattr(thing, name)
                if not callable(value):
                    self.said.append((f"{where}: {name}", repr(value)))

    def ask(self, where: str, question: Callable[[], Any]) -> Any:
        """Note the answer or the error, with its chain and its whole traceback."""
        try:
            answer = question()
        except Exception as error:  # noqa: BLE001  # any error may be told
            self.said.append((f"{where}: traceback", "".join(traceback.format_exception(error))))
            link: BaseException | None = error
            while link is not None:
                self.hear(f"{where}: {type(link).__name__}", link)
                self.said.append((f"{where}: args", repr(link.args)))
                self.said.append((f"{where}: dict", repr(vars(link))))
                hidden = link.__suppress_context__
                link = link.__cause__ or (None if hidden else link.__context__)
            return error
        self.hear(where, answer)
        return answer

    def hits(self) -> list[tuple[str, str]]:
        return [(where, text) for where, text in self.said if any(s in text for s in SECRETS)]


@pytest.fixture(params=EVERY_STORE)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Three batches of one card each, whose PINs are the canaries."""
    with open_shop(
        request.param, tmp_path, quantity=1, numbers=CANARIES[:1], plan={"ani_limit": 2}
    ) as opened:
        for name, number, length in (("C", CANARIES[1], 8), ("D", CANARIES[2], 20)):
            opened.bill.batches.create(
                Batch(
                    name=name,
                    face_value=Money(5, USD),
                    quantity=1,
                    pin_length=length,
                    plan="Basic",
                    expires_days_after_first_use=3,
                )
            )
            opened.second(below=KnownNumbers([number])).batches.generate_pins(name)
        assert [opened.pin(1, batch) for batch in "BCD"] == PINS
        yield opened


def every_flow(shop: Shop, watch: Watch) -> None:
    """All that a host, a caller and an operator do, rightly and wrongly."""
    bill = shop.bill
    for batch, pin in zip("BCD", PINS, strict=True):
        serve(bill, watch, f"{batch}/1", pin)
        issue(bill, watch, f"{batch}/1", pin)
    odd: list[Any] = [WRONG, PINS[0] + "0", PINS[0][:-1], int(PINS[0]), PINS[0].encode(), [PINS]]
    for wrong in odd:
        watch.ask("wrong", partial(bill.authenticate, pin=wrong))
        watch.ask("wrong", partial(bill.authorize, pin=wrong, to=UK, call_id="w"))
    throttled(bill, watch)
    caller = bill.authenticate(pin=PINS[0])
    watch.ask("both", partial(bill.authorize, caller, pin=PINS[0], to=UK, call_id="w"))
    for batch, pin in zip("BCD", PINS, strict=True):
        call_in(bill, watch, f"{batch}/1", pin)
    naive = START.replace(tzinfo=None)
    watch.ask("bad instant", partial(bill.authenticate, pin=PINS[0], at=naive))
    watch.ask("bad call id", partial(bill.authorize, pin=PINS[0], to=UK, call_id=""))
    shop.clock.tick(days=9)
    watch.ask("sweep", bill.sweep)
    watch.ask("margin", bill.reports.margins)
    watch.ask("taxes", bill.reports.taxes)
    watch.ask("hung", lambda: list(bill.reports.hung_calls()))
    for batch in "BCD":
        statement = watch.ask("statement", partial(bill.statement, f"{batch}/1"))
        watch.hear("statement", statement.text() + statement.csv())
    watch.ask("audit", bill.audit)
    watch.ask("expired", partial(bill.authenticate, pin=PINS[1]))
    watch.hear("engine", bill)
    watch.hear("keyring", shop.keyring)
    watch.hear("storage", bill.storage)


def throttled(bill: Engine, watch: Watch) -> None:
    """Guess until the number is locked, at places whose names hold what was dialled."""
    bill.access_numbers.publish(AccessNumber(number=ACCESS))
    for pin in (WRONG, *PINS, WRONG, WRONG, *PINS):
        place: dict[str, Any] = {"ani": ANI, "call_id": "w2", "access": ACCESS, "trunk": "T"}
        watch.ask("guess", partial(bill.authenticate, pin=pin, **place))
        for wrong in (pin, ""):
            for name in ("access", "trunk"):
                given: dict[str, Any] = {name: f"{wrong}*" * 20}
                watch.ask("odd place", partial(bill.authenticate, pin=pin, **given))
    for _ in range(5):
        watch.ask("guess", partial(bill.authenticate, pin=WRONG, ani=ANI))
    locked = watch.ask("locked", partial(bill.authenticate, pin=PINS[0], ani=ANI))
    assert locked.reason.value == "locked_out"
    watch.hear("throttle", bill._gate)


def serve(bill: Engine, watch: Watch, card: str, pin: str) -> None:
    caller = watch.ask("authenticate", partial(bill.authenticate, pin=pin))
    for number, to in enumerate((UK, pin, f"+{pin}", f"011{pin}", f"{pin}#", "00")):
        answer = watch.ask(
            "two stages", partial(bill.authorize, caller, to=to, call_id=f"x{number}")
        )
        assert answer.granted == (to == UK)
        if answer.granted:
            watch.ask("cancel", partial(bill.cancel, answer.handle))
    grant = watch.ask("one stage", partial(bill.authorize, pin=pin, to=UK, call_id="c1"))
    assert grant.granted
    for to in (pin, f"011{pin}", WRONG):
        for call_id in ("c1", "c2"):  # another number for the call, and a call too many
            watch.ask("refused", partial(bill.authorize, pin=pin, to=to, call_id=call_id))
    settled = watch.ask(
        "settle", partial(bill.settle, grant.handle, talk_ms=61_000, carrier="acme")
    )
    assert settled.price_units
    watch.ask("settle otherwise", partial(bill.settle, grant.handle, talk_ms=1))
    watch.ask("ended", partial(bill.authorize, pin=pin, to=UK, call_id="c1"))
    for handle in (pin, f"{pin}==", make_handle("GONE/1", "c9")):
        watch.ask("no such call", partial(bill.settle, handle, talk_ms=1))
        watch.ask("no such call", partial(bill.cancel, handle))
    watch.ask("card", partial(bill.card, card))
    watch.ask("entries", lambda: list(bill.entries(card)))
    watch.ask("records", lambda: list(bill.records(card_id=card)))


def call_in(bill: Engine, watch: Watch, card: str, pin: str) -> None:
    """All the ways in: dialled strings right and wrong, card numbers, callers' numbers."""
    bill.access_numbers.publish(
        AccessNumber(number="18005550001", stage="one", pin_length=len(pin))
    )
    for asks in ("number+pin", "ani"):
        number = {"number+pin": "18005550002", "ani": "18005550003"}[asks]
        bill.access_numbers.publish(AccessNumber(number=number, stage="one", credential=asks))
    strings: list[Any] = [
        *(f"{pin}*{UK}", f"18005550001*{pin}*{UK}#", f"{pin}{UK}", pin, f"{pin}*", f"{pin}#"),
        *(f"{pin}*{pin}", f"{pin}*{UK}*{pin}", f"{WRONG}*{pin}", f"{pin}x{UK}", f"*{pin}"),
        *(f"{UK}*{pin}", f"18005550001*{pin}", f"{pin}*{pin}*{pin}*{pin}", f"+{pin}*{UK}"),
        *(f"{WRONG}{UK}", f"{pin[:-1]}*{UK}", [pin], pin.encode(), int(pin)),
    ]
    granted = 0
    for access in ("18005550001", "18005550002", "18005550003", pin, f"+{pin}", None):
        for turn, dialled in enumerate(strings):
            ani = f"+1786{len(watch.said):07d}"  # each guesses once: nobody is locked out
            told = {"dialled": dialled, "access": access, "ani": ani}
            call_id = f"{str(access)[-2:]}-{turn}"
            answer = watch.ask("dialled", partial(bill.authorize, call_id=call_id, **told))
            if getattr(answer, "granted", False):
                granted += 1
                watch.ask("record", partial(bill.cancel, answer.handle))
    assert granted >= 3
    ways: list[dict[str, Any]] = [
        {"card_number": pin, "pin": pin},
        {"card_number": pin},
        {"card_number": [pin]},
        {"card_number": WRONG, "pin": pin},
        {"ani": pin},
        {"access": pin},
        {"ani": CALLER},
    ]
    for keyed in ways:
        watch.ask("keyed", partial(bill.authenticate, **keyed))
        watch.ask("keyed", partial(bill.authorize, to=UK, call_id="k1", **keyed))
    caller = bill.authenticate(pin=pin, ani=CALLER)
    who: list[Any] = [caller, card, pin, WRONG]
    for of in who:
        watch.ask("register", partial(bill.callers.register, of))
        watch.ask("register", partial(bill.callers.register, of, CALLER, confirm=True))
        watch.ask("confirm", partial(bill.callers.confirm, of, "305555"))
        watch.ask("numbers", partial(bill.callers.numbers, of))
        watch.ask("unregister", partial(bill.callers.unregister, of, access=pin))
    watch.ask("register", partial(bill.callers.register, card, CALLER, access=WRONG))
    watch.ask("pinless", partial(bill.authorize, ani=CALLER, to=pin, call_id="p1"))


def issue(bill: Engine, watch: Watch, card: str, pin: str) -> None:
    batch, masked = card[0], io.StringIO()
    watch.ask("pins", partial(bill.batches.pins, batch))
    watch.ask("status", partial(bill.batches.pins, batch, status="active"))
    watch.ask("utilisation", partial(bill.reports.utilisation, batch))
    watch.ask("generate again", partial(bill.batches.generate_pins, batch))
    watch.ask("second job", partial(bill.batches.generate_pins, batch, job="2"))
    watch.ask("export", partial(bill.batches.export, batch, masked))
    watch.hear("masked export", masked.getvalue())
    watch.ask("no reason", partial(bill.batches.reveal, card, actor="a", reason=""))
    watch.ask("no card", partial(bill.batches.reveal, "B/99", actor="a", reason="r"))
    # What is asked for is given, and is not kept.
    assert bill.batches.reveal(card, actor="ann", reason="lost") == pin
    bill.batches.export(batch, io.StringIO(), with_pins=True, actor="ann", reason="print")


def test_no_pin_is_said_or_kept_anywhere(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    watch = Watch()
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        every_flow(shop, watch)
        if shop.url != "memory:":
            main(["audit", shop.url])
    assert len(watch.said) > 1_000
    watch.said += [("log", record.getMessage() + repr(record.args)) for record in caplog.records]
    watch.said += [("warning", str(warning.message)) for warning in warned]
    watch.said += [("stdout and stderr", "".join(capsys.readouterr()))]
    watch.said += [
        (f"stored {table}", repr(row))
        for table, found in rows(shop.bill.storage).items()
        for row in found
    ]
    assert watch.hits() == []
    kept = rows(shop.bill.storage)
    assert CALLER in repr(kept["records"])  # callers' numbers are in records, and only there
    assert any(row.kind == "ani" for row in kept["credentials"])
    for table in ("cards", "credentials", "catalogue", "suspense", "audit"):
        assert CALLER[2:] not in repr(kept[table]), table
        assert CALLER[2:].encode().hex() not in repr(kept[table]), table
    assert len(kept["suspense"]) == 1
    assert len([row for row in shop.log() if row.actor]) == 3 * 3
    files = [path for path in tmp_path.iterdir() if path.name.startswith("cards.db")]
    if shop.url.startswith("sqlite:"):
        assert {path.name for path in files} == {"cards.db", "cards.db-wal", "cards.db-shm"}
    for path in files:
        content = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in content, path
            assert secret.encode("utf-16-le") not in content, path
            assert int(secret).to_bytes(9, "big").lstrip(b"\0") not in content, path


def test_the_watch_finds_what_it_looks_for():
    """A test that finds nothing must be able to find something."""

    def leak() -> None:
        raise ValueError(f"no card has {PINS[0]}")

    watch = Watch()
    watch.ask("leak", leak)
    assert {where.split(": ")[-1] for where, _ in watch.hits()} >= {
        "traceback",
        "repr",
        "str",
        "args",
    }
    watch = Watch()
    watch.hear("object", Keyring.generate())
    assert watch.hits() == []
    watch.hear("object", {"pin": PINS[1]})
    assert watch.hits()


def test_no_object_that_stays_alive_holds_a_pin(shop: Shop):
    """An engine that has served callers keeps none of what they keyed."""
    for pin in PINS:
        shop.bill.authenticate(pin="".join(list(pin)))
        shop.bill.authorize(pin="".join(list(pin)), to=UK, call_id="c1")
    gc.collect()
    seen: set[int] = set()
    waiting: list[Any] = [shop.bill]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType):
            continue
        seen.add(id(thing))
        if isinstance(thing, str | bytes):
            text = thing if isinstance(thing, str) else thing.decode("latin-1")
            assert not any(secret in text for secret in SECRETS)
            continue
        if isinstance(thing, FunctionType):  # what it closed over, not its module
            waiting.extend([thing.__closure__, thing.__defaults__, thing.__kwdefaults__])
        elif not type(thing).__module__.startswith("tests."):
            waiting.extend(gc.get_referents(thing))
    assert len(seen) > 300


@pytest.mark.parametrize("batch", ["B", "C", "D"])
def test_neither_token_nor_sealed_copy_shows_the_digits(shop: Shop, batch: str):
    pin = shop.pin(1, batch)
    (credential,) = shop.bill.storage.credentials([f"{batch}/1"], "pin")
    assert len(credential.token) == 33
    assert credential.sealed is not None
    for shown in (credential.token, credential.sealed):
        assert pin.encode() not in shown
        assert pin not in shown.hex()
    other = Keyring.generate()
    assert other.token(pin) != credential.token  # the key counts, not the digits alone


def test_the_same_pin_is_sealed_differently_each_time():
    keyring = Keyring.generate()
    copies = {keyring.seal(PINS[0], "B/1") for _ in range(50)}
    assert len(copies) == 50


@pytest.mark.parametrize(
    "use",
    [
        lambda pin, ring: check_pin(pin),
        lambda pin, ring: check_pin(pin + "\n"),
        lambda pin, ring: check_pin(pin * 9),
        lambda pin, ring: check_pin(int(pin)),
        lambda pin, ring: ring.token(pin + "\ud800"),
        lambda pin, ring: ring.seal(pin + "\ud800", "B/1"),
        lambda pin, ring: ring.seal(pin, 5),
        lambda pin, ring: ring.unseal(ring.seal(pin, "B/1"), "B/2"),
        lambda pin, ring: ring.unseal(ring.seal(pin, "B/1")[:-1], "B/1"),
        lambda pin, ring: Keyring.generate().unseal(ring.seal(pin, "B/1"), "B/1"),
        lambda pin, ring: Keyring(lookup={1: b"x" * 32}, audit={1: b"a" * 32}).seal(pin, "B/1"),
        lambda pin, ring: NORTH_AMERICA.e164(pin),
        lambda pin, ring: NORTH_AMERICA.e164(pin + "#"),
    ],
)
@pytest.mark.parametrize("pin", PINS)
def test_an_error_about_a_pin_does_not_repeat_it(
    use: Callable[[str, Keyring], Any], pin: str, request: pytest.FixtureRequest
):
    watch = Watch()
    answer = watch.ask("use", lambda: use(pin, Keyring.generate()))
    if isinstance(answer, Exception):
        assert watch.hits() == []


@pytest.mark.parametrize(
    "use",
    [
        lambda bill: bill.card(PINS[0]),
        lambda bill: list(bill.entries(PINS[0])),
        lambda bill: bill.batches.reveal(PINS[0], actor="a", reason="r"),
        lambda bill: bill.authorize(PINS[0], to=UK, call_id="c1"),
    ],
    ids=["card", "entries", "reveal", "authorize"],
)
def test_a_pin_given_where_a_card_is_named_is_not_repeated(
    shop: Shop, use: Callable[[cardbill.Engine], Any]
):
    """Support types the number it was told; the log must not have it then."""
    watch = Watch()
    error = watch.ask("misplaced", lambda: use(shop.bill))
    assert isinstance(error, CardbillError)
    assert watch.hits() == []


def test_a_pin_dialled_as_the_destination_is_not_in_the_denial(shop: Shop):
    for pin in PINS:
        denied = shop.bill.authorize(pin=PINS[0], to=pin, call_id="c1")
        assert isinstance(denied, Denied)
        watch = Watch()
        watch.hear("denied", denied)
        assert watch.hits() == []
    assert "902817364551" not in repr(rows(shop.bill.storage))


@pytest.mark.parametrize("pin", PINS)
def test_what_a_caller_presents_is_not_shown(pin: str):
    who = Presented(pin=pin, card_number=pin, dialled=f"{pin}*{pin}", to=pin)
    assert pin not in f"{who!r}{who}{Dialled(pin=pin, card_number=pin, to=pin)!r}"


def test_a_keyring_shows_no_key(tmp_path: Path):
    keyring = Keyring(
        lookup={1: b"K" * 32, 7: b"L" * 32}, sealing={3: b"S" * 32}, audit={2: b"A" * 32}
    )
    for text in (repr(keyring), str(keyring), f"{keyring}"):
        assert text == "Keyring(lookup=[1, 7], audit=[2], sealing=[3])"
    path = tmp_path / "cards.key"
    path.write_text(keyring.dumps()[:-5])
    path.chmod(0o600)
    encoded = base64.b64encode(b"K" * 32).decode()[:12]
    assert encoded in path.read_text()
    for use in (
        lambda: Keyring.load(path),
        lambda: Keyring.loads(f'{{"format": 1, "lookup": {{"1": "{encoded}"}}}}'.encode()),
        lambda: Keyring.loads(f'{{"format": 1, "lookup": {{"1": "{encoded}!"}}}}'.encode()),
        lambda: Keyring.loads(f'{{"format": 2, "lookup": "{encoded}"}}'.encode()),
        lambda: Keyring(lookup={1: b"K" * 31}, audit={1: b"K" * 32}),
    ):
        watch = Watch()
        error = watch.ask("keys", use)
        assert isinstance(error, CardbillError)
        assert not [said for said in watch.said if "KKK" in said[1]]
        assert not [said for said in watch.said if encoded in said[1] and "lambda" not in said[1]]


def test_the_audit_log_names_who_and_what_but_no_pin(shop: Shop):
    shop.bill.batches.reveal("B/1", actor="ann", reason="lost")
    shop.clock.tick(hours=1)
    shop.bill.batches.export("C", io.StringIO(), with_pins=True, actor="bob", reason="print")
    log = shop.log()
    assert [(row.actor, row.action, row.subject) for row in log] == [
        ("ann", "reveal-pin", "B/1"),
        ("bob", "export-pins-begun", "C"),
        ("bob", "export-pins", "C"),
    ]
    assert log[1].at - log[0].at == timedelta(hours=1) // timedelta(microseconds=1)
    assert not any(secret in repr(log) for secret in SECRETS)
