"""{{id}}: adds a line to a file of notes, and takes it away again."""

from redress_capability import Call, Capability, Failure, Undo, object_schema, provide, write_text


def execute(call: Call) -> dict:
    path, line = call.input["path"], call.input["line"]
    if "\n" in line:
        raise Failure("invalid-input", "`line` must be one line")

    # First how the file is, for the undo. After an attempt that was interrupted the file is brought back to how that one found it.
    [before] = call.save_files(path)

    text = before.text or ""
    if text and not text.endswith("\n"):
        text += "\n"
    text += f"{line}\n"
    write_text(path, text)
    return {"path": path, "lines": text.count("\n")}


def compensate(call: Undo) -> None:
    call.restore_files()


Provider = provide(
    Capability(
        id="{{id}}",
        title="Add a note",
        summary="Adds a line to a file of notes, which is made if there is none.",
        risk="MEDIUM",
        effect="reversible",
        idempotent=True,
        permissions=["fs:read", "fs:write"],
        input=object_schema(
            {
                "path": {"type": "string", "description": "Such as /workspace/notes.txt; its directory must exist."},
                "line": {"type": "string", "minLength": 1},
            }
        ),
        output=object_schema(
            {
                "path": {"type": "string"},
                "lines": {"type": "integer", "description": "How many lines the file has now."},
            }
        ),
        execute=execute,
        compensate=compensate,
    )
)
