"""All defects in one table, by number."""

from tests.museum import (
    csv,
    databases,
    double_charges,
    overspending,
    pins,
    rating,
    stuck,
    time,
    vouchers,
)
from tests.museum.exhibits import Defect, Section

SECTIONS: tuple[Section, ...] = (
    double_charges.SECTION,
    overspending.SECTION,
    stuck.SECTION,
    time.SECTION,
    rating.SECTION,
    pins.SECTION,
    vouchers.SECTION,
    csv.SECTION,
    databases.SECTION,
)
DEFECTS: tuple[Defect, ...] = tuple(
    sorted(
        (defect for section in SECTIONS for defect in section.defects),
        key=lambda defect: defect.number,
    )
)
