"""The tables of a SQLite store."""

from __future__ import annotations

APPLICATION_ID = 0x63617264  # "card"
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE catalogue_revision (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
);
INSERT INTO catalogue_revision VALUES (1, 0);

CREATE TABLE catalogue (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    content BLOB NOT NULL CHECK (typeof(content) = 'blob'),
    PRIMARY KEY (kind, name, version)
);

CREATE TABLE card (
    id TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL CHECK (typeof(version) = 'integer'),
    format INTEGER NOT NULL,
    batch TEXT NOT NULL,
    serial INTEGER NOT NULL CHECK (serial > 0),
    balance INTEGER NOT NULL CHECK (typeof(balance) = 'integer'),
    held INTEGER NOT NULL CHECK (typeof(held) = 'integer'),
    first_used_at INTEGER,
    expires_at INTEGER,
    blocked INTEGER NOT NULL CHECK (blocked IN (0, 1)),
    due_at INTEGER,
    state BLOB NOT NULL CHECK (typeof(state) = 'blob' AND length(state) <= 65536),
    UNIQUE (batch, serial),
    CHECK (held >= 0 AND balance >= held)
);
CREATE INDEX card_due ON card (due_at, id) WHERE due_at IS NOT NULL;

CREATE TABLE credential (
    kind TEXT NOT NULL,
    token BLOB NOT NULL CHECK (typeof(token) = 'blob'),
    card TEXT NOT NULL REFERENCES card (id),
    sealed BLOB CHECK (typeof(sealed) IN ('blob', 'null')),
    PRIMARY KEY (kind, token)
) WITHOUT ROWID;
CREATE INDEX credential_card ON credential (card);

CREATE TABLE entry (
    card TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (typeof(amount) = 'integer'),
    balance_after INTEGER NOT NULL CHECK (balance_after >= 0),
    reference TEXT NOT NULL,
    detail BLOB NOT NULL CHECK (typeof(detail) = 'blob'),
    PRIMARY KEY (card, seq)
) WITHOUT ROWID;

CREATE TABLE record (
    card TEXT NOT NULL,
    key TEXT NOT NULL,
    format INTEGER NOT NULL,
    batch TEXT NOT NULL,
    kind TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    call TEXT NOT NULL,
    number TEXT NOT NULL,
    destination TEXT NOT NULL,
    carrier TEXT,
    seconds INTEGER NOT NULL CHECK (seconds >= 0),
    price INTEGER NOT NULL CHECK (typeof(price) = 'integer' AND price >= 0),
    tax INTEGER NOT NULL CHECK (typeof(tax) = 'integer'),
    cost INTEGER,
    detail BLOB NOT NULL CHECK (typeof(detail) = 'blob'),
    PRIMARY KEY (card, key)
) WITHOUT ROWID;
CREATE INDEX record_call ON record (call);
CREATE INDEX record_batch ON record (batch, card, key);

CREATE TABLE job (key TEXT NOT NULL PRIMARY KEY, added INTEGER NOT NULL);

CREATE TABLE suspense (
    key TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    card TEXT NOT NULL,
    call TEXT NOT NULL,
    detail BLOB NOT NULL CHECK (typeof(detail) = 'blob')
);

CREATE TABLE attempt (
    grp INTEGER NOT NULL CHECK (typeof(grp) = 'integer' AND grp BETWEEN 0 AND 255),
    subject TEXT NOT NULL CHECK (typeof(subject) = 'text'),
    state BLOB NOT NULL CHECK (typeof(state) = 'blob' AND length(state) <= 4096),
    keep_until INTEGER NOT NULL CHECK (typeof(keep_until) = 'integer'),
    PRIMARY KEY (grp, subject)
) WITHOUT ROWID;
CREATE INDEX attempt_over ON attempt (keep_until) WHERE subject <> '';

CREATE TABLE audit (
    position INTEGER PRIMARY KEY CHECK (position > 0),
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail BLOB NOT NULL CHECK (typeof(detail) = 'blob')
);
"""
