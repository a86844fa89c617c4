"""A deck written as CSV reads back as the same deck, and opens in a spreadsheet without harm."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import cardbill
from cardbill import Band, Deck, DeckRow, Rate, Rounding, RoundingMode, Step
from cardbill.errors import DeckRefused, InvalidInput
from cardbill.increments import BlockRounding
from cardbill.rating import Beyond

BANDS = [Band("=peak", "Mon-Fri 08:00-18:00"), Band("night", "Mon-Sun 20:00-06:00")]
LARGEST = 2**63 - 1

amounts = st.one_of(st.just(0), st.integers(1, 10**7), st.integers(0, LARGEST))
seconds = st.one_of(st.just(0), st.integers(0, 10**9))
increments = st.one_of(st.sampled_from([1, 6, 30, 60]), st.integers(1, 10**9))


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    begins = [0, *sorted(draw(st.sets(st.integers(1, 10**9), max_size=3)))]
    price = draw(st.one_of(st.none(), amounts))
    steps = [Step(b, draw(amounts) if price is None else price, draw(increments)) for b in begins]
    if len(steps) == 2 and draw(st.booleans()):
        steps[1] = Step(steps[0].increment, steps[1].price_per_minute, steps[1].increment)
    terms: dict[str, Any] = {
        "steps": steps,
        "connect_fee": draw(amounts),
        "grace_seconds": draw(seconds),
        "free_seconds": draw(seconds),
        "minimum_charge": draw(amounts),
        "end_fee": draw(amounts),
        "surcharge_ppm": draw(amounts),
        "rounding": Rounding(
            draw(st.sampled_from([1, 100, 10_000, 12_345])), draw(st.sampled_from(RoundingMode))
        ),
        "block_rounding": draw(st.sampled_from(BlockRounding)),
    }
    unit = terms["rounding"].unit
    lowest = -(-terms["minimum_charge"] // unit)
    if draw(st.booleans()) and lowest * unit <= LARGEST:
        terms["maximum_charge"] = draw(st.integers(lowest, LARGEST // unit)) * unit
        terms["beyond_maximum"] = draw(st.sampled_from(Beyond))
    try:
        return Rate(**terms)
    except InvalidInput:  # a maximum that ends the call before anything is billed
        return Rate(**(terms | {"beyond_maximum": Beyond.FREE}))


names = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["=1+1", "'=1", "''@x", "-", "+44", "'", "it's", '"', "a,b;c", "x\r\ny", "@"]),
)
instants = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@st.composite
def deck_rows(draw: st.DrawFn) -> DeckRow:
    begin, end = draw(st.none() | instants), draw(st.none() | instants)
    if begin and end and end <= begin:
        end = None
    return DeckRow(
        prefix=draw(st.text("0123456789", min_size=1, max_size=15)),
        rate=draw(rates()),
        destination=draw(names),
        blocked=draw(st.booleans()),
        band=draw(st.sampled_from(["", *(band.name for band in BANDS)])),
        effective_from=begin,
        effective_until=end,
    )


def place(row: DeckRow) -> tuple[object, ...]:
    return row.prefix, row.band, row.effective_from


@given(st.lists(deck_rows(), min_size=1, max_size=5, unique_by=place))
def test_a_deck_that_is_written_reads_back_term_by_term(rows: list[DeckRow]):
    deck = Deck.compile(rows, currency="JOD", bands=BANDS)
    file = io.StringIO()
    assert cardbill.write_deck(deck, file) == len(deck)
    file.seek(0)
    back = cardbill.read_deck(file, currency="JOD", bands=BANDS)

    def told(deck: Deck) -> list[tuple[object, ...]]:
        return [
            (*place(row), row.rate, row.destination.strip(), row.blocked, row.effective_until)
            for row in deck.rows()
        ]

    assert told(back) == told(deck)


def test_the_longest_increments_are_written_too():
    steps = (Step(0, 1, 60), Step(60, 1, 10**9))
    deck = Deck.compile([DeckRow(prefix="44", rate=Rate(steps=steps))], currency="USD")
    file = io.StringIO()
    cardbill.write_deck(deck, file)
    file.seek(0)
    assert [row.rate.steps for row in cardbill.read_deck(file, currency="USD").rows()] == [steps]


def sample() -> Deck:
    row = DeckRow(prefix="44", rate=cardbill.rate("0.02", increments="60/6"), destination="=A1")
    return Deck.compile([row], currency="USD")


def test_no_cell_is_taken_for_a_formula_and_most_columns_are_plain():
    file = io.StringIO()
    cardbill.write_deck(sample(), file)
    (cells,) = csv.DictReader(io.StringIO(file.getvalue()))
    assert cells["destination"] == "'=A1"
    assert cells["price_per_minute"] == "0.02"
    assert cells["increments"] == "60/6"
    assert (cells["steps"], cells["effective_from"], cells["maximum_charge"]) == ("", "", "")
    assert cells["currency"] == "USD"


def test_a_deck_is_not_read_back_in_another_currency():
    file = io.StringIO()
    cardbill.write_deck(sample(), file)
    file.seek(0)
    with pytest.raises(DeckRefused, match="USD"):
        cardbill.read_deck(file, currency="EUR")


def test_a_file_by_path_takes_its_place_once_it_is_whole(tmp_path: Path):
    path = tmp_path / "deck.csv"
    path.write_text("before")
    cardbill.write_deck(sample(), path)
    assert len(cardbill.read_deck(path, currency="USD")) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["deck.csv"]


@pytest.mark.parametrize(("deck", "to"), [(None, io.StringIO()), ("44", io.StringIO())])
def test_only_a_deck_can_be_written(deck: Any, to: Any):
    with pytest.raises(InvalidInput):
        cardbill.write_deck(deck, to)


def test_a_real_price_list_survives_the_round_trip(shared_data: Path, tmp_path: Path):
    path = shared_data / "data" / "sdf-outbound-rates.csv"
    deck = cardbill.read_deck(path, currency="USD", on_problem="block")
    cardbill.write_deck(deck, tmp_path / "deck.csv")
    back = cardbill.read_deck(tmp_path / "deck.csv", currency="USD")
    assert back.to_bytes() == deck.to_bytes()
