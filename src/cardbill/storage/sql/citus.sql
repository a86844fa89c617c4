-- cardbill spread over the nodes of Citus 12 or newer: run by cardbill itself after the tables of
-- schema version 1 were made in a database that has the extension, in the same transaction.
--
-- A card, its entries and its records live on one node; credentials live by their tokens, groups
-- of attempts by their numbers. What is read with every card, or seldom written, is everywhere.

-- One connection to each node: Citus makes no function in a transaction that worked on shards in
-- parallel before.
SET LOCAL citus.multi_shard_modify_mode TO 'sequential';

SELECT create_reference_table('cardbill.catalogue_revision');
SELECT create_reference_table('cardbill.catalogue');
SELECT create_reference_table('cardbill.job');
SELECT create_reference_table('cardbill.suspense');
SELECT create_reference_table('cardbill.audit');

SELECT create_distributed_table('cardbill.card', 'id', colocate_with => 'none');
SELECT create_distributed_table('cardbill.entry', 'card', colocate_with => 'cardbill.card');
SELECT create_distributed_table('cardbill.record', 'card', colocate_with => 'cardbill.card');
SELECT create_distributed_table('cardbill.credential', 'token', colocate_with => 'none');
SELECT create_distributed_table('cardbill.attempt_group', 'grp', colocate_with => 'none');
SELECT create_distributed_table('cardbill.attempt', 'grp', colocate_with => 'cardbill.attempt_group');

-- One step's writing, on the node that has the card: puts the next version in the place of the
-- one that was seen, with the entries and records that belong to it, and answers 1; or answers 0.
-- There is no rule of the business in it. Column by column the arrays are rows.
CREATE FUNCTION cardbill.cardbill_swap(
    the_card text, seen bigint,
    new_version bigint, new_format bigint, new_balance bigint, new_held bigint,
    new_first_used_at bigint, new_expires_at bigint, new_blocked bigint, new_due_at bigint,
    new_state bytea, new_swap bigint,
    entry_seq bigint[], entry_at bigint[], entry_kind text[], entry_amount bigint[],
    entry_balance_after bigint[], entry_reference text[], entry_detail bytea[],
    record_key text[], record_format bigint[], record_batch text[], record_kind text[],
    record_recorded_at bigint[], record_ended_at bigint[], record_call text[],
    record_number text[], record_destination text[], record_carrier text[],
    record_seconds bigint[], record_price bigint[], record_tax bigint[], record_cost bigint[],
    record_detail bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $swap$
BEGIN
    UPDATE cardbill.card SET version = new_version, format = new_format,
        balance = new_balance, held = new_held, first_used_at = new_first_used_at,
        expires_at = new_expires_at, blocked = new_blocked, due_at = new_due_at,
        state = new_state, swap = new_swap
    WHERE id = the_card AND version = seen;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR i IN 1 .. cardinality(entry_seq) LOOP
        INSERT INTO cardbill.entry
            (card, seq, at, kind, amount, balance_after, reference, detail)
        VALUES (the_card, entry_seq[i], entry_at[i], entry_kind[i], entry_amount[i],
            entry_balance_after[i], entry_reference[i], entry_detail[i]);
    END LOOP;
    FOR i IN 1 .. cardinality(record_key) LOOP
        INSERT INTO cardbill.record
            (card, key, format, batch, kind, recorded_at, ended_at, call, number, destination,
             carrier, seconds, price, tax, cost, detail)
        VALUES (the_card, record_key[i], record_format[i], record_batch[i], record_kind[i],
            record_recorded_at[i], record_ended_at[i], record_call[i], record_number[i],
            record_destination[i], record_carrier[i], record_seconds[i], record_price[i],
            record_tax[i], record_cost[i], record_detail[i])
        ON CONFLICT (card, key) DO UPDATE SET format = excluded.format, batch = excluded.batch,
            kind = excluded.kind, recorded_at = excluded.recorded_at,
            ended_at = excluded.ended_at, call = excluded.call, number = excluded.number,
            destination = excluded.destination, carrier = excluded.carrier,
            seconds = excluded.seconds, price = excluded.price, tax = excluded.tax,
            cost = excluded.cost, detail = excluded.detail;
    END LOOP;
    RETURN 1;
END;
$swap$;

SELECT create_distributed_function(
    'cardbill.cardbill_swap(text, bigint, '
    'bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bytea, bigint, '
    'bigint[], bigint[], text[], bigint[], bigint[], text[], bytea[], '
    'text[], bigint[], text[], text[], bigint[], bigint[], text[], text[], text[], text[], '
    'bigint[], bigint[], bigint[], bigint[], bytea[])',
    distribution_arg_name => 'the_card', colocate_with => 'cardbill.card');
