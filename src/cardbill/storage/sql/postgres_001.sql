-- cardbill on PostgreSQL 13 or newer, schema version 1. Run by cardbill itself, in one
-- transaction; another schema's name takes the place of "cardbill." when one is chosen.
--
-- Every unique constraint holds the column that its table may be distributed by: the card's id,
-- or the credential's token. So there is no UNIQUE (batch, serial): it follows from the id.
-- Text is compared byte by byte (COLLATE "C"), which in UTF-8 is by rising code point.

CREATE TABLE cardbill.catalogue_revision (
    only_row bigint PRIMARY KEY CHECK (only_row = 1),
    revision bigint NOT NULL
);
INSERT INTO cardbill.catalogue_revision VALUES (1, 0);

CREATE TABLE cardbill.catalogue (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    content bytea NOT NULL,
    PRIMARY KEY (kind, name, version)
);

CREATE TABLE cardbill.card (
    id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    format bigint NOT NULL,
    batch text COLLATE "C" NOT NULL,
    serial bigint NOT NULL CHECK (serial > 0),
    balance bigint NOT NULL,
    held bigint NOT NULL,
    first_used_at bigint,
    expires_at bigint,
    blocked bigint NOT NULL CHECK (blocked IN (0, 1)),
    due_at bigint,
    state bytea NOT NULL CHECK (octet_length(state) <= 65536),
    -- Drawn anew for each step: by it a writer whose connection broke knows its own work again.
    swap bigint NOT NULL DEFAULT 0,
    -- Cast, or each update would plan the operator that does it anew.
    CHECK (id = batch || '/' || serial::text),
    CHECK (held >= 0 AND balance >= held)
) WITH (fillfactor = 80);  -- room for a card's next version beside it
CREATE INDEX card_batch ON cardbill.card (batch, serial);
CREATE INDEX card_due ON cardbill.card (due_at, id) WHERE due_at IS NOT NULL;

CREATE TABLE cardbill.credential (
    kind text COLLATE "C" NOT NULL,
    token bytea NOT NULL,
    card text COLLATE "C" NOT NULL,
    sealed bytea,
    PRIMARY KEY (kind, token)
);
CREATE INDEX credential_card ON cardbill.credential (card);

CREATE TABLE cardbill.entry (
    card text COLLATE "C" NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    at bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    balance_after bigint NOT NULL CHECK (balance_after >= 0),
    reference text COLLATE "C" NOT NULL,
    detail bytea NOT NULL,
    PRIMARY KEY (card, seq)
);

CREATE TABLE cardbill.record (
    card text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    format bigint NOT NULL,
    batch text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    recorded_at bigint NOT NULL,
    ended_at bigint NOT NULL,
    call text COLLATE "C" NOT NULL,
    number text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    carrier text COLLATE "C",
    seconds bigint NOT NULL CHECK (seconds >= 0),
    price bigint NOT NULL CHECK (price >= 0),
    tax bigint NOT NULL,
    cost bigint,
    detail bytea NOT NULL,
    PRIMARY KEY (card, key)
);
CREATE INDEX record_call ON cardbill.record (call);
CREATE INDEX record_batch ON cardbill.record (batch, card, key);

CREATE TABLE cardbill.job (
    key text COLLATE "C" PRIMARY KEY,
    added bigint NOT NULL
);

CREATE TABLE cardbill.suspense (
    key text COLLATE "C" PRIMARY KEY,
    at bigint NOT NULL,
    card text COLLATE "C" NOT NULL,
    call text COLLATE "C" NOT NULL,
    detail bytea NOT NULL
);

-- Groups of attempts at PINs, all there from the start; each step on one raises its version.
CREATE TABLE cardbill.attempt_group (
    grp bigint PRIMARY KEY,
    version bigint NOT NULL,
    swap bigint NOT NULL DEFAULT 0,
    book bytea CHECK (octet_length(book) <= 4096)
) WITH (fillfactor = 50);
INSERT INTO cardbill.attempt_group (grp, version) SELECT grp, 0 FROM generate_series(0, 255) AS grp;

CREATE TABLE cardbill.attempt (
    grp bigint NOT NULL,
    subject text COLLATE "C" NOT NULL CHECK (subject <> ''),
    state bytea NOT NULL CHECK (octet_length(state) <= 4096),
    keep_until bigint NOT NULL,
    PRIMARY KEY (grp, subject)
) WITH (fillfactor = 80);
CREATE INDEX attempt_over ON cardbill.attempt (keep_until);

CREATE TABLE cardbill.audit (
    position bigint PRIMARY KEY CHECK (position > 0),
    at bigint NOT NULL,
    actor text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    detail bytea NOT NULL
);
