"""Figures printed by tax authorities, vendors and the trade, reckoned again.

Each test names its document; the figures are those that it prints. Where a document rounds in
another way than cardbill does, the test says so and shows both.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from moneyed import Money

from cardbill import Jurisdiction, PriceLine, RoundingMode, Tax, Taxed, TaxOn
from cardbill.money import units
from cardbill.rating import Rounding
from cardbill.taxes import rules_at, sale_tax

NOW = datetime(2026, 3, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
CENTS = Rounding(10_000, RoundingMode.HALF_UP)


def u(amount: str) -> int:
    """An amount in the major unit, in ledger units."""
    return units("amount", amount, "XXX")


def tax(name: str, percent: str, *, on: Any = "usage", **terms: Any) -> Tax:
    return Tax(name=name, on=on, percent=percent, **terms)


def taxed(amount: str, *taxes: Tax, at: datetime = NOW, on: TaxOn = TaxOn.USAGE) -> Taxed:
    place = Jurisdiction(
        name="X", country="X", state="X", city="X", time_zone="America/Montreal", taxes=taxes
    )
    return rules_at(place, at, "USD").taxed([PriceLine(on, u(amount))])


def said(result: Taxed) -> dict[str, int]:
    return {line.tax: line.amount for line in result.taxes}


# -- Quebec: one tax on the other until 2013, side by side since -------------------------------

# Revenu Quebec, "Changes to the QST system", release of 17 December 2012,
# http://www.revenuquebec.ca/en/salle-de-presse/communiques/autres/2012/17dec.aspx
# "QST ([$100 + $5] x 9.5%) $9.98, total $114.98"; from 2013 "QST ($100 x 9.975%) $9.98".
GST = tax("GST", "5", rounding=CENTS)
QST = (
    tax("QST", "9.5", tier=2, level="state", rounding=CENTS,
        effective_until=datetime(2013, 1, 1, tzinfo=ZoneInfo("America/Montreal"))),
    tax("QST", "9.975", level="state", rounding=CENTS,
        effective_from=datetime(2013, 1, 1, tzinfo=ZoneInfo("America/Montreal"))),
)  # fmt: skip
CHANGE = datetime(2013, 1, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(("at", "base"), [(CHANGE - INSTANT, "105"), (CHANGE, "100")])
def test_the_change_of_the_quebec_sales_tax_in_2013_left_its_amount(at: datetime, base: str):
    result = taxed("100", GST, *QST, at=at)
    assert said(result) == {"GST": u("5.00"), "QST": u("9.98")}
    assert result.total == u("114.98")
    assert result.taxes[1].base == u(base)


def test_the_quebec_sales_tax_of_2008():
    """The ministry's page of 9 February 2008, kept by Library and Archives Canada.

    https://webarchiveweb.wayback.bac-lac.canada.ca/web/20080209162021/
    http://www.revenu.gouv.qc.ca/eng/entreprise/taxes/tvq_tps/info.asp:
    "GST ($100 x 5%) $5.00, QST ([$100 + $5] X 7.5%) $7.88, total $112.88".
    """
    result = taxed("100", GST, tax("QST", "7.5", tier=2, rounding=CENTS))
    assert said(result) == {"GST": u("5.00"), "QST": u("7.88")}
    assert result.total == u("112.88")


def test_without_cents_the_ledger_keeps_all_of_the_quebec_sales_tax():
    """The same documents; cardbill rounds to the ledger unit unless told otherwise."""
    assert said(taxed("100", tax("QST", "9.975"))) == {"QST": u("9.975")}


# -- United Kingdom ----------------------------------------------------------------------------


def test_value_added_tax_on_top_in_the_united_kingdom():
    """HMRC, "Calculating VAT for VAT-inclusive and VAT-exclusive prices".

    http://www.hmrc.gov.uk/vat/forms-rates/rates/calculating.htm: 20 % of 100 pounds is 20,
    price 120; 5 % is 5, price 105.
    """
    assert taxed("100", tax("VAT", "20")).total == u("120")
    assert taxed("100", tax("VAT", "5")).total == u("105")


@pytest.mark.parametrize(
    ("rate", "gross", "vat"),
    [("15", "115.00", "15.00"), ("17.5", "117.50", "17.50"), ("20", "120.00", "20.00")],
)
def test_the_vat_fraction_takes_the_tax_out_of_a_price(rate: str, gross: str, vat: str):
    """3/23, 7/47 and 1/6: "VAT Rates and Fractions", Crown copyright figures, at

    https://accountingservicesforbusiness.co.uk/resources/information-articles/vat-rates-and-fractions
    """
    result = taxed(gross, tax("VAT", rate, inclusive=True))
    assert (result.net, result.tax) == (u("100"), u(vat))


def test_a_vat_fraction_that_is_no_whole_number_of_pence():
    """http://itsrelative.co.uk/headlines/2014-06-11-vat-fraction: 80 pounds x 1/21 is 3.81.

    HMRC's manual VATREC12020 lets retailers round up and down to the nearest penny, and never
    only down. To the ledger unit it is 3.809524.
    """
    assert taxed("80", tax("VAT", "5", inclusive=True, rounding=CENTS)).tax == u("3.81")
    assert taxed("80", tax("VAT", "5", inclusive=True)).tax == u("3.809524")


@pytest.mark.parametrize(
    ("pump", "duty_and_vat"), [("132.9", ("57.95", "22.15")), ("137.9", ("57.95", "22.98"))]
)
def test_a_flat_duty_inside_a_price_bears_vat(pump: str, duty_and_vat: tuple[str, str]):
    """Pence per litre, https://theanswerbank.co.uk/How-it-Works/Question1174063.html;

    that VAT is on product and duty: https://www.racfoundation.org/data/amount-of-uk-pump-price-which-is-tax
    """
    duty = Tax(name="duty", on="usage", flat=Money("57.95", "USD"), inclusive=True, rounding=CENTS)
    vat = tax("VAT", "20", tier=2, inclusive=True, rounding=CENTS)
    result = taxed(pump, duty, vat)
    assert said(result) == dict(zip(("duty", "VAT"), map(u, duty_and_vat), strict=True))


def test_what_is_left_of_a_litre_without_duty_and_vat():
    """https://www.honestjohn.co.uk/askhj/answer/77398/

    "If the fuel is 1.20 at the pumps, the cost of the fuel is 42.05p."
    """
    duty = Tax(name="duty", on="usage", flat=Money("57.95", "USD"), inclusive=True)
    assert taxed("120", duty, tax("VAT", "20", tier=2, inclusive=True)).nets == (u("42.05"),)


# -- European Union ----------------------------------------------------------------------------


def test_the_price_cap_of_a_call_within_the_european_union_with_french_vat():
    """0.19 euros a minute before VAT, 0.228 with 20 %, reported of 15 May 2019 by

    http://www.meteocity.com/magazine/actualites/le-cout-des-appels-telephoniques-vers-l-europe-plafonne_10842/
    """
    assert taxed("0.19", tax("TVA", "20")).total == u("0.228")
    assert taxed("0.228", tax("TVA", "20", inclusive=True)).net == u("0.19")


# -- India -------------------------------------------------------------------------------------

# Tally Solutions, "Tax Value Calculation When Price is Inclusive of GST" (2 November 2017),
# https://tallysolutions.com/gst/tax-value-calculation-when-price-is-inclusive-of-gst/; the
# formula is that of rule 35 of the CGST Rules, 2017.


def test_integrated_gst_inside_a_price_in_india():
    """ "IGST amount = 50,000*18/118 = Rs. 7627", in whole rupees."""
    rupees = Rounding(1_000_000, RoundingMode.HALF_UP)
    assert taxed("50000", tax("IGST", "18", inclusive=True, rounding=rupees)).tax == u("7627")
    assert taxed("50000", tax("IGST", "18", inclusive=True)).tax == u("7627.118644")


def test_central_and_state_gst_inside_a_price_in_india():
    """ "20,000*18/118 = Rs. 3050.85", and each half is printed as 1525.42.

    Two halves of 1525.42 make 3050.84, a paisa less than the tax. cardbill rounds the sum and
    shares it out, so that one of the halves has that paisa.
    """
    halves = [tax(name, "9", inclusive=True, rounding=CENTS) for name in ("CGST", "SGST")]
    result = taxed("20000", *halves)
    assert result.tax == u("3050.85")
    assert said(result) == {"CGST": u("1525.43"), "SGST": u("1525.42")}


def test_two_halves_of_twelve_percent_inside_a_hundred_rupees():
    """https://caclubindia.com/forum/which-calculation-is-correct-in-gst-413201.asp, case 1:

    taxable 89.29, each half 5.36, both 10.72. That makes 100.01; cardbill's parts make 100.
    """
    halves = [tax(name, "6", inclusive=True, rounding=CENTS) for name in ("CGST", "SGST")]
    result = taxed("100", *halves)
    assert result.net == u("89.29")
    assert said(result) == {"CGST": u("5.36"), "SGST": u("5.35")}


# -- Brazil: taxes on themselves ---------------------------------------------------------------


def test_a_brazilian_telephone_bill():
    """Embratel's example, complementary law 87/96, art. 13, in two printings:

    http://afiscom.com.br/site/Produto/tel.htm has 10.00 / 0.7135 = 14.02, and
    https://clarofixo.claro.com.br/duvidas-frequentes.html has 14.01; both have ICMS of 25 %
    at 3.50 and COFINS of 3 % at 0.42, the second PIS of 0.65 % at 0.09. (The first prints the
    rate, 0.65, in the place of that amount.) Exactly it is 14.015417...; cardbill rounds each
    tax, not the total, and the taxes printed make the 14.01.
    """
    taxes = [("ICMS", "25"), ("COFINS", "3"), ("PIS", "0.65")]
    own = [tax(name, rate, on_itself=True, rounding=CENTS) for name, rate in taxes]
    result = taxed("10.00", *own)
    assert said(result) == {"ICMS": u("3.50"), "COFINS": u("0.42"), "PIS": u("0.09")}
    assert result.total == u("14.01")
    exact = taxed("10.00", *(tax(name, rate, on_itself=True) for name, rate in taxes))
    assert exact.total == u("14.015417")


def test_icms_inside_its_own_base():
    """https://controlcg.com/dicas/calculo-do-icms-por-dentro: 1,450.00 / 0.82 = 1,768.29,

    of which 18 % is 318.29, and 1,450.00 is left.
    """
    icms = tax("ICMS", "18", on_itself=True, rounding=CENTS)
    result = taxed("1450.00", icms)
    assert (result.tax, result.total) == (u("318.29"), u("1768.29"))
    inside = taxed("1768.29", tax("ICMS", "18", on_itself=True, inclusive=True, rounding=CENTS))
    assert (inside.net, inside.tax) == (u("1450.00"), u("318.29"))


def test_icms_on_top_of_ipi():
    """Oracle, "Manage Tax Compounding": 100*15 % = 15, then 115*18 % = 20.70.

    https://docs.oracle.com/en/cloud/saas/financials/25c/faufa/manage-tax-compounding.html
    """
    result = taxed("100", tax("IPI", "15"), tax("ICMS", "18", tier=2))
    assert said(result) == {"IPI": u("15"), "ICMS": u("20.70")}


# -- United States -----------------------------------------------------------------------------


def test_new_york_taxes_the_card_since_march_2000_and_taxed_the_call_before():
    """New York State, TSB-M-00(3)S of 1 February 2000 (https://www.scribd.com/document/36865226/m00-3s).

    Tax is imposed when prepaid telephone calling cards are sold or recharged, from 1 March
    2000 on; "prior to this change, tax was imposed at the time a taxable telephone call was
    made". Rates of 4 % (state), 4.5 % (city), 0.375 % (commuter district) as of today.
    """
    change = datetime(2000, 3, 1, tzinfo=ZoneInfo("America/New_York"))
    rates = [("state", "state", "4"), ("city", "city", "4.5"), ("MCTD", "county", "0.375")]
    place = Jurisdiction(
        name="US-NY-NYC", country="US", state="New York", county="MCTD", city="New York",
        taxes=[
            *(tax(name, rate, level=level, effective_until=change) for name, level, rate in rates),
            *(tax(name, rate, level=level, on="sale", effective_from=change, rounding=CENTS)
              for name, level, rate in rates),
        ],
    )  # fmt: skip
    sold = Money(1000, "USD")
    assert sale_tax(place, sold, change - INSTANT).total == u("1000")
    # https://quicktaxcalc.com/new-york/new-york-city: "$1,000 ... adds $88.75"
    assert sale_tax(place, sold, change).total == u("1088.75")
    call = [PriceLine(TaxOn.USAGE, u("1"))]
    assert rules_at(place, change - INSTANT, "USD").total(call) == u("1.08875")
    assert rules_at(place, change, "USD").total(call) == u("1")


def test_one_rate_of_three_authorities_and_three_rates():
    """https://visualfoodie.com/comparing-nyc-sales-tax-and-ny-state-tax: $500 become $544.38.

    That is 8.875 % in one. Three taxes in cents are 20.00, 22.50 and 1.88: the same here.
    """
    assert taxed("500", tax("NYC", "8.875", on="sale", rounding=CENTS), on=TaxOn.SALE).total == u(
        "544.38"
    )
    three = [tax(rate, rate, on="sale", rounding=CENTS) for rate in ("4", "4.5", "0.375")]
    result = taxed("500", *three, on=TaxOn.SALE)
    assert said(result) == {"4": u("20"), "4.5": u("22.50"), "0.375": u("1.88")}
    assert result.total == u("544.38")


def test_florida_takes_the_tax_out_of_what_a_vending_machine_took():
    """Florida, TIP 99A01-18 of 30 June 1999: 7 % on prepaid calling cards, when sold;

    receipts of a machine are divided by 1.07, and what is left over is the tax
    (http://dor.myflorida.com/dor/tips/tip99a0118.html). It prints no amounts: 10.70 is ours.
    """
    result = taxed("10.70", tax("FL", "7", on="sale", inclusive=True), on=TaxOn.SALE)
    assert (result.net, result.tax) == (u("10"), u("0.70"))


def test_a_flat_charge_per_sale_rose_in_iowa_in_november_2013():
    """https://tax.iowa.gov/node/12627: 33 cents per retail transaction, 51 from 1 Nov 2013."""
    change = datetime(2013, 11, 1, tzinfo=ZoneInfo("America/Chicago"))
    old, new = Money("0.33", "USD"), Money("0.51", "USD")
    e911 = [
        Tax(name="E911", on="sale", flat=old, effective_until=change),
        Tax(name="E911", on="sale", flat=new, effective_from=change),
    ]
    assert taxed("20", *e911, at=change - INSTANT, on=TaxOn.SALE).tax == u("0.33")
    assert taxed("20", *e911, at=change, on=TaxOn.SALE).tax == u("0.51")


def test_a_flat_charge_per_card_in_connecticut():
    """https://portal.ct.gov/DRS/TSC/TSC-Help-Text/OP-153---Prepaid-E-9-1-1-help-text:

    two cards sold to a consumer, $1.16. Each card is a sale of its own here.
    """
    fee = Tax(name="E 9-1-1", on="sale", flat=Money("0.58", "USD"))
    assert 2 * taxed("10", fee, on=TaxOn.SALE).tax == u("1.16")


def test_a_federal_universal_service_charge_is_on_charges_and_not_on_taxes():
    """Verizon's guide excludes taxes from what its charge is on: one tier for all.

    https://espanol2.verizon.com/business/service_guide/reg-20241101/m_fusf.htm. The figures:
    https://cal18.calculator.city/how-to-calculate-federal-universal-service-charge/,
    "$100.00 base ... 34.4 % factor ... $34.40". The state's 6.25 % is ours.
    """
    result = taxed("100", tax("FUSF", "34.4"), tax("state", "6.25", level="state"))
    assert said(result) == {"FUSF": u("34.40"), "state": u("6.25")}
    assert result.taxes[0].base == u("100")
