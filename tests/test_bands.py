"""Which band applies when: by the wall clock of any zone, also where that jumps."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cardbill import Band, BandRating, Deck, DeckRow, Rate, Rounding, Step, rate
from cardbill.bands import MOST_BANDS, Bands
from cardbill.errors import DeckRefused, InvalidInput
from tests import oracle
from tests.random_decks import EPOCH, instant, random_bands, written
from tests.random_rates import terms

ZONES = (
    *("Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/St_Johns"),
    *("America/Sao_Paulo", "America/Santiago", "America/Havana", "America/Asuncion"),
    *("Australia/Lord_Howe", "Australia/Sydney", "Pacific/Auckland", "Pacific/Chatham"),
    *("Pacific/Apia", "Africa/Casablanca", "Africa/Cairo", "Asia/Gaza", "Asia/Tehran"),
    *("Asia/Amman", "Antarctica/Troll"),
)
FIRST_YEAR, LAST_YEAR = 2011, 2020
HOUR = 3600


def second_of(*when: int, zone: str = "UTC", fold: int = 0) -> int:
    """The second at which the clocks of a zone show that time."""
    wall = datetime(*when, tzinfo=ZoneInfo(zone), fold=fold)  # type: ignore[misc, arg-type]
    return (wall - EPOCH) // timedelta(seconds=1)


def name_at(bands: Bands, second: int) -> str:
    number = bands.at(second)
    return bands.bands[number - 1].name if number else ""


def changes_by_walking(
    bands: oracle.Bands, zone: str, begin: int, end: int, grid: int
) -> list[tuple[int, str]]:
    """Every change of band after `begin` and before `end`, found by looking at each minute.

    Or at each `grid` seconds: of these years and zones, no offset has a fraction of a minute.
    """
    walked = [begin, *range(begin - begin % grid + grid, end, grid)]
    named = [(second, oracle.band_at(bands, zone, second)) for second in walked]
    return [later for earlier, later in pairwise(named) if earlier[1] != later[1]]


def agree(bands: Bands, told: oracle.Bands, begin: int, end: int, grid: int = 60) -> None:
    """Assert that both find the same bands around there, at each change to the second."""
    zone = bands.time_zone
    expected = changes_by_walking(told, zone, begin, end, grid)
    found = [(s, bands.bands[n - 1].name if n else "") for s, n in bands.changes(begin, end)]
    assert found == expected, (zone, begin, bands.bands)
    for second, _ in expected:
        assert [at for at, _ in bands.changes(second - 1, second + 1)] == [second]
        assert (
            list(bands.changes(second - 1, second)) == list(bands.changes(second, second + 1)) == []
        )
    for second, _ in ((begin, ""), *expected):
        for near in (second - 1, second, second + 1):
            assert name_at(bands, near) == oracle.band_at(told, zone, near), (zone, near)


# -- any hours, any zone -------------------------------------------------------------------------


def test_random_bands_apply_by_the_wall_clock():
    rng = random.Random(21)
    for _ in range(150):
        made = random_bands(rng)
        day, minutes = rng.choice(made.edges)
        begin = second_of(day.year, day.month, day.day) + 60 * minutes + rng.randrange(-36_000, 0)
        agree(Bands(made.bands, made.zone), made.told, begin, begin + 20 * HOUR)


def test_what_is_asked_before_makes_no_difference():
    bands = (Band("night", "Mon-Sun 22:00-06:00"), Band("noon", "Mon-Sun 12:00-13:00"))
    rng = random.Random(22)
    asked = Bands(bands, "Europe/Berlin")
    for _ in range(200):
        second = rng.randrange(2**31)
        assert asked.at(second) == Bands(bands, "Europe/Berlin").at(second)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("Mon-Fri", ["03-03 00:00", "03-07 23:59"], ["03-02 23:59", "03-08 00:00"]),
        ("sat,SUN", ["03-01 00:00", "03-02 23:59"], ["03-03 00:00", "03-07 23:59"]),
        ("Fri-Mon", ["03-07 00:00", "03-10 12:00"], ["03-06 12:00", "03-11 00:00"]),
        ("Mon 08:00-18:00", ["03-03 08:00", "03-03 17:59"], ["03-03 07:59", "03-03 18:00"]),
        ("Mon 22:00-06:00", ["03-03 22:00", "03-04 05:59"], ["03-03 05:59", "03-04 06:00"]),
        ("Sun 22:00-06:00", ["03-02 22:00", "03-03 05:59"], ["03-02 05:59", "03-03 06:00"]),
        ("Mon 22:00-00:00", ["03-03 22:00", "03-03 23:59"], ["03-04 00:00", "03-03 21:59"]),
        ("Mon 22:00-24:00", ["03-03 22:00", "03-03 23:59"], ["03-04 00:00", "03-03 21:59"]),
        ("Mon 00:00-24:00", ["03-03 00:00", "03-03 23:59"], ["03-04 00:00", "03-02 23:59"]),
        ("2025-03-03", ["03-03 00:00", "03-03 23:59"], ["03-04 00:00", "03-10 12:00"]),
        ("2025-03-03..2025-03-05", ["03-03 00:00", "03-05 23:59"], ["03-02 23:59", "03-06 00:00"]),
        (
            "2025-03-03..2025-03-04 12:00-14:00",
            ["03-03 12:00", "03-04 13:59"],
            ["03-03 14:00", "03-04 11:59"],
        ),
        ("2025-02-28 23:00-01:00", ["02-28 23:00", "03-01 00:59"], ["03-01 01:00", "02-28 00:30"]),
    ],
)
def test_windows_are_half_open_and_run_over_midnight(window, inside, outside):
    bands = Bands([Band("b", window)], "America/New_York")
    for told, expected in ((inside, 1), (outside, 0)):
        for text in told:
            wall = datetime.fromisoformat(f"2025-{text}").replace(
                tzinfo=ZoneInfo("America/New_York")
            )
            assert bands.at((wall - EPOCH) // timedelta(seconds=1)) == expected, text


def test_a_date_goes_before_the_week_whatever_the_order():
    usual = Band("usual", "Mon-Sun")
    holiday = Band("holiday", ("2025-12-25", "2025-12-26 00:00-12:00"))
    for given in ([usual, holiday], [holiday, usual]):
        bands = Bands(given, "UTC")
        told = [
            name_at(bands, second_of(2025, 12, *when)) for when in ((24, 23), (25, 0), (26, 12))
        ]
        assert told == ["usual", "holiday", "usual"]


# -- where clocks jump ---------------------------------------------------------------------------


def transitions(zone: str, first: int, last: int) -> Iterator[int]:
    """Yield each second at which the clocks of a zone are changed, in those years."""

    def offset(second: int) -> timedelta:
        return oracle.wall_clock(second, zone) - oracle.wall_clock(second, "UTC")

    begin, end = second_of(first, 1, 1), second_of(last + 1, 1, 1)
    for early in range(begin, end, 12 * HOUR):
        low, high = early, early + 12 * HOUR
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        yield high


def test_the_zones_have_every_kind_of_jump():
    assert len(ZONES) == 20
    found = {zone: list(transitions(zone, FIRST_YEAR, LAST_YEAR)) for zone in ZONES}
    assert all(found.values())
    assert sum(map(len, found.values())) > 380
    jumps = {
        (oracle.wall_clock(at, zone) - oracle.wall_clock(at - 1, zone)) // timedelta(minutes=1)
        for zone, instants in found.items()
        for at in instants
    }
    # Half hours, hours, two hours, a whole day.
    assert {-120, -60, -30, 30, 60, 120, 24 * 60} <= jumps


def bands_near(zone: str, at: int, rng: random.Random) -> tuple[Bands, oracle.Bands]:
    """Bands that begin and end on either side of a jump, before, within and after it."""
    walls = [oracle.wall_clock(at - 1, zone) + timedelta(seconds=1), oracle.wall_clock(at, zone)]
    day = rng.choice(walls).date()
    told: dict[str, tuple[oracle.Window, ...]] = {}
    bands = []
    low = min(walls, key=lambda wall: (wall.hour, wall.minute))
    edge = low.hour * 60 + low.minute + rng.choice((-90, -60, -30, -15, 0, 0))
    for number in range(rng.choice((2, 4, 6))):
        begin, edge = edge, edge + rng.choice((15, 30, 30, 45, 60))
        if number % 3 == 2:
            continue  # no band
        days, dates = frozenset({day.isoweekday(), day.isoweekday() % 7 + 1}), None
        if rng.randrange(3) == 0:
            days, dates = frozenset(), (day, day)
        window = written(days, dates, begin % 1440, edge % 1440 or 1440)
        bands.append(Band(f"band {number}", window.text))
        told[f"band {number}"] = (window.window,)
    return Bands(bands, zone), told


def across(zone: str, at: int, bands: Bands, told: oracle.Bands) -> None:
    """Assert that a call over a jump costs what it should."""
    rows = [
        DeckRow(
            prefix="4",
            band=name,
            rate=Rate(
                steps=(Step(0, 60 * 7**number, 60 if number % 2 else 45),), rounding=Rounding(1)
            ),
        )
        for number, name in enumerate(("", *told))
    ]
    deck = Deck.compile(
        rows, currency="USD", bands=bands.bands, time_zone=zone, band_rating=BandRating.SPLIT
    )
    granted = at - 100 * 60 - 31
    match = deck.match("44", instant(granted))
    assert match is not None
    tariff = deck.tariff(match, "44", instant(granted), 4 * HOUR)
    rate_at = oracle.rates_of(
        [oracle.Row("4", terms(row.rate), row.band) for row in rows],
        *(told, zone, "44", granted),
        split=True,
    )
    for seconds, due in enumerate(oracle.walk(granted + 20, rate_at)):
        if seconds % 613 == 0:
            found = tariff.price(seconds, instant(granted + 20))
            assert found == due.amount, (zone, at, seconds, bands.bands)
        if seconds > 4 * HOUR:
            break


def through(zone: str, first: int, last: int, seed: int, tries: int) -> int:
    rng = random.Random(seed)
    tried = 0
    for at in transitions(zone, first, last):
        for _ in range(tries):
            try:
                bands, told = bands_near(zone, at, rng)
            except InvalidInput:  # one day after the other, they overlap
                continue
            tried += 1
            grid = 900 if at % 900 == 0 else 60  # what begins around a jump is as even as it
            agree(bands, told, at - 5 * HOUR, at + 5 * HOUR, grid)
            across(zone, at, bands, told)
    return tried


@pytest.mark.parametrize("zone", ZONES)
def test_bands_and_calls_follow_the_wall_clock_over_every_jump(zone: str):
    assert through(zone, FIRST_YEAR, LAST_YEAR, seed=31, tries=1) > 3


@pytest.mark.soak
@pytest.mark.parametrize("zone", ZONES)
def test_bands_and_calls_follow_the_wall_clock_over_every_jump_of_50_years(zone: str):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    print(f"{through(zone, 1985, 2034, seed, tries=3)} tried")


def test_a_time_that_comes_twice_is_in_its_band_twice():
    # Clocks go back from 03:00 to 02:00.
    bands = Bands([Band("b", "Sun 02:30-02:45")], "Europe/Berlin")
    first, again = (
        second_of(2024, 10, 27, 2, 30, zone="Europe/Berlin", fold=fold) for fold in (0, 1)
    )
    assert again - first == HOUR
    told = list(bands.changes(first - HOUR, again + HOUR))
    assert told == [(first, 1), (first + 900, 0), (again, 1), (again + 900, 0)]


def test_a_time_that_is_left_out_is_in_no_band():
    bands = Bands([Band("b", "Sun 02:15-02:45"), Band("c", "Sun 02:45-04:00")], "Europe/Berlin")
    jump = second_of(2025, 3, 30, 1)
    assert list(bands.changes(jump - HOUR, jump + 2 * HOUR)) == [(jump, 2), (jump + HOUR, 0)]


def test_a_day_that_is_left_out_has_no_bands():
    # Samoa went from the 29th to the 31st of December 2011.
    bands = Bands([Band("fri", "Fri"), Band("sat", "Sat")], "Pacific/Apia")
    jump = second_of(2011, 12, 30, 10)
    assert list(bands.changes(jump - 48 * HOUR, jump + 48 * HOUR)) == [
        (jump, 2),
        (jump + 24 * HOUR, 0),
    ]


@pytest.mark.parametrize(
    "at", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)]
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Apia", "America/New_York"])
def test_the_first_and_the_last_instants_there_are_have_a_band_or_none(at: datetime, zone: str):
    rows = [DeckRow(prefix="4", rate=rate(1))]
    deck = Deck.compile(rows, currency="USD", bands=[Band("b", "Mon 01:00-02:00")], time_zone=zone)
    match = deck.match("44", at)
    assert match is not None
    assert deck.tariff(match, "44", at, HOUR).price(60, at) == 1_000_000


# -- what is refused -----------------------------------------------------------------------------

BAD_WINDOWS = (
    *("", " ", "Mon 8:00-18:00", "Mon 08:00-18", "Mon 08:00", "Mon 08:00-08:00", "Mon 24:00-06:00"),
    *("Mon 08:00-24:01", "Mon 08:60-09:00", "Mon 25:00-26:00", "Mon 08:00-18:00 UTC", "Mo", "Mond"),
    *("Mon-", "-Mon", "Mon,", "Mon;Tue", "Mon - Fri", "08:00-18:00", "2025-02-29", "2025-12-25.."),
    *("..2025-12-25", "2025-12-26..2025-12-25", "2025-01-01..2026-12-31", "1969-12-31"),
    *("9999-12-31", "25.12.2025", "2025-12-25,2025-12-26", "Mon 1\u0660:00-18:00", "2025W011"),
    *("20251225", "2025-12-25T00:00", "\u00b2025-12-25"),
)


@pytest.mark.parametrize("window", BAD_WINDOWS)
def test_a_window_that_is_none_is_refused_by_field_and_value(window: str):
    with pytest.raises(InvalidInput) as refused:
        Band("b", ("Mon", window))
    assert (refused.value.field, refused.value.value) == ("band window", window)


@pytest.mark.parametrize("windows", [None, 5, (), [], {}, (None,), (5,), [("Mon",)], b"Mon"])
def test_windows_of_another_kind_are_refused(windows: Any):
    with pytest.raises(InvalidInput) as refused:
        Band("b", windows)
    assert refused.value.field.startswith("band window")


@pytest.mark.parametrize("name", ["", " ", "a/b", "x" * 65, "a\nb", None, 5])
def test_a_band_has_a_name_that_can_be_printed(name: Any):
    with pytest.raises(InvalidInput) as refused:
        Band(name, "Mon")
    assert refused.value.field == "band name"


@pytest.mark.parametrize(
    ("one", "other", "when"),
    [
        ("Mon-Fri 08:00-18:00", "Fri-Sat 17:59-19:00", "Fri at 17:59"),
        ("Mon 22:00-06:00", "Tue 05:59-07:00", "Tue at 05:59"),
        ("Sun 22:00-06:00", "Mon", "Mon at 00:00"),
        ("2025-12-24..2025-12-26", "2025-12-25 12:00-13:00", "2025-12-25 at 12:00"),
        ("2025-12-31 23:00-01:00", "2026-01-01", "2026-01-01 at 00:00"),
    ],
)
def test_bands_that_overlap_are_refused_by_name_and_time(one: str, other: str, when: str):
    for given in ([Band("a", one), Band("b", other)], [Band("b", other), Band("a", one)]):
        with pytest.raises(InvalidInput, match=when) as refused:
            Bands(given, "UTC")
        assert refused.value.field == "bands"
        assert "'a'" in str(refused.value)
        assert "'b'" in str(refused.value)
    with pytest.raises(InvalidInput, match="overlap"):
        Bands([Band("a", (one, other))], "UTC")


def test_bands_may_meet_and_a_date_may_lie_over_the_week():
    Bands([Band("a", "Mon 08:00-18:00"), Band("b", "Mon 18:00-08:00")], "UTC")
    Bands([Band("a", "Mon-Sun"), Band("b", "2025-12-25")], "UTC")


def test_a_deck_has_50_bands_at_most_each_with_a_name_of_its_own():
    many = [Band(f"b{n}", f"Mon 00:{n:02}-00:{n + 1:02}") for n in range(MOST_BANDS + 1)]
    Bands(many[:-1], "UTC")
    with pytest.raises(InvalidInput) as refused:
        Bands(many, "UTC")
    assert refused.value.field == "bands"
    with pytest.raises(InvalidInput, match="twice"):
        Bands([Band("a", "Mon"), Band("a", "Tue")], "UTC")


def compiled(*rows: DeckRow, **more: Any) -> Deck:
    return Deck.compile(rows, **{"currency": "USD", "bands": [Band("peak", "Mon")], **more})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("time_zone", "Mars/Base"), ("time_zone", ""), ("time_zone", None), ("time_zone", 5)),
        *(("band_rating", "sometimes"), ("band_rating", None)),
        *(("bands", ["peak"]), ("bands", [None]), ("bands", None), ("bands", 5)),
    ],
)
def test_what_a_deck_is_compiled_with_is_refused_by_field(field: str, value: Any):
    with pytest.raises(InvalidInput) as refused:
        compiled(DeckRow(prefix="4", rate=rate(1)), **{field: value})
    assert refused.value.field == field


@pytest.mark.parametrize("band", [None, 5, ("peak",), "a/b", "x" * 65])
def test_a_row_names_its_band_by_text(band: Any):
    with pytest.raises(InvalidInput) as refused:
        DeckRow(prefix="4", rate=rate(1), band=band)
    assert refused.value.field == "band"


def test_rows_of_a_band_that_there_is_not_are_refused_by_line():
    with pytest.raises(DeckRefused) as refused:
        compiled(
            DeckRow(prefix="4", rate=rate(1), band="peak", line=2),
            DeckRow(prefix="44", rate=rate(1), band="Peak", line=3),
            DeckRow(prefix="45", rate=rate(1), band="off", line=4),
        )
    told = [(p.line, p.column, p.code) for p in refused.value.problems]
    assert told == [(3, "band", "unknown"), (4, "band", "unknown")]


def test_rows_alike_in_prefix_band_and_effective_from_are_refused_by_line():
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    rows = [
        DeckRow(prefix="4", rate=rate(1), line=2),
        DeckRow(prefix="4", rate=rate(2), band="peak", line=3),
        DeckRow(prefix="4", rate=rate(2), band="peak", effective_from=noon, line=4),
        DeckRow(prefix="4", rate=rate(2), effective_from=noon, line=5),
    ]
    assert len(compiled(*rows)) == 4
    for again in rows:
        with pytest.raises(DeckRefused) as refused:
            compiled(*rows, again)
        (problem,) = refused.value.problems
        assert (problem.line, problem.column, problem.code) == (again.line, "prefix", "duplicate")


# -- rates of bands ------------------------------------------------------------------------------


def test_a_band_is_no_date_of_the_calendar_but_text_in_a_stored_deck():
    bands = [Band("night", ("Mon-Sun 22:00-06:00",)), Band("feast", "2025-12-25..2025-12-26")]
    deck = compiled(
        *(DeckRow(prefix="4", rate=rate(n + 1), band=b) for n, b in enumerate(("", "night"))),
        bands=bands,
        time_zone="Asia/Kathmandu",
        band_rating="split",
    )
    again = Deck.from_bytes(deck.to_bytes())
    assert (again.bands.bands, again.bands.time_zone) == (tuple(bands), "Asia/Kathmandu")
    assert again.band_rating is BandRating.SPLIT
    assert again.to_bytes() == deck.to_bytes()
    assert [row.band for row in again.rows()] == [row.band for row in deck.rows()]
    for hour in range(24):
        at = datetime(2025, 3, 3, hour, 20, tzinfo=UTC)
        assert again.match("44", at) == deck.match("44", at)
    assert date(2025, 12, 25).isoformat() in bands[1].windows[0]
