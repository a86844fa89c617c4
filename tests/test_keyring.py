"""Keys: kept out of sight, never overwritten, and what they sealed opens for one card only."""

import base64
import hashlib
import hmac
import json
import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import cardbill
from cardbill import Keyring
from cardbill.errors import (
    CardbillError,
    InvalidInput,
    KeyFileExposed,
    KeyMissing,
    KeyringError,
    WrongKey,
)

PIN = "123456789012"
CARD = "SUMMER-5/17"
K1, K2, K3 = (bytes([byte]) * 32 for byte in (0x41, 0x42, 0x43))
AUDIT = {1: bytes([0x44]) * 32}
OLD = Keyring(audit=AUDIT, lookup={1: K1}, sealing={1: K2})
NEW = Keyring(audit=AUDIT, lookup={1: K1, 2: K3}, sealing={1: K2, 2: K1})
LOOKUP_ONLY = Keyring(audit=AUDIT, lookup={1: K1})
posix = pytest.mark.skipif(os.name != "posix", reason="file modes are a thing of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- files ----------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_key_file_is_its_owners_alone_and_loads_again(tmp_path: Path, umask: int):
    path = tmp_path / "cards.key"
    before = os.umask(umask)
    try:
        made = Keyring.create(path)
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert Keyring.load(path) == Keyring.load(str(path)) == made
    assert made.token(PIN) == Keyring.load(path).token(PIN)


def test_a_path_is_no_keyring_and_what_it_may_hold_is_not_repeated():
    for text in ("cards.key", Keyring.generate().dumps()):
        with pytest.raises(TypeError, match=r"Keyring\.load\(path\)") as refused:
            cardbill.open("memory:", keyring=text)  # type: ignore[arg-type]
        assert text not in str(refused.value)


def test_keys_are_never_overwritten(tmp_path: Path):
    path = tmp_path / "cards.key"
    Keyring.create(path)
    content = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"Keyring.load\(\) reads them.*cards.key"):
        Keyring.create(path)
    assert path.read_bytes() == content
    link = tmp_path / "link.key"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        Keyring.create(link)
    assert not (tmp_path / "elsewhere").exists()


@posix
@pytest.mark.parametrize("exposed", [0o644, 0o640, 0o660, 0o604, 0o602, 0o620, 0o601, 0o777])
def test_a_key_file_that_others_may_use_is_refused_by_name(tmp_path: Path, exposed: int):
    path = tmp_path / "cards.key"
    Keyring.create(path)
    path.chmod(exposed)
    with pytest.raises(KeyFileExposed) as caught:
        Keyring.load(path)
    assert str(path) in str(caught.value)
    assert f"{exposed:04o}" in str(caught.value)
    assert isinstance(caught.value, PermissionError)
    assert isinstance(caught.value, KeyringError)


@posix
@pytest.mark.parametrize("private", [0o600, 0o400, 0o700])
def test_a_key_file_of_its_owner_alone_loads(tmp_path: Path, private: int):
    path = tmp_path / "cards.key"
    made = Keyring.create(path)
    path.chmod(private)
    assert Keyring.load(path) == made


def test_a_missing_key_file_is_an_error_of_the_system(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Keyring.load(tmp_path / "cards.key")


def test_every_key_made_is_another_one():
    rings = [Keyring.generate() for _ in range(20)]
    kinds = [keys for ring in rings for keys in (ring.lookup, ring.sealing, ring.audit)]
    keys = [key for keys in kinds for key in keys.values()]
    assert len(set(keys)) == 60
    assert {len(key) for key in keys} == {32}


# -- the environment ------------------------------------------------------------------------


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARDBILL_KEYS", NEW.dumps())
    assert Keyring.from_env() == NEW
    monkeypatch.setenv("OTHER_KEYS", OLD.dumps() + "\n")
    assert Keyring.from_env("OTHER_KEYS") == OLD


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_missed_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str | None
):
    monkeypatch.delenv("CARDBILL_KEYS", raising=False)
    if value is not None:
        monkeypatch.setenv("CARDBILL_KEYS", value)
    with pytest.raises(KeyMissing, match="CARDBILL_KEYS"):
        Keyring.from_env()


@pytest.mark.parametrize("value", ["s3cr3t-s3cr3t", "s3cr3t\udcff", "\udcfes3cr3t"])
def test_a_variable_that_holds_no_keys_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, value: str
):
    monkeypatch.setenv("CARDBILL_KEYS", value)
    with pytest.raises(KeyringError, match="CARDBILL_KEYS") as caught:
        Keyring.from_env()
    assert_silent(caught.value, "s3cr3t")


# -- contents -------------------------------------------------------------------------------

SECRET = base64.b64encode(K1).decode()


def content(**changes: object) -> bytes:
    plain = {"format": 1, **{kind: {"1": SECRET} for kind in ("lookup", "audit", "sealing")}}
    return json.dumps({**plain, **changes}).encode()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        SECRET.encode(),
        b"\xff\xfe" + SECRET.encode(),
        b"{" + SECRET.encode(),
        b'"' + SECRET.encode() + b'"',
        b"[1, 2]",
        b"null",
        b"1",
        b"[" * 200_000,
        b"{}",
        content()[:-3],
        content() + SECRET.encode(),
        content(lookup={}),
        content(lookup=None),
        content(lookup=[SECRET]),
        content(lookup={"one": SECRET}),
        content(lookup={SECRET: SECRET}),
        content(lookup={"0": SECRET}),
        content(lookup={"256": SECRET}),
        content(lookup={"-1": SECRET}),
        content(lookup={"1": SECRET[:-4]}),
        content(lookup={"1": SECRET + "AAAA"}),
        content(lookup={"1": SECRET[:-1]}),
        content(lookup={"1": "*" + SECRET[1:]}),
        content(lookup={"1": 5}),
        content(lookup={"1": None}),
        content(lookup={"1": ""}),
        content(sealing=[SECRET]),
        content(sealing={"1": "é" * 44}),
        json.dumps({"format": 1, "lookups": {"1": SECRET}}).encode(),
    ],
)
def test_what_is_no_keyring_is_refused_and_not_repeated(garbage: bytes, tmp_path: Path):
    path = tmp_path / "cards.key"
    path.touch(0o600)
    path.write_bytes(garbage)
    with pytest.raises(KeyringError, match=r"cards\.key") as caught:
        Keyring.load(path)
    assert_silent(caught.value, SECRET)
    assert_silent(caught.value, K1.decode())


def test_a_keyring_of_a_later_format_is_refused_as_such():
    with pytest.raises(KeyringError, match="format") as caught:
        Keyring.loads(content(format=2))
    assert_silent(caught.value, SECRET)


def assert_silent(error: BaseException, secret: str) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    assert secret not in told
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_nothing_that_an_error_refers_to_keeps_the_contents_either():
    with pytest.raises(KeyringError) as caught:
        Keyring.loads(b'{"format":1,"lookup":' + SECRET.encode())
    error: BaseException | None = caught.value
    while error is not None:
        kept = [error.args, *vars(error).values(), getattr(error, "doc", "")]
        assert SECRET not in repr(kept)
        error = error.__cause__ or error.__context__


def test_a_keyring_does_not_change_with_what_it_was_made_from():
    keys = {1: K1}
    ring = Keyring(audit=AUDIT, lookup=keys, sealing=keys)
    keys[2] = b"short"
    assert ring == Keyring(audit=AUDIT, lookup={1: K1}, sealing={1: K1})


@given(st.dictionaries(st.integers(1, 255), st.binary(min_size=32, max_size=32), min_size=1))
def test_a_keyring_written_down_reads_back(keys: dict[int, bytes]):
    ring = Keyring(audit=AUDIT, lookup=keys, sealing=keys)
    assert Keyring.loads(ring.dumps().encode()) == ring
    assert "\n" not in ring.dumps()
    assert Keyring.loads(Keyring(audit=AUDIT, lookup=keys).dumps().encode()) == Keyring(
        audit=AUDIT, lookup=keys
    )


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({1: b"short"}, InvalidInput),
        ({1: K1 + b"x"}, InvalidInput),
        ({1: b""}, InvalidInput),
        ({1: "x" * 32}, InvalidInput),
        ({1: 5}, InvalidInput),
        ({1: None}, InvalidInput),
        ({0: K1}, InvalidInput),
        ({256: K1}, InvalidInput),
        ({"1": K1}, InvalidInput),
        ({True: K1}, InvalidInput),
        ({}, KeyMissing),
    ],
)
def test_a_keyring_of_unfit_keys_is_refused_without_showing_them(
    keys: dict[int, bytes], kind: type[CardbillError]
):
    with pytest.raises(kind) as caught:
        Keyring(audit=AUDIT, lookup=keys)
    assert_silent(caught.value, "xxxxx")
    assert_silent(caught.value, "AAAAA")
    if keys:
        with pytest.raises(kind):
            Keyring(audit=AUDIT, lookup={1: K1}, sealing=keys)


@pytest.mark.parametrize("show", [repr, str, format, "{}".format, "%s".__mod__, "{!r:>99}".format])
def test_a_keyring_shows_versions_and_no_keys(show: Callable[[object], str]):
    shown = show(NEW)
    assert "1" in shown
    assert "2" in shown
    for key in (K1, K2, K3):
        assert not any(
            hidden in shown
            for hidden in (key.decode(), key.hex(), base64.b64encode(key).decode(), repr(key))
        )


# -- look-up tokens -------------------------------------------------------------------------


def test_a_token_is_an_hmac_that_other_programs_can_compute():
    due = b"\x01" + hmac.new(K1, b"cardbill/pin/1|" + PIN.encode(), hashlib.sha256).digest()
    assert OLD.token(PIN) == due
    assert OLD.tokens(PIN) == [due]
    assert LOOKUP_ONLY.token(PIN) == due


@pytest.mark.parametrize("kind", ["pin", "ani", "number+pin"])
def test_each_kind_of_credential_has_a_context_of_its_own(kind: str):
    due = b"\x01" + hmac.new(K1, f"cardbill/{kind}/1|{PIN}".encode(), hashlib.sha256).digest()
    assert OLD.token(PIN, kind) == due
    assert OLD.tokens(PIN, kind) == [due]


def test_a_kind_that_nobody_knows_has_no_token():
    with pytest.raises(InvalidInput) as caught:
        OLD.token("voice", PIN)  # the wrong way round, so the kind is a secret
    assert caught.value.field == "kind"
    assert_silent(caught.value, PIN)


def test_the_newest_key_comes_first_and_older_ones_are_still_tried():
    newest = Keyring(audit=AUDIT, lookup={2: K3}).token(PIN)
    assert NEW.token(PIN) == newest
    assert NEW.tokens(PIN) == [newest, OLD.token(PIN)]
    many = Keyring(audit=AUDIT, lookup={9: K2, 10: K3, 2: K1})
    assert many.tokens(PIN) == [
        Keyring(audit=AUDIT, lookup={version: key}).token(PIN)
        for version, key in ((10, K3), (9, K2), (2, K1))
    ]  # by number, not by text


@given(st.text("0123456789", min_size=4, max_size=20), st.text("0123456789", min_size=4))
def test_tokens_tell_pins_apart_and_never_change(one: str, other: str):
    assert (OLD.token(one) == OLD.token(other)) == (one == other)
    assert OLD.token(one) != Keyring(audit=AUDIT, lookup={1: K2}).token(one)
    assert NEW.tokens(one)[1] == OLD.token(one)
    assert one.encode() not in OLD.token(one)


def test_what_could_be_no_pin_has_no_token_and_no_copy_and_is_not_repeated():
    typed = "1234" + chr(0xD800)
    for work in (NEW.token, NEW.tokens, lambda pin: NEW.seal(pin, CARD)):
        with pytest.raises(InvalidInput) as caught:
            work(typed)
        assert caught.value.value is None
        assert_silent(caught.value, typed[:4])


# -- sealed copies --------------------------------------------------------------------------


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=4, max_size=32))
def test_a_sealed_pin_opens_for_its_card(pin: str):
    sealed = OLD.seal(pin, CARD)
    assert OLD.unseal(sealed, CARD) == pin
    assert NEW.unseal(sealed, CARD) == pin
    assert pin.encode() not in sealed


def test_the_same_pin_is_never_sealed_alike():
    assert len({OLD.seal(PIN, CARD) for _ in range(50)}) == 50


def test_new_copies_use_the_newest_key():
    sealed = NEW.seal(PIN, CARD)
    assert NEW.unseal(sealed, CARD) == PIN
    assert Keyring(audit=AUDIT, lookup={1: K1}, sealing={2: K1}).unseal(sealed, CARD) == PIN
    with pytest.raises(KeyMissing, match="key 2"):
        OLD.unseal(sealed, CARD)


@pytest.mark.parametrize("other", ["SUMMER-5/18", "SUMMER-5/1", "SUMMER-5/170", "", "summer-5/17"])
def test_a_copy_moved_to_another_card_does_not_open(other: str):
    with pytest.raises(WrongKey) as caught:
        OLD.unseal(OLD.seal(PIN, CARD), other)
    assert PIN not in "".join(traceback.format_exception(caught.value))


def test_a_copy_with_any_bit_changed_does_not_open():
    sealed = OLD.seal(PIN, CARD)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WrongKey if bit >= 8 else KeyMissing):
            OLD.unseal(bytes(changed), CARD)


def test_a_copy_cut_short_or_grown_does_not_open():
    sealed = OLD.seal(PIN, CARD)
    for size in range(len(sealed)):
        with pytest.raises(KeyringError):
            OLD.unseal(sealed[:size], CARD)
    with pytest.raises(KeyringError):
        OLD.unseal(sealed + b"\0", CARD)


def test_another_key_of_the_same_version_opens_nothing():
    with pytest.raises(WrongKey, match="SUMMER-5/17"):
        Keyring(audit=AUDIT, lookup={1: K1}, sealing={1: K3}).unseal(OLD.seal(PIN, CARD), CARD)


def test_a_keyring_without_sealing_keys_can_look_up_but_neither_seal_nor_show():
    with pytest.raises(KeyMissing, match="sealing"):
        LOOKUP_ONLY.seal(PIN, CARD)
    with pytest.raises(KeyMissing):
        LOOKUP_ONLY.unseal(OLD.seal(PIN, CARD), CARD)


# -- telling a wrong key --------------------------------------------------------------------


def test_checks_tell_keys_apart_by_name_and_give_nothing_away():
    checks = NEW.checks()
    assert set(checks) == {"lookup/1", "lookup/2", "audit/1", "sealing/1", "sealing/2"}
    assert checks == Keyring.loads(NEW.dumps().encode()).checks()
    assert checks["lookup/1"] == OLD.checks()["lookup/1"] != checks["lookup/2"]
    shown = b"".join(checks.values())
    assert not any(key in shown for key in (K1, K2, K3))
    assert OLD.token("cardbill/keyring/check/1") not in checks.values()


# -- rotating ---------------------------------------------------------------------------------


def test_rotating_adds_a_version_and_keeps_the_old_ones(tmp_path: Path):
    ring = OLD.rotated()
    assert (sorted(ring.lookup), sorted(ring.sealing), sorted(ring.audit)) == ([1, 2], [1, 2], [1])
    assert ring.tokens(PIN)[1] == OLD.token(PIN) != ring.token(PIN)
    assert ring.unseal(OLD.seal(PIN, CARD), CARD) == PIN
    assert len({*ring.lookup.values(), *ring.sealing.values()}) == 4
    audit = OLD.rotated(lookup=False, sealing=False, audit=True)
    assert (audit.lookup, audit.sealing, sorted(audit.audit)) == (OLD.lookup, OLD.sealing, [1, 2])
    assert sorted(Keyring(audit=AUDIT, lookup={7: K1}).rotated().lookup) == [7, 8]
    ring.save(tmp_path / "new.key")
    assert Keyring.load(tmp_path / "new.key") == ring
    with pytest.raises(FileExistsError):
        ring.save(tmp_path / "new.key")
    with pytest.raises(InvalidInput):
        Keyring(audit=AUDIT, lookup={255: K1}).rotated()


def test_keys_are_left_out_by_name():
    assert NEW.without(["lookup/1", "sealing/2", "audit/9"]) == Keyring(
        audit=AUDIT, lookup={2: K3}, sealing={1: K2}
    )
    with pytest.raises(KeyMissing, match="lookup"):
        OLD.without(["lookup/1"])
    with pytest.raises(KeyMissing, match="audit"):
        Keyring(lookup={1: K1}, audit={})


# -- seals ------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_seal_is_an_hmac_that_other_programs_can_compute(one: bytes, other: bytes):
    seals = OLD.seals
    due = hmac.new(AUDIT[1], b"card\0" + one, hashlib.sha256).digest()
    assert seals.sign("card", one) == b"\x01" + due[:16]
    assert seals.holds("card", one, seals.sign("card", one))
    assert seals.holds("card", other, seals.sign("card", one)) == (one == other)
    assert not seals.holds("entry", one, seals.sign("card", one))


def test_a_seal_is_made_with_the_newest_key_and_checked_with_its_own():
    newer = OLD.rotated(audit=True)
    assert newer.seals.sign("card", b"x")[0] == 2
    assert newer.seals.holds("card", b"x", OLD.seals.sign("card", b"x"))
    assert not OLD.seals.holds("card", b"x", newer.seals.sign("card", b"x"))
    seal = OLD.seals.sign("card", b"x")
    for bit in range(8 * len(seal)):
        changed = bytearray(seal)
        changed[bit // 8] ^= 1 << bit % 8
        assert not OLD.seals.holds("card", b"x", bytes(changed))
    for wrong in (b"", seal[:-1], seal + b"\0"):
        assert not OLD.seals.holds("card", b"x", wrong)
    assert AUDIT[1].hex() not in repr(OLD.seals)
