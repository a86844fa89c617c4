"""Slips in looking things up, binding and paging."""

import time

from tests.faults.sound import TakenApart
from tests.faults.table import WINDOW, caught_by


@caught_by("test_tokens_are_resolved_in_order", "test_a_credential_in_use_is_refused")
class ResolvesAnyKind(TakenApart):
    def resolve(self, kind, tokens, *, key=None):
        return super().resolve("pin", tokens, key=key)


@caught_by("test_tokens_are_resolved_in_order")
class ResolvesTheLastToken(TakenApart):
    def resolve(self, kind, tokens, *, key=None):
        return super().resolve(kind, tokens[::-1], key=key)


@caught_by("test_a_credential_is_bound_if_there_is_none", "test_a_credential_goes_to_one_of_many")
class BindsOverAnybody(TakenApart):
    def bind(self, credential, *, expected):
        held = self._credentials.get(credential[:2])
        return super().bind(credential, expected=held and held.card)


@caught_by("test_a_credential_is_bound_anew_if_it_is_whose_one_thinks")
class BindsWhatIsNotThere(TakenApart):
    def bind(self, credential, *, expected):
        known = credential[:2] in self._credentials
        return super().bind(credential, expected=expected if known else None)


@caught_by("test_a_credential_is_bound_anew_if_it_is_whose_one_thinks")
class BindsTheCardAlone(TakenApart):
    def bind(self, credential, *, expected):
        held = self._credentials.get(credential[:2])
        kept = credential.sealed if held is None else held.sealed
        return super().bind(credential._replace(sealed=kept), expected=expected)


@caught_by(
    "test_a_credential_is_bound_anew_if_it_is_whose_one_thinks",
    errors=(ValueError,),  # its own lists do not fit each other any more
)
class ListsWithTheFormerCard(TakenApart):
    def bind(self, credential, *, expected):
        before = {card: list(places) for card, places in self._opens.items()}
        bound = super().bind(credential, expected=expected)
        if bound and expected is not None:
            self._opens = before
        return bound


@caught_by("test_a_credential_is_bound_to_cards_that_are_there")
class BindsToNoCard(TakenApart):
    def bind(self, credential, *, expected):
        if credential.card not in self._cards:
            return False
        return super().bind(credential, expected=expected)


@caught_by("test_a_credential_goes_to_one_of_many")
class BindsCheckedTooEarly(TakenApart):
    def bind(self, credential, *, expected):
        held = self._credentials.get(credential[:2])
        if (held and held.card) != expected:
            return False
        time.sleep(WINDOW)
        with self._open():
            held = self._credentials.get(credential[:2])
            return super().bind(credential, expected=held and held.card)


@caught_by("test_a_credential_is_removed_if_it_is_whose_one_thinks")
class UnbindsAnybodys(TakenApart):
    def unbind(self, kind, token, *, expected):
        held = self._credentials.get((kind, token))
        return super().unbind(kind, token, expected=held.card if held else expected)


@caught_by("test_a_credential_is_removed_if_it_is_whose_one_thinks")
class UnbindsAnyKind(TakenApart):
    def unbind(self, kind, token, *, expected):
        return super().unbind(kind.lower(), token, expected=expected)


@caught_by("test_due_cards_come_by_instant_and_id")
class DueIgnoresAfter(TakenApart):
    def due(self, at, *, after=None, limit=500):
        return super().due(at, limit=limit)


@caught_by("test_due_cards_come_by_instant_and_id")
class DuePassesOverEqualInstants(TakenApart):
    def due(self, at, *, after=None, limit=500):
        return super().due(at, after=after and (after[0], "\U0010ffff"), limit=limit)


@caught_by("test_cards_of_a_batch_come_by_serial")
class FindsOffByOne(TakenApart):
    def find_cards(self, batch, *, after=0, limit=500):
        return super().find_cards(batch, after=after + 1 if after else 0, limit=limit)


@caught_by("test_entries_come_by_seq")
class EntriesOffByOne(TakenApart):
    def entries(self, card, *, after=0, limit=500):
        return super().entries(card, after=after + 1 if after else 0, limit=limit)


@caught_by("test_cards_of_a_batch_come_by_serial")
class FindIgnoresAfter(TakenApart):
    def find_cards(self, batch, *, after=0, limit=500):
        return super().find_cards(batch, limit=limit)


@caught_by("test_entries_come_by_seq")
class EntriesIgnoreAfter(TakenApart):
    def entries(self, card, *, after=0, limit=500):
        return super().entries(card, limit=limit)


@caught_by("test_records_come_by_card_and_key")
class RecordsIgnoreAfter(TakenApart):
    def records(self, *, card=None, batch=None, after=None, limit=500):
        return super().records(card=card, batch=batch, limit=limit)


@caught_by("test_records_come_by_card_and_key")
class RecordsByDictionary(TakenApart):
    def records(self, *, card=None, batch=None, after=None, limit=500):
        every = super().records(card=card, batch=batch, limit=10_000)
        rows = sorted(every, key=lambda row: (row.card.lower(), row.key.lower()))
        return [row for row in rows if after is None or row[:2] > after][:limit]


@caught_by("test_entries_come_by_seq")
class EntriesByPrefix(TakenApart):
    """Those of SUMMER/1 and of SUMMER/10, as a scan of keys has it that begin alike."""

    def entries(self, card, *, after=0, limit=500):
        cards = [each for each in sorted(self._entries) if each.startswith(card)]
        rows = [row for each in cards for row in super(EntriesByPrefix, self).entries(each)]
        return [row for row in rows if row.seq > after][:limit]


@caught_by("test_entries_come_by_seq")
class EntriesByText(TakenApart):
    def entries(self, card, *, after=0, limit=500):
        rows = sorted(super().entries(card, limit=10_000), key=lambda row: str(row.seq))
        return [row for row in rows if not after or str(row.seq) > str(after)][:limit]


@caught_by("test_records_come_by_card_and_key")
class RecordsOfACardByPrefix(TakenApart):
    def records(self, *, card=None, batch=None, after=None, limit=500):
        rows = super().records(batch=batch, after=after, limit=10_000)
        return [row for row in rows if row.card.startswith(card or "")][:limit]


@caught_by("test_records_come_by_card_and_key")
class RecordsByJoinedKey(TakenApart):
    """SUMMER/10 before SUMMER/1, as the colon behind the card comes after a nought."""

    def records(self, *, card=None, batch=None, after=None, limit=500):
        rows = super().records(card=card, batch=batch, limit=10_000)
        rows = sorted(rows, key=lambda row: ":".join(row[:2]))
        return [row for row in rows if after is None or ":".join(row[:2]) > ":".join(after)][:limit]


@caught_by("test_cards_of_a_batch_come_by_serial")
class CountsABatchByPrefix(TakenApart):
    def count_cards(self, *, batch=None):
        batches = [each for each in self._batches if batch is None or each.startswith(batch)]
        return sum(super(CountsABatchByPrefix, self).count_cards(batch=each) for each in batches)


@caught_by("test_credentials_of_every_kind_are_listed")
class CredentialsByPrefix(TakenApart):
    def credentials(self, cards, kind=None):
        every = [each for each in self._cards if each.startswith(tuple(cards))]
        return super().credentials(every, kind)


@caught_by("test_parts_of_a_key_are_kept_apart")
class JoinsRecordKeys(TakenApart):
    def write(self, step):
        alike = {record.card + record.key for record in step.records}
        for place in [place for place in self._records if "".join(place) in alike]:
            del self._records[place]
        super().write(step)


@caught_by("test_parts_of_a_key_are_kept_apart")
class JoinsCredentialKeys(TakenApart):
    def bind(self, credential, *, expected):
        wanted = credential.kind.encode() + credential.token
        taken = {kind.encode() + token for kind, token in self._credentials}
        return (expected is not None or wanted not in taken) and super().bind(
            credential, expected=expected
        )


@caught_by("test_parts_of_a_key_are_kept_apart")
class JoinsCatalogueNames(TakenApart):
    def publish(self, kind, name, content, *, expected):
        whole = f"{kind}:{name}"
        for place in [place for place in self._contents if ":".join(place) == whole]:
            self._contents[kind, name] = self._contents.pop(place)
        return super().publish(kind, name, content, expected=expected)
