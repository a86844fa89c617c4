"""Write a sample retail rate deck: real prefixes and names, illustrative prices.

Country codes, area prefixes, mobile prefixes and their names are facts, taken from the
metadata of the `phonenumbers` package (Google's libphonenumber) and babel's country names.
THE PRICES ARE MADE UP: plausible in their order of size, nobody's offer, not for business.
The same package versions always give the same deck.

    python examples/sample_deck.py retail.csv
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import phonenumbers
from babel import Locale
from phonenumbers import PhoneMetadata
from phonenumbers.carrierdata import CARRIER_DATA
from phonenumbers.geodata import GEOCODE_DATA

# The headers that cardbill.read_deck() knows without being told.
HEADERS = ("prefix", "destination", "price_per_minute", "increments", "connect_fee", "blocked")

AREA_DIGITS = 3  # a finer deck would have a row for every small town
FILLING = "234567890123"  # a subscriber's digits, to see whose number a prefix makes
NANP = "1"
UNNAMED = ("736", "7856", "7857", "7860", "7869")  # whose areas these are is disputed

# By the first digit of the country code, in 1/10,000 dollar a minute: from, to, increments.
ZONES = {
    "1": (600, 2_400, "30/6"),  # the Caribbean; the USA and Canada are below
    "2": (900, 4_500, "60/60"),  # Africa
    "3": (120, 900, "1/1"),  # Europe
    "4": (110, 700, "1/1"),  # Europe
    "5": (250, 1_900, "60/60"),  # Latin America
    "6": (300, 2_600, "30/6"),  # Oceania and south-east Asia
    "7": (250, 900, "1/1"),  # Russia, Kazakhstan
    "8": (150, 1_400, "30/6"),  # east Asia
    "9": (200, 1_900, "30/6"),  # south and west Asia
}
AT_HOME = {"US": 100, "CA": 120}

# Codes of no country: name, 1/10,000 dollar a minute, blocked.
NETWORKS = {
    "870": ("Satellite - Inmarsat", 69_500, False),
    "878": ("Universal personal numbers", 15_000, False),
    "881": ("Satellite - Global mobile", 74_900, False),
    "882": ("International networks", 32_500, False),
    "883": ("International networks", 32_500, False),
    "979": ("International premium rate", 0, True),  # a favourite of fraudsters
}


class Row(NamedTuple):
    """One line of the deck; the fields are those of `HEADERS`."""

    prefix: str
    destination: str
    price_per_minute: str
    increments: str
    connect_fee: str
    blocked: str


def sample_rows() -> list[Row]:
    """Return the whole deck, sorted by prefix."""
    areas = dict(_areas())
    mobiles = dict(_mobiles(areas))
    rows = [_row(prefix, region) for prefix, region in _countries()]
    rows += [_row(prefix, _region(prefix), place=name) for prefix, name in areas.items()]
    rows += [_row(prefix, region, mobile=True) for prefix, region in mobiles.items()]
    rows += [
        Row(prefix, name, _price(price), "60/60", "0", "yes" if blocked else "no")
        for prefix, (name, price, blocked) in NETWORKS.items()
    ]
    return sorted({row.prefix: row for row in rows}.values())  # of two alike, the finer one


def write_deck(path: Path) -> int:
    """Write the deck as CSV and return its number of rows."""
    rows = sample_rows()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS)
        writer.writerows(rows)
    return len(rows)


# -- prefixes and names: facts ----------------------------------------------------------------


def _country_code(number: str) -> str:
    """Country codes have one to three digits, and none begins another."""
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    return next((number[:n] for n in (1, 2, 3) if int(number[:n]) in codes), "")


def _countries() -> Iterator[tuple[str, str]]:
    """Yield (prefix, region) of every country and, where several share a code, their parts."""
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        if regions == ("001",):  # not a country: see NETWORKS
            continue
        yield str(code), regions[0]
        for region in regions[1:]:
            metadata = PhoneMetadata.metadata_for_region(region)
            leading = metadata and metadata.leading_digits
            for digits in map(str, range(1, 1000)):
                if leading and re.fullmatch(leading, digits):
                    yield f"{code}{digits}", region


def _areas() -> Iterator[tuple[str, str]]:
    """Yield (prefix, name) of the area prefixes whose name says more than their parent's."""
    names: dict[str, str] = {}
    for prefix in sorted(GEOCODE_DATA, key=len):
        code = _country_code(prefix)
        name = GEOCODE_DATA[prefix].get("en")
        if not code or not name or len(prefix) > len(code) + AREA_DIGITS or prefix in UNNAMED:
            continue
        parents = (prefix[:n] for n in range(len(prefix) - 1, len(code) - 1, -1))
        if name != next((names[parent] for parent in parents if parent in names), None):
            names[prefix] = name
            yield prefix, name


def _mobiles(areas: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (prefix, region) of mobile prefixes; the package lists them by operator.

    Short ones only, and none that overlaps a fixed area. In North America mobile numbers
    look like all others, but the Caribbean islands price them apart, by six digits.
    """
    fixed = {area[:n] for area in areas for n in range(1, len(area) + 1)}
    seen: set[str] = set()
    for prefix in CARRIER_DATA:
        code = _country_code(prefix)
        wanted = 6 if code == NANP else AREA_DIGITS
        short = prefix[: len(code) + wanted]
        if not code or short in seen:
            continue
        seen.add(short)
        region = _region(short)
        inside = any(short[:n] in areas for n in range(len(code) + 1, len(short)))
        if short in fixed or inside or region in AT_HOME or region == "001":
            continue
        yield short, region


def _region(prefix: str) -> str:
    """Return the region of the numbers under a prefix."""
    code = _country_code(prefix)
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]
    if len(regions) == 1:
        return regions[0]
    example = phonenumbers.example_number(regions[0])
    digits = len(str(example.national_number)) if example else 10
    national = int((prefix[len(code) :] + FILLING)[:digits])
    number = phonenumbers.PhoneNumber(country_code=int(code), national_number=national)
    return phonenumbers.region_code_for_number(number) or regions[0]


# -- prices: made up --------------------------------------------------------------------------

_COUNTRY_NAMES = Locale("en").territories


def _row(prefix: str, region: str, *, place: str = "", mobile: bool = False) -> Row:
    country = _COUNTRY_NAMES.get(region, region)
    low, high, increments = ZONES[prefix[0]]
    price = AT_HOME.get(region) or low + _chance(region, high - low)
    if mobile:
        price = price * (115 + _chance(region + "/mobile", 65)) // 100
        place = "Mobile"
    elif place and place != country and region not in AT_HOME:
        price = price * (80 + _chance(f"{region}/{place}", 20)) // 100
    destination = f"{country} - {place}" if place and place != country else country
    connect_fee = "0.0500" if prefix[0] in "259" and _chance(region + "/fee", 3) == 0 else "0"
    return Row(prefix, destination, _price(price), increments, connect_fee, "no")


def _chance(what: str, below: int) -> int:
    """Return a number from 0 up to `below` that is always the same for the same text."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big") % below


def _price(ten_thousandths: int) -> str:
    """Write 1/10,000 dollars as dollars; no float ever sees a price."""
    return f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a rate deck with ILLUSTRATIVE prices.")
    parser.add_argument("path", type=Path, help="the CSV file to write")
    path = parser.parse_args().path
    print(f"{path}: {write_deck(path):,} rows; the prices are illustrative, nobody's offer")


if __name__ == "__main__":
    main()
