"""Two versions of a deck: told is what numbers would cost otherwise, and nothing else."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import USD, Money

import cardbill
from cardbill import Band, Deck, DeckChanges, DeckRow, Dialect, RateChange
from cardbill.errors import InvalidInput

AT = datetime(2026, 9, 16, tzinfo=UTC)
PEAK = Band("peak", "Mon-Fri 08:00-18:00")


def deck(content: str, **how: Any) -> Deck:
    text = "code;rate;blocked;increments;effective from;band\n" + content.replace(" ", "\n")
    dialect = Dialect(hyphen="range")
    return cardbill.read_deck(
        io.StringIO(text), **{"currency": "USD", "dialect": dialect, "bands": [PEAK], **how}
    )


def row(
    code: str, rate: str, blocked: str = "", steps: str = "1/1", begin: str = "", band: str = ""
) -> str:
    return f"{code};{rate};{blocked};{steps};{begin};{band}"


def told(changes: DeckChanges) -> list[tuple[str, str | None, str, int | None, int | None]]:
    return [
        (change.prefix, change.band, change.change.value, change.old_units, change.new_units)
        for change in changes.rows
    ]


def compare(old: list[str], new: list[str], at: datetime = AT) -> DeckChanges:
    return cardbill.compare_decks(deck(" ".join(old)), deck(" ".join(new)), at=at)


def test_each_kind_of_change_is_told_with_both_prices():
    old = [row("1", "0.1"), row("2", "0.1"), row("3", "0.1"), row("4", "0.1"), row("5", "0.1")]
    new = [row("1", "0.2"), row("2", "0.05"), row("3", "0.1", steps="60/60"), row("5", "0.1")]
    changes = compare(old, [*new, row("6", "0.3")])
    assert told(changes) == [
        ("1", None, "increase", 100_000, 200_000),
        ("2", None, "decrease", 100_000, 50_000),
        ("3", None, "terms", 100_000, 100_000),
        ("4", None, "closed", 100_000, None),
        ("6", None, "new", None, 300_000),
    ]
    assert set(changes.counts.values()) == {1}
    assert list(changes.counts) == list(RateChange)
    assert changes.rows[0].old_price == Money("0.1", USD)
    assert changes.rows[4].old_price is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([row("44", "1")], [row("44", "1"), row("447", "1")]),
        ([row("44", "1"), row("447", "1")], [row("44", "1")]),
        ([row("447400-447409", "1")], [row("44740", "1")]),
        ([row(f"44{n}", "1") for n in range(10)], [row("44", "1")]),
        ([row("44", "1")], [row("44", "1"), row("45", "1", blocked="yes")]),
        ([row("44", "1", begin="2020-01-01")], [row("44", "1", begin="2021-01-01")]),
        ([row("44", "1")], [row("44", "1"), row("44", "1", band="peak")]),
    ],
)
def test_what_numbers_cost_counts_and_not_how_a_deck_is_written(old: list[str], new: list[str]):
    assert told(compare(old, new)) == []


def test_a_code_that_leaves_a_dearer_one_behind_is_an_increase_there():
    changes = compare([row("44", "1"), row("447", "0.5")], [row("44", "1")])
    assert told(changes) == [("447", None, "increase", 500_000, 1_000_000)]


def test_a_blocked_code_is_closed_and_a_price_of_nothing_is_one():
    assert told(compare([row("44", "1")], [row("44", "1", blocked="yes")]))[0][2] == "closed"
    assert told(compare([row("44", "1")], [row("44", "0")])) == [
        ("44", None, "decrease", 1_000_000, 0)
    ]


def test_decks_are_compared_at_the_instant_asked_for():
    old = [row("44", "1"), row("45", "1")]
    new = [*old, row("44", "2", begin="2026-10-01")]
    day = datetime(2026, 10, 1, tzinfo=UTC)
    assert told(compare(old, new, day - timedelta(microseconds=1))) == []
    assert told(compare(old, new, day)) == [("44", None, "increase", 1_000_000, 2_000_000)]


def test_a_rate_that_has_ended_counts_no_more():
    old = DeckRow(prefix="44", rate=cardbill.rate("1"), effective_until=AT)
    new = DeckRow(prefix="44", rate=cardbill.rate("1"))
    before, after = (Deck.compile([each], currency="USD") for each in (old, new))
    assert told(cardbill.compare_decks(before, after, at=AT - timedelta(seconds=1))) == []
    changes = cardbill.compare_decks(before, after, at=AT)
    assert told(changes) == [("44", None, "new", None, 1_000_000)]


def test_each_band_is_compared():
    old = [row("44", "1"), row("44", "2", band="peak")]
    new = [row("44", "1"), row("44", "3", band="peak"), row("447", "1")]
    assert told(compare(old, new)) == [
        ("44", "peak", "increase", 2_000_000, 3_000_000),
        ("447", "peak", "decrease", 2_000_000, 1_000_000),
    ]
    assert compare(old, old).rows == ()


def test_other_hours_of_a_band_are_told():
    old, rows = [row("44", "1")], " ".join([row("44", "1")])
    assert not compare(old, old).bands_differ
    other = deck(rows, bands=[Band("peak", "Mon-Fri 09:00-18:00")])
    changes = cardbill.compare_decks(deck(rows), other, at=AT)
    assert changes.bands_differ
    assert "the bands differ" in str(changes)


def test_as_text_it_is_a_short_table():
    old = [row(f"44{n}", "1") for n in range(10, 60)]
    text = str(compare(old, [row("1", "0.024")]))
    first, *rows, last = text.splitlines()
    assert first == "1 new, 0 increase, 0 decrease, 0 unchanged, 0 terms, 50 closed"
    assert rows[0].split() == ["1", "-", "0.024", "new"]
    assert len(rows) == 40
    assert last == "and 11 more"


def test_it_can_be_stored():
    changes = compare([row("44", "1")], [row("44", "2")])
    stored = json.loads(json.dumps(changes.to_dict()))
    assert stored["counts"]["increase"] == 1
    assert stored["rows"][0]["new_units"] == 2_000_000
    assert stored["at"] == "2026-09-16T00:00:00+00:00"


def test_what_cannot_be_compared_is_refused_by_name():
    dollars, euros = deck(row("1", "1")), deck(row("1", "1"), currency="EUR")
    for old, new, at, field in (
        (dollars, euros, AT, "new"),
        (None, dollars, AT, "old"),
        (dollars, "44", AT, "new"),
        (dollars, dollars, datetime(2026, 1, 1), "at"),  # noqa: DTZ001
    ):
        with pytest.raises(InvalidInput) as caught:
            cardbill.compare_decks(old, new, at=at)  # type: ignore[arg-type]
        assert caught.value.field == field


@st.composite
def decks(draw: st.DrawFn) -> Deck:
    drawn = draw(
        st.dictionaries(
            st.tuples(st.text("01", min_size=1, max_size=4), st.sampled_from(["", "peak"])),
            st.sampled_from(["0.1", "0.2", ""]),
            min_size=1,
            max_size=12,
        )
    )
    rows = [
        DeckRow(prefix=prefix, band=band, rate=cardbill.rate(price or 0), blocked=not price)
        for (prefix, band), price in drawn.items()
    ]
    return Deck.compile(rows, currency="USD", bands=[PEAK])


@given(decks(), decks(), st.sampled_from([AT.replace(hour=12), AT.replace(hour=22)]), st.data())
def test_a_number_costs_otherwise_exactly_where_a_change_is_told(
    old: Deck, new: Deck, at: datetime, data: st.DataObject
):
    """The change told for a number is that of the longest prefix in either deck, in its band."""
    number = data.draw(st.text("01", min_size=8, max_size=8))
    before, after = (
        None if (match := each.match(number, at)) is None or match.blocked else match.rate
        for each in (old, new)
    )
    band = "peak" if at.hour == 12 else ""
    both = [row for each in (old, new) for row in each.rows()]
    prefixes = {row.prefix for row in both if row.band in ("", band)}
    longest = max((p for p in prefixes if number.startswith(p)), key=len, default="")
    own = band if any(row.band == band for row in both) else ""
    rows = {(row.prefix, row.band) for row in cardbill.compare_decks(old, new, at=at).rows}
    assert (bool({(longest, own), (longest, None)} & rows)) == (before != after)
