"""A deck answers as a scan over all its rows would, at every instant, for every number."""

import itertools
import random
import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from cardbill import Deck, DeckRow, Rate, Rounding, RoundingMode, rate
from cardbill.errors import DeckRefused, InvalidInput, InvalidNumber, SchemaTooNew
from cardbill.increments import Step

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
A, B = rate("0.10"), rate("0.20")


def row(prefix: str, price: Rate = A, **terms: Any) -> DeckRow:
    return DeckRow(**{"prefix": prefix, "rate": price, **terms})


def deck(*rows: DeckRow) -> Deck:
    return Deck.compile(rows, currency="USD")


def prefixes(*given: str) -> Deck:
    """A deck in which each prefix is its own destination."""
    return deck(*(row(prefix, destination=prefix) for prefix in given))


def found(compiled: Deck, number: str, at: datetime = NOON) -> str | None:
    match = compiled.match(number, at)
    if match is None:
        return None
    assert number.startswith(match.prefix)
    return match.destination


def scan(rows: Iterable[DeckRow], number: str, at: datetime) -> DeckRow | None:
    """What domain.md section 3 says, row by row: longest prefix, then latest effective-from."""
    valid = [
        each
        for each in rows
        if number.startswith(each.prefix)
        and (each.effective_from is None or each.effective_from <= at)
        and (each.effective_until is None or at < each.effective_until)
    ]
    long_ago = datetime.min.replace(tzinfo=UTC)
    return max(
        valid, key=lambda each: (len(each.prefix), each.effective_from or long_ago), default=None
    )


def assert_answers_as_a_scan(
    compiled: Deck, rows: Sequence[DeckRow], numbers: Iterable[str], instants: Iterable[datetime]
) -> None:
    for number, at in itertools.product(sorted(numbers), sorted(instants)):
        expected, match = scan(rows, number, at), compiled.match(number, at)
        told = match and (match.prefix, match.destination, match.rate, match.blocked)
        due = expected and (
            expected.prefix,
            expected.destination,
            expected.rate,
            expected.blocked,
        )
        assert told == due, (number, at)


# -- random decks ---------------------------------------------------------------------------

INSTANTS = [NOON + timedelta(days=day) for day in range(6)]


@st.composite
def deck_rows(draw: st.DrawFn) -> list[DeckRow]:
    """Many nested prefixes, several versions of some; no two alike, each row its own price."""
    digits = draw(st.sampled_from(["01", "0123", "089", "9"]))
    text = st.text(digits, min_size=1, max_size=5) | st.text(digits, min_size=1, max_size=15)
    stems = draw(st.lists(text, min_size=1, max_size=8, unique=True))
    grown = st.tuples(st.sampled_from(stems), st.text(digits, max_size=3)).map("".join)
    instant = st.none() | st.sampled_from(INSTANTS)
    plans = draw(
        st.lists(
            st.tuples(grown.map(lambda prefix: prefix[:15]), instant, instant, st.booleans()),
            min_size=1,
            max_size=16,
            unique_by=lambda plan: plan[:2],
        )
    )
    return [
        DeckRow(
            prefix=prefix,
            rate=Rate(steps=(Step(0, number, 1 + number % 3),)),
            destination=f"place {number}",
            blocked=blocked,
            effective_from=begin,
            effective_until=end if begin is None or end is None or begin < end else None,
        )
        for number, (prefix, begin, end, blocked) in enumerate(plans)
    ]


def numbers_around(rows: Iterable[DeckRow]) -> set[str]:
    """Each prefix, what is around and below it, and all that is shorter."""
    told = {each.prefix for each in rows}
    numbers = {prefix[:length] for prefix in told for length in range(1, len(prefix))} | told
    for prefix in told:
        last = int(prefix[-1])
        numbers |= {f"{prefix[:-1]}{digit}" for digit in (last - 1, last + 1) if 0 <= digit <= 9}
        numbers |= {(prefix + tail)[:15] for tail in ("0", "1", "00", "9" * 15, "0" * 15)}
    return numbers


def instants_around(rows: Iterable[DeckRow]) -> set[datetime]:
    """The last and first instant on both sides of each boundary, long before and long after."""
    borders = {each.effective_from for each in rows} | {each.effective_until for each in rows}
    around = {border + shift for border in borders if border for shift in (-TICK, TICK * 0, TICK)}
    return around | {NOON - timedelta(days=20_000), NOON + timedelta(days=2_000_000)}


@given(deck_rows())
def test_any_deck_answers_as_a_scan_of_its_rows_would(rows: list[DeckRow]):
    assert_answers_as_a_scan(deck(*rows), rows, numbers_around(rows), instants_around(rows))


@given(deck_rows(), st.lists(st.text("0123456789", min_size=1, max_size=15), max_size=20))
def test_any_number_gets_what_a_scan_would_give(rows: list[DeckRow], numbers: list[str]):
    assert_answers_as_a_scan(deck(*rows), rows, numbers, [NOON, INSTANTS[3]])


def test_every_deck_of_short_prefixes_over_two_digits_answers_as_a_scan():
    every = [p for length in (1, 2) for p in map("".join, itertools.product("09", repeat=length))]
    numbers = [
        n for length in (1, 2, 3, 15) for n in map("".join, itertools.product("09", repeat=length))
    ]
    numbers = [n for n in numbers if len(n) < 15 or len(set(n[3:])) == 1]
    for size in range(1, len(every) + 1):
        for chosen in itertools.combinations(every, size):
            compiled = prefixes(*chosen)
            for number in numbers:
                longest = max((p for p in chosen if number.startswith(p)), key=len, default=None)
                assert found(compiled, number) == longest, (chosen, number)


# -- prefixes -------------------------------------------------------------------------------


def test_a_number_shorter_than_a_prefix_is_not_under_it():
    assert found(prefixes("5880"), "588") is None
    assert found(prefixes("5880", "58"), "588") == "58"
    assert found(prefixes("5880", "588"), "588") == "588"
    assert found(prefixes("588000000000000"), "58800000000000") is None


def test_prefixes_that_begin_at_the_same_number_are_told_apart_by_length():
    same_start = ["1" + "0" * zeros for zeros in range(15)]
    compiled = prefixes(*same_start)
    for number in same_start:
        assert found(compiled, number) == number
        if len(number) < 15:
            assert found(compiled, number + "1") == number
    assert found(prefixes("1", "100"), "10") == "1"
    assert found(prefixes("100", "1000"), "10") is None


def test_prefixes_that_end_at_the_same_number_are_told_apart_by_length():
    compiled = prefixes("9", "99", "9" * 14, "9" * 15)
    assert found(compiled, "9" * 15) == "9" * 15
    assert found(compiled, "9" * 14) == "9" * 14
    assert found(compiled, "9" * 14 + "8") == "9" * 14
    assert found(compiled, "9" * 13) == "99"
    assert found(compiled, "98") == "9"
    assert found(prefixes("8"), "9") is None


def test_leading_zeros_of_prefix_and_number_count():
    compiled = prefixes("0", "00", "0044", "44")
    assert found(compiled, "044") == "0"
    assert found(compiled, "004") == "00"
    assert found(compiled, "00441") == "0044"
    assert found(compiled, "4400") == "44"
    assert found(prefixes("7"), "07") is None
    assert found(prefixes("07"), "7") is None


def test_a_prefix_may_be_one_whole_number():
    compiled = prefixes("1", "123456789012345")
    assert found(compiled, "123456789012345") == "123456789012345"
    assert found(compiled, "123456789012344") == "1"
    assert found(compiled, "123456789012346") == "1"
    assert found(compiled, "12345678901234") == "1"


NO_NUMBERS = ["+442071234567", "44 2071234567", " 442071234567", "44_207", "٤٤2071", "44\n", "x"]
TOO_LONG = ["9" * 16, "4" * 40, "0" * 16]


@pytest.mark.parametrize("number", [*NO_NUMBERS, *TOO_LONG, "", None, 442071234567])
def test_what_is_no_e164_number_is_refused_unseen_and_not_priced_as_another(number: Any):
    compiled = prefixes("9", "4", "44", "0")
    with pytest.raises(InvalidNumber) as refused:
        compiled.match(number, NOON)
    assert (refused.value.field, refused.value.value) == ("number", None)


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(InvalidInput, match="aware"):
        prefixes("44").match("442071234567", datetime(2024, 6, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "prefix", ["", "1" * 16, "+44", "4 4", "44 ", "44\n", "٤٤", "²", "1.23E+11", "4\0", 44, None]
)
def test_a_prefix_is_1_to_15_plain_digits(prefix: str):
    with pytest.raises(InvalidInput) as refused:
        row(prefix)
    assert refused.value.field == "prefix"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", None),
        ("rate", "0.1"),
        ("destination", None),
        ("destination", "U\0K"),
        ("destination", "U\udc80K"),  # no store could write it into a hold or a record
        ("destination", "x" * 70_000),  # every call there would outgrow its card
        ("blocked", 1),
    ],
)
def test_a_row_with_another_kind_of_value_is_refused_by_name(field: str, value: Any):
    values: dict[str, Any] = {"prefix": "44", "rate": A, field: value}
    with pytest.raises(InvalidInput) as refused:
        DeckRow(**values)
    assert refused.value.field == field


# -- what is valid when ---------------------------------------------------------------------


def test_a_rate_is_valid_from_its_begin_up_to_but_not_at_its_end():
    begin, end = INSTANTS[1], INSTANTS[3]
    compiled = deck(
        row("44", destination="old", effective_until=begin),
        row("44", destination="new", effective_from=begin, effective_until=end),
        row("4", destination="around"),
    )
    assert found(compiled, "441", begin - TICK) == "old"
    assert found(compiled, "441", begin) == "new"
    assert found(compiled, "441", end - TICK) == "new"
    assert found(compiled, "441", end) == "around"


def test_where_two_rates_of_a_prefix_are_valid_the_later_begin_counts():
    compiled = deck(
        row("44", destination="base"),
        row("44", destination="sale", effective_from=INSTANTS[1], effective_until=INSTANTS[4]),
        row("44", destination="hour", effective_from=INSTANTS[2], effective_until=INSTANTS[3]),
    )
    told = [found(compiled, "442", at) for at in (NOON, *INSTANTS[1:])]
    assert told == ["base", "sale", "hour", "sale", "base", "base"]


def test_a_prefix_blocked_for_a_while_is_blocked_then_and_not_priced_by_its_parent():
    compiled = deck(
        row("37", A),
        row("372", B),
        row("372", B, blocked=True, effective_from=INSTANTS[1], effective_until=INSTANTS[2]),
    )
    blocked = [match and match.blocked for match in (compiled.match("3721", i) for i in INSTANTS)]
    assert blocked == [False, True, False, False, False, False]
    below = compiled.match("371", INSTANTS[1])
    assert below is not None
    assert not below.blocked


def test_instants_count_to_the_microsecond_whatever_zone_they_are_given_in():
    begin = datetime(2024, 3, 31, 1, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    compiled = deck(row("1", effective_from=begin))
    assert found(compiled, "1", begin - TICK) is None
    assert found(compiled, "1", begin.astimezone(UTC)) == ""
    (stored,) = compiled.rows()
    assert stored.effective_from == begin
    assert stored.effective_from is not None
    assert stored.effective_from.tzinfo is UTC


def test_the_earliest_and_latest_instants_can_be_boundaries():
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    compiled = deck(row("1", effective_from=first, effective_until=last))
    assert found(compiled, "1", first) == ""
    assert found(compiled, "1", last - TICK) == ""
    assert found(compiled, "1", last) is None


@pytest.mark.parametrize("shift", [timedelta(0), -TICK, timedelta(days=-400)])
def test_a_rate_that_ends_before_it_begins_is_refused(shift: timedelta):
    with pytest.raises(InvalidInput) as refused:
        row("1", effective_from=NOON, effective_until=NOON + shift)
    assert refused.value.field == "effective_until"


@pytest.mark.parametrize("name", ["effective_from", "effective_until"])
@pytest.mark.parametrize("value", [datetime(2024, 6, 1), NOON.date(), "2024-06-01"])  # noqa: DTZ001
def test_a_boundary_is_an_instant_with_a_zone(name: str, value: object):
    terms: dict[str, Any] = {name: value}
    with pytest.raises(InvalidInput) as refused:
        row("1", **terms)
    assert refused.value.field == name


def test_begin_and_end_are_compared_as_instants_also_where_clocks_are_put_back():
    berlin = ZoneInfo("Europe/Berlin")
    early = datetime(2024, 10, 27, 2, 45, tzinfo=berlin)  # summer time, 00:45 UTC
    late = datetime(2024, 10, 27, 2, 15, fold=1, tzinfo=berlin)  # winter time, 01:15 UTC
    compiled = deck(row("1", effective_from=early, effective_until=late))
    assert found(compiled, "1", datetime(2024, 10, 27, 1, tzinfo=UTC)) == ""
    with pytest.raises(InvalidInput):
        row("1", effective_from=late, effective_until=early)


# -- what is refused ------------------------------------------------------------------------


def test_two_rates_alike_in_prefix_and_begin_are_refused_with_both_lines():
    with pytest.raises(DeckRefused) as refused:
        deck(row("44", A, line=3), row("1", A, line=4), row("44", B, line=9))
    (problem,) = refused.value.problems
    assert problem.code == "duplicate"
    assert {3, 9} <= {problem.line, *map(int, filter(str.isdigit, problem.message.split()))}
    assert "44" in problem.message


def test_alike_are_also_instants_written_in_two_zones():
    east = timezone(timedelta(hours=9))
    with pytest.raises(DeckRefused):
        deck(
            row("44", A, effective_from=NOON),
            row("44", B, effective_from=NOON.astimezone(east), effective_until=INSTANTS[2]),
        )


def test_every_pair_of_equal_rates_is_reported_at_once():
    with pytest.raises(DeckRefused) as refused:
        deck(*(row(str(n % 3 + 1), line=n + 2) for n in range(9)))
    assert len(refused.value.problems) == 6
    assert refused.value.field == "deck"


def test_rates_that_differ_in_begin_only_are_two_versions_and_no_duplicates():
    assert len(deck(row("44", A), row("44", B, effective_from=NOON))) == 2


@pytest.mark.parametrize("rows", [[], (), iter([])])
def test_an_empty_deck_is_refused(rows: Iterable[DeckRow]):
    with pytest.raises(InvalidInput, match="no usable rate"):
        Deck.compile(rows, currency="USD")


@pytest.mark.parametrize("currency", ["", "usd", "US", "XYZ", None, 840])
def test_a_deck_has_a_currency_of_iso_4217(currency: object):
    with pytest.raises(InvalidInput) as refused:
        Deck.compile([row("1")], currency=currency)
    assert refused.value.field == "currency"


# -- rows and bytes -------------------------------------------------------------------------


@given(deck_rows())
def test_rows_give_back_what_was_compiled_in_order(rows: list[DeckRow]):
    compiled = deck(*rows)
    back = list(compiled.rows())
    assert len(compiled) == len(back) == len(rows)
    assert {(r.prefix, r.effective_from): r for r in rows} == {
        (r.prefix, r.effective_from): r for r in back
    }
    begins = [r.effective_from or datetime.min.replace(tzinfo=UTC) for r in back]
    keys = [(r.prefix, -begin.timestamp()) for r, begin in zip(back, begins, strict=True)]
    assert keys == sorted(keys)
    assert deck(*back).to_bytes() == compiled.to_bytes()


@given(deck_rows(), st.randoms(use_true_random=False))
def test_a_deck_does_not_depend_on_the_order_of_its_rows(
    rows: list[DeckRow], generator: random.Random
):
    shuffled = generator.sample(rows, len(rows))
    assert deck(*shuffled).to_bytes() == deck(*rows).to_bytes()


@given(deck_rows())
@settings(max_examples=40)
def test_a_deck_read_back_from_bytes_is_the_same_and_answers_the_same(rows: list[DeckRow]):
    content = deck(*rows).to_bytes()
    back = Deck.from_bytes(content)
    assert back.to_bytes() == content
    assert list(back.rows()) == list(deck(*rows).rows())
    assert back.currency == "USD"
    assert_answers_as_a_scan(back, rows, numbers_around(rows), [NOON, *instants_around(rows)])


@pytest.mark.parametrize("names", [("a", "bc"), ("Côte d'Ivoire", "日本", "", '"\\\n')])
def test_any_destination_name_survives_bytes_of_any_length(names: Sequence[str]):
    for extra in range(9):
        rows = [row(str(n + 1), destination=name + "x" * extra) for n, name in enumerate(names)]
        back = Deck.from_bytes(deck(*rows).to_bytes())
        assert [r.destination for r in back.rows()] == [r.destination for r in rows]


def test_every_term_of_a_rate_survives_bytes():
    terms = rate(
        "0.0175",
        increments="60/6",
        connect_fee="0.01",
        grace_seconds=2,
        free_seconds=3,
        minimum_charge="0.05",
        end_fee="0.000001",
        surcharge_percent="12.5",
    )
    huge = Rate(steps=(Step(0, 2**63 - 1, 1), Step(1, 2**62 + 1, 1_000_000_000)))
    compiled = deck(row("1", terms), row("2", huge, blocked=True), row("3", huge))
    back = list(Deck.from_bytes(compiled.to_bytes()).rows())
    assert [r.rate for r in back] == [terms, huge, huge]
    assert [r.blocked for r in back] == [False, True, False]


# Format 1 as it is documented and stored: a JSON head, then the columns, each padded to 8 bytes.
STORED_HEAD = (
    b'{"currency":"USD","terms":[[[[0,100000,1]],0,0,0,0,0,0,100,0,0],'
    b'[[[0,200000,60],[60,200000,6]],1,2,3,4,5,6,7,3,1]],"names":["","nine"],'
    b'"lengths":[4,4,2,2,2,3,2,2,2,2]}'
)
STORED = b"".join(
    part + b" " * (-len(part) % 8)
    for part in (
        b"cardbill-deck/1\n",
        struct.pack("<Q", len(STORED_HEAD)),
        STORED_HEAD,
        struct.pack("<4Q", 44 * 10**13, 45 * 10**13, 9 * 10**14, 10**15),
        struct.pack("<4I", 1, 0, 2, 0),
        struct.pack("<2B", 2, 1),
        struct.pack("<2Q", 44, 9),
        struct.pack("<2I", 0, 0),
        struct.pack("<3I", 0, 1, 2),
        struct.pack("<2q", -(2**63), 1_717_243_200_000_000),
        struct.pack("<2q", 2**63 - 1, 2**63 - 1),
        struct.pack("<2I", 0, 1),
        struct.pack("<2I", 0, 1),
    )
)


def test_decks_stored_in_format_1_can_be_read_for_ever():
    assert list(Deck.from_bytes(STORED).rows()) == [
        row("44"),
        row(
            "9",
            Rate(
                steps=(Step(0, 200_000, 60), Step(60, 200_000, 6)),
                connect_fee=1,
                grace_seconds=2,
                free_seconds=3,
                minimum_charge=4,
                end_fee=5,
                surcharge_ppm=6,
                rounding=Rounding(7, RoundingMode.DOWN),
            ),
            destination="nine",
            blocked=True,
            effective_from=NOON,
        ),
    ]


SMALL = deck(row("44"), row("9", B, destination="nine", effective_from=NOON)).to_bytes()
HEAD = 24  # where the JSON head begins


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"prefix,rate\n44,0.1\n",
        b"cardbill-deck/1",
        b"cardbill-deck/1\n",
        SMALL[1:],
        SMALL[:16] + struct.pack("<Q", 2**63) + SMALL[24:],
        SMALL[:16] + struct.pack("<Q", 0) + SMALL[24:],
        SMALL[:HEAD] + b"\xff" + SMALL[HEAD + 1 :],
        SMALL[:16] + struct.pack("<Q", 2) + b"{}      ",
        SMALL[:16] + struct.pack("<Q", 2) + b"[]      ",
        SMALL[:16] + struct.pack("<Q", 4) + b"null    ",
        SMALL.replace(b'"lengths":[', b'"lengths":[-'),
        SMALL.replace(b'"lengths":[', b'"lengthx":['),
        SMALL[:16] + struct.pack("<Q", 200_000) + b"[" * 200_000,
        STORED.replace(b"[4,4,2,2,2,3,2,", b"[4,4,2,2,2,4,2,"),  # as many bytes
        STORED.replace(b"[4,4,2,2,2,3,2,2,2,2]", b"[4,4,2,2,2,3,2,2,2,1]"),
    ],
)
def test_what_is_no_compiled_deck_is_refused(content: bytes):
    with pytest.raises(InvalidInput):
        Deck.from_bytes(content)


def test_a_deck_with_more_bytes_than_it_says_is_refused():
    with pytest.raises(InvalidInput):
        Deck.from_bytes(SMALL + b" " * 8)


@pytest.mark.parametrize("version", [b"3", b"10", b"11"])
def test_a_deck_of_a_newer_format_is_told_from_garbage(version: bytes):
    with pytest.raises(SchemaTooNew):
        Deck.from_bytes(b"cardbill-deck/" + version + SMALL[15:])


def test_a_deck_cut_short_anywhere_is_refused_or_whole():
    whole = list(Deck.from_bytes(SMALL).rows())
    for size in range(len(SMALL)):
        try:
            cut = Deck.from_bytes(SMALL[:size])
        except InvalidInput:
            continue
        assert list(cut.rows()) == whole, size  # only padding was lost


# -- size -----------------------------------------------------------------------------------


def test_a_deck_of_200_000_nested_prefixes_builds_and_answers():
    told = [str(number) for number in range(1, 200_001)]
    terms = [rate(f"0.{number:03d}") for number in range(1, 100)]
    rows = [
        DeckRow(prefix=prefix, rate=terms[n % 99], destination=f"place {n % 500}")
        for n, prefix in enumerate(told)
    ]
    compiled = Deck.from_bytes(deck(*rows).to_bytes())
    assert len(compiled) == 200_000
    generator = random.Random(7)
    numbers = [str(generator.randrange(10 ** generator.randint(1, 14))) for _ in range(5_000)]
    known = set(told)
    for number in numbers:
        longest = next((number[:size] for size in range(6, 0, -1) if number[:size] in known), None)
        match = compiled.match(number, NOON)
        assert (match and match.prefix) == longest, number
        if match is not None:
            assert match.rate == terms[(int(match.prefix) - 1) % 99]


def test_a_deck_tells_its_size_and_currency():
    assert repr(prefixes("1", "2")) == "<Deck of 2 rates in USD>"


# -- all that a number could be rated by --------------------------------------------------------


def test_candidates_are_every_row_that_begins_the_number_the_longest_prefix_first():
    later = datetime(2027, 1, 1, tzinfo=UTC)
    rows = [
        DeckRow(prefix="5", rate=rate("0.01")),
        DeckRow(prefix="588", rate=rate("0.02")),
        DeckRow(prefix="588", rate=rate("0.03"), effective_from=later),
        DeckRow(prefix="5880", rate=rate("0.04"), blocked=True),
        DeckRow(prefix="589", rate=rate("0.05")),
    ]
    subject = Deck.compile(rows, currency="USD")
    one, two, three, four, _ = rows
    assert list(subject.candidates("5880123")) == [four, three, two, one]
    assert list(subject.candidates("588")) == [three, two, one]  # not under 5880
    assert list(subject.candidates("61")) == []
    with pytest.raises(InvalidNumber):
        list(subject.candidates("+588"))
