"""The words of a statement in the languages that cardbill knows itself."""

from __future__ import annotations

from collections.abc import Mapping

from cardbill.ledger import EntryKind

FALLBACK = "en"
"""Whose words serve for all other languages."""

_NAMES = (
    ("statement", "card", "from", "until"),
    ("date", "entry", "number", "duration", "taken", "added", "balance"),
    ("opening", "closing", "packages", "valid_until", "owed", "one_call", "calls", "returned"),
    tuple(kind.value for kind in EntryKind),
)
NAMES = tuple(name for row in _NAMES for name in row)
"""What there is a word for: the parts of a statement, and every kind of ledger entry; a transfer
that the other card refused comes back as the kind it left as."""

_WORDS = {
    "en": (
        ("Statement", "Card", "From", "Until"),
        ("Date", "Entry", "Number", "Duration", "Taken", "Added", "Balance"),
        ("Opening balance", "Closing balance", "Packages left", "valid until", "Owed"),
        ("call", "calls", "Transfer returned"),
        ("Face value", "Recharge", "Credit", "Transfer received", "Transfer sent", "Call"),
        ("Charge", "Tax", "Refund", "Write-off", "Expired balance", "Card voided"),
        ("Package received", "Package expired", "Plan changed", "Tax on the sale"),
    ),
    "es": (
        ("Extracto", "Tarjeta", "Desde", "Hasta"),
        ("Fecha", "Concepto", "Número", "Duración", "Cargos", "Abonos", "Saldo"),
        ("Saldo inicial", "Saldo final", "Paquetes disponibles", "válido hasta", "Pendiente"),
        ("llamada", "llamadas", "Transferencia devuelta"),
        ("Valor inicial", "Recarga", "Abono", "Transferencia recibida", "Transferencia enviada"),
        ("Llamada", "Cargo", "Impuesto", "Reembolso", "Saldo retirado", "Saldo caducado"),
        (
            "Tarjeta anulada",
            "Paquete recibido",
            "Paquete caducado",
            "Cambio de plan",
            "Impuesto sobre la venta",
        ),
    ),
    "fr": (
        ("Relevé", "Carte", "Du", "Au"),
        ("Date", "Libellé", "Numéro", "Durée", "Débit", "Crédit", "Solde"),
        ("Solde initial", "Solde final", "Forfaits restants", "valable jusqu'au", "Reste dû"),
        ("appel", "appels", "Transfert restitué"),
        ("Valeur initiale", "Recharge", "Avoir", "Transfert reçu", "Transfert envoyé", "Appel"),
        ("Frais", "Taxe", "Remboursement", "Solde retiré", "Solde expiré", "Carte annulée"),
        ("Forfait reçu", "Forfait expiré", "Changement d'offre", "Taxe sur la vente"),
    ),
    "de": (
        ("Kontoauszug", "Karte", "Von", "Bis"),
        ("Datum", "Vorgang", "Nummer", "Dauer", "Soll", "Haben", "Saldo"),
        ("Anfangssaldo", "Endsaldo", "Verbleibende Pakete", "gültig bis", "Offen"),
        ("Anruf", "Anrufe", "Umbuchung zurückerhalten"),
        ("Startguthaben", "Aufladung", "Gutschrift", "Umbuchung erhalten", "Umbuchung gesendet"),
        ("Anruf", "Gebühr", "Steuer", "Erstattung", "Ausbuchung", "Verfallenes Guthaben"),
        (
            "Karte storniert",
            "Paket erhalten",
            "Paket verfallen",
            "Tarifwechsel",
            "Steuer auf den Verkauf",
        ),
    ),
    "pt": (
        ("Extrato", "Cartão", "De", "Até"),
        ("Data", "Descrição", "Número", "Duração", "Débito", "Crédito", "Saldo"),
        ("Saldo inicial", "Saldo final", "Pacotes disponíveis", "válido até", "Em dívida"),
        ("chamada", "chamadas", "Transferência devolvida"),
        ("Valor inicial", "Recarga", "Crédito concedido", "Transferência recebida"),
        ("Transferência enviada", "Chamada", "Encargo", "Imposto", "Reembolso"),
        ("Saldo retirado", "Saldo expirado", "Cartão anulado", "Pacote recebido"),
        ("Pacote expirado", "Mudança de plano", "Imposto sobre a venda"),
    ),
}

WORDS: Mapping[str, Mapping[str, str]] = {
    language: dict(zip(NAMES, (word for row in rows for word in row), strict=True))
    for language, rows in _WORDS.items()
}
"""The words by language and by what they are for."""
