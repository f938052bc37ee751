"""`sheets.csv.edit` and `sheets.csv.rows`: edit a CSV file by the values of a key column, and look rows up."""

import hashlib

from redress_capability import Call, Capability, Failure, FileState, Undo, look, object_schema, provide, write_text
from table import Table

TEXT = {"type": "string"}
KEY = {"type": "string", "minLength": 1}
PATH = {"type": "string", "description": "Such as /workspace/customers.csv."}
KEY_COLUMN = {"type": "string", "description": "The column whose values name the rows."}
DELIMITER = {"type": "string", "minLength": 1, "maxLength": 1, "description": "A comma if left out."}
SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
ROW = {"type": "object", "additionalProperties": TEXT, "description": "Values by the names of the columns."}

CHANGE = {
    "oneOf": [
        object_schema({"op": {"const": "set"}, "key": KEY, "values": {**ROW, "minProperties": 1}}),
        object_schema({"op": {"const": "add"}, "key": KEY, "values": ROW}),
        object_schema({"op": {"const": "delete"}, "key": KEY}),
    ]
}


def read(state: FileState, call: Call) -> Table:
    text = state.text
    if text is None:
        raise Failure("not-found", f"there is no file `{state.path}`")
    return Table(text, call.input["key_column"], call.input.get("delimiter", ","))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def edit(call: Call) -> dict:
    # All that follows starts from the file as the first attempt found it, the condition included: so a retry does the same again.
    [before] = call.save_files(call.input["path"])
    table = read(before, call)

    expected = call.input.get("if_sha256")
    if expected is not None and sha256(before.content or b"") != expected:
        raise Failure("conflict", f"`{before.path}` is not as expected: its SHA-256 is {sha256(before.content or b'')}")

    for change in call.input["changes"]:
        match change:
            case {"op": "set", "key": key, "values": values}:
                table.set(key, values)
            case {"op": "add", "key": key, "values": values}:
                table.add(key, values)
            case {"op": "delete", "key": key}:
                table.delete(key)

    # Every change was possible: only now the file is touched, and only if it differs.
    after = table.text()
    content = after.encode("utf-8")
    if content != before.content:
        write_text(before.path, after)
    return {"path": before.path, "rows": len(table), "changed": content != before.content, "sha256": sha256(content)}


def undo_edit(call: Undo) -> None:
    call.restore_files()


def rows(call: Call) -> dict:
    state = look(call.input["path"])
    table = read(state, call)
    wanted = call.input.get("keys")
    key_column = call.input["key_column"]
    found = [row for row in table.objects() if wanted is None or row[key_column] in wanted]
    return {"rows": found, "sha256": sha256(state.content or b"")}


Provider = provide(
    Capability(
        id="sheets.csv.edit",
        title="Edit a CSV file",
        summary="Sets, adds and deletes rows by the values of a key column; all of it or nothing. Other rows stay byte for byte.",
        risk="MEDIUM",
        effect="reversible",
        idempotent=True,
        permissions=["fs:read", "fs:write"],
        input=object_schema(
            {
                "path": PATH,
                "key_column": KEY_COLUMN,
                "changes": {"type": "array", "items": CHANGE, "minItems": 1, "maxItems": 10000},
                "delimiter": DELIMITER,
                "if_sha256": {**SHA256, "description": "Change nothing unless the file has this digest."},
            },
            optional=("delimiter", "if_sha256"),
        ),
        output=object_schema({"path": TEXT, "rows": {"type": "integer"}, "changed": {"type": "boolean"}, "sha256": SHA256}),
        execute=edit,
        compensate=undo_edit,
    ),
    Capability(
        id="sheets.csv.rows",
        title="Look rows up in a CSV file",
        summary="Returns the rows that have one of the keys, or all, and the digest of the file for `if_sha256`.",
        risk="LOW",
        effect="none",
        idempotent=True,
        permissions=["fs:read"],
        input=object_schema(
            {"path": PATH, "key_column": KEY_COLUMN, "keys": {"type": "array", "items": TEXT}, "delimiter": DELIMITER},
            optional=("keys", "delimiter"),
        ),
        output=object_schema({"rows": {"type": "array", "items": ROW}, "sha256": SHA256}),
        execute=rows,
    ),
)
