"""Writing many records at once, where the ORM's record by record would take minutes."""

import io
from operator import itemgetter

import psycopg2.extensions

from odoo.tools import SQL

NULL = '\\N'
ESCAPES = str.maketrans({'\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r'})


def insert_in_sets(model, vals_list):
    """Insert records by one COPY. For values that this addon has just computed itself.

    What the ORM's `create()` would add is kept true: defaults, the log columns, and stored computed fields, which the
    ORM computes unless the caller gives their values. Left out on purpose: followers, tracking and the validation of
    values.

    :param model: an empty recordset of the model, in superuser mode
    :param list vals_list: dicts with the same keys, all names of columns; amounts rounded
    :return: the new records, in the order of `vals_list`
    :raise ValueError: not all have the same keys, or one is no field: names them
    :raise psycopg2.Error: a constraint of the database is broken; the caller keeps a savepoint
    """
    if not vals_list:
        return model
    cr = model.env.cr
    given, keys = list(vals_list[0]), vals_list[0].keys()
    if unknown := keys - model._fields.keys():
        raise ValueError(f"{model._name} has no fields {sorted(unknown)}")
    stored = [field for field in model._fields.values() if field.store and field.column_type and field.name != 'id']
    constants = {
        name: model._fields[name].convert_to_column_insert(value, model, {name: value})
        for name, value in model.default_get(
            [field.name for field in stored if field.name not in given and not field.compute]).items()}
    if model._log_access:
        constants.update(create_uid=model.env.uid, write_uid=model.env.uid, create_date=cr.now(), write_date=cr.now())
    booleans = [model._fields[name].type == 'boolean' for name in given]
    read = itemgetter(*given) if len(given) > 1 else lambda vals: (vals[given[0]],)

    def texts(values, booleans):
        # In one expression: a call for each of millions of values is what would take the time.
        return [
            NULL if value is None or (value is False and not is_boolean)
            else value.translate(ESCAPES) if isinstance(value, str) else str(value)
            for value, is_boolean in zip(values, booleans, strict=True)]

    tail = texts(constants.values(), [model._fields[name].type == 'boolean' for name in constants])
    ids = [row[0] for row in model.env.execute_query(SQL(
        "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", model._table, len(vals_list)))]
    rows = io.StringIO()
    for record_id, vals in zip(ids, vals_list, strict=True):
        if vals.keys() != keys:
            # An addon's hook gave a value to some of them only.
            raise ValueError(f"{model._name}: {sorted(vals.keys() ^ keys)} are not among the values of all records")
        rows.write('\t'.join([str(record_id), *texts(read(vals), booleans), *tail]))
        rows.write('\n')
    rows.seek(0)
    # As core does: COPY and psycopg2's asynchronous callback do not go together.
    callback = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(None)
    try:
        cr.copy_from(rows, model._table, columns=['id', *given, *constants], null=NULL)
    finally:
        psycopg2.extensions.set_wait_callback(callback)
    records = model.browse(ids)
    for field in stored:
        if field.compute and field.name not in given:
            model.env.add_to_compute(field, records)
    return records
