"""The terms of a rate, read from the cells of a row."""

from __future__ import annotations

from collections.abc import Container, Mapping

from cardbill import money
from cardbill.csvfiles import CellRefused
from cardbill.errors import InvalidInput
from cardbill.increments import BlockRounding, Step, parse_increments, steps_of
from cardbill.rating import Beyond, Rate, Rounding
from cardbill.workbooks import NumberText

NUMBERS = (
    "connect_fee",
    "grace_seconds",
    "free_seconds",
    "minimum_charge",
    "end_fee",
    "surcharge_percent",
    "maximum_charge",
)
WORDS = (
    "increments",
    "first_increment",
    "next_increment",
    "steps",
    "rounding",
    "beyond_maximum",
    "block_rounding",
)


class RateCells:
    """Reads the rates of one file; rows that say the same share one.

    Args:
        currency: ISO 4217 code.
        rounding: Of rates that name none.
        decimal: The decimal mark, ``.`` or ``,``.
        columns: The fields that the file has a column for.
    """

    def __init__(
        self, currency: str, rounding: Rounding, decimal: str, columns: Container[str]
    ) -> None:
        self._currency = currency
        self._rounding = rounding
        self._decimal = decimal
        self._columns = columns
        self._numbers = [name for name in NUMBERS if name in columns]
        self._words = [name for name in WORDS if name in columns]
        self._known: dict[tuple[str, ...], Rate] = {}

    def rate(self, cells: Mapping[str, str], price: str) -> Rate:
        """Return the rate of a row.

        Args:
            cells: The price, and the fields of :data:`NUMBERS` and :data:`WORDS` that the
                file has columns for.
            price: The field that has the price per minute.

        Raises:
            InvalidInput: A term cannot be used; its field is named.
        """
        numbers = [self._plain(name, cells[name]) for name in (price, *self._numbers)]
        if not numbers[0]:
            raise CellRefused(price, None, "missing", f"no {price}")
        texts = (*numbers, *(cells[name] for name in self._words))
        if (known := self._known.get(texts)) is None:
            given = dict(zip((price, *self._numbers, *self._words), texts, strict=True))
            plain = dict.fromkeys((*NUMBERS, *WORDS), "") | given
            known = self._known[texts] = self._build(plain, price)
        return known

    def _plain(self, field: str, cell: str) -> str:
        """Return a number with a decimal point, whatever mark the file has."""
        if self._decimal == "." or isinstance(cell, NumberText):
            return str(cell)
        if "." in cell:
            raise InvalidInput(field, cell, "has a point where the decimal mark is a comma")
        return cell.replace(",", ".")

    def _build(self, cells: Mapping[str, str], price: str) -> Rate:
        surcharge = cells["surcharge_percent"] or "0"
        most = cells["maximum_charge"]
        return Rate(
            steps=self._steps(cells, price),
            connect_fee=self._amount("connect_fee", cells["connect_fee"]),
            grace_seconds=_parts("grace_seconds", cells["grace_seconds"] or "0", 1),
            free_seconds=_parts("free_seconds", cells["free_seconds"] or "0", 1),
            minimum_charge=self._amount("minimum_charge", cells["minimum_charge"]),
            end_fee=self._amount("end_fee", cells["end_fee"]),
            surcharge_ppm=_parts("surcharge_percent", surcharge.removesuffix("%"), 10_000),
            rounding=self._rounding_of(cells["rounding"]),
            maximum_charge=self._amount("maximum_charge", most) if most else None,
            beyond_maximum=cells["beyond_maximum"].lower() or Beyond.FREE,
            block_rounding=cells["block_rounding"].lower() or BlockRounding.STEP,
        )

    def _amount(self, field: str, text: str) -> int:
        return _unsigned(field, text, money.units(field, text or "0", self._currency))

    def _steps(self, cells: Mapping[str, str], price: str) -> tuple[Step, ...]:
        per_minute = self._amount(price, cells[price])
        if not cells["steps"]:
            return steps_of(per_minute, *_increments(cells, self._columns))
        if cells["increments"] or cells["first_increment"] or cells["next_increment"]:
            raise InvalidInput("steps", cells["steps"], "stand beside increments")
        steps = tuple(self._step(part) for part in cells["steps"].split())
        if steps[0].price_per_minute != per_minute:
            problem = "must begin with the price per minute of the row"
            raise InvalidInput("steps", cells["steps"], problem)
        return steps

    def _step(self, text: str) -> Step:
        begin, _, rest = text.partition(":")
        price, _, increment = rest.partition(":")
        try:
            return Step(
                money.parts("second", begin, 1),
                money.units("price", price, self._currency),
                money.parts("increment", increment, 1),
            )
        except InvalidInput as error:
            problem = "must be steps of second:price:increment, like 0:0.15:60 60:0.10:6"
            raise InvalidInput("steps", text, problem) from error

    def _rounding_of(self, text: str) -> Rounding:
        if not text:
            return self._rounding
        unit, _, mode = text.partition(" ")
        try:
            return Rounding(self._amount("rounding", unit), mode)
        except InvalidInput as error:
            raise InvalidInput("rounding", text, "must be like 0.0001 up") from error


def _parts(field: str, text: str, per_one: int) -> int:
    return _unsigned(field, text, money.parts(field, text, per_one))


def _unsigned(field: str, text: str, value: int) -> int:
    if value < 0:
        raise InvalidInput(field, text, "must not be negative")
    return value


def _increments(cells: Mapping[str, str], columns: Container[str]) -> tuple[int, int]:
    """Return the first and the following increment: of one column, or of two with one each.

    Without any such column a second is billed at a time; but where the file has one, an
    empty cell is no leave to bill less than the rows around it.
    """
    if cells["increments"]:
        return parse_increments("increments", cells["increments"])
    for name in ("first_increment", "next_increment"):
        if "/" in cells[name]:
            raise InvalidInput(name, cells[name], "must be one whole number of seconds")
    first = cells["first_increment"] or cells["next_increment"]
    if not first:
        for name in ("increments", "first_increment", "next_increment"):
            if name in columns:
                raise InvalidInput(name, None, "is empty")
        first = "1"
    first_seconds, _ = parse_increments("first_increment", first)
    following, _ = parse_increments("next_increment", cells["next_increment"] or first)
    return first_seconds, following
