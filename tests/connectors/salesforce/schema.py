"""Fields of the objects in use, as the Object Reference publishes them: type, and whether they can be set."""

from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True)
class FieldOf:
    type: str
    create: bool = True
    update: bool = True
    length: int = 255
    values: tuple[str, ...] = ()
    "Of a restricted picklist."

    refers: tuple[str, ...] = ()
    unique: bool = False
    external: bool = False


READ_ONLY = FieldOf("string", create=False, update=False)

TASK = {
    "Id": FieldOf("id", create=False, update=False),
    "AccountId": FieldOf("reference", create=False, update=False),
    "ActivityDate": FieldOf("date"),
    "CallDisposition": FieldOf("string"),
    "CallDurationInSeconds": FieldOf("int"),
    "CallObject": FieldOf("string"),
    "CallType": FieldOf("picklist", values=("Internal", "Inbound", "Outbound")),
    "CompletedDateTime": FieldOf("datetime", create=False, update=False),
    "CreatedDate": FieldOf("datetime", create=False, update=False),
    "Description": FieldOf("textarea", length=32_000),
    "IsClosed": FieldOf("boolean", create=False, update=False),
    "LastModifiedDate": FieldOf("datetime", create=False, update=False),
    "OwnerId": FieldOf("reference", refers=("User",)),
    "Priority": FieldOf("picklist"),
    "Status": FieldOf("picklist"),
    "Subject": FieldOf("combobox"),
    # no Update among its properties: a subtype is for life
    "TaskSubtype": FieldOf(
        "picklist", update=False, values=("Task", "Email", "ListEmail", "Cadence", "Call", "LinkedIn")
    ),
    "WhatId": FieldOf("reference", refers=("Account",)),
    "WhoId": FieldOf("reference", refers=("Contact", "Lead")),
}

KEY_FIELD = "Chartline_Key__c"

_NAMES = {
    "Id": FieldOf("id", create=False, update=False),
    "FirstName": FieldOf("string", length=40),
    "LastName": FieldOf("string", length=80),
    "LastModifiedDate": FieldOf("datetime", create=False, update=False),
}
_NUMBER = FieldOf("phone", length=40)

SCHEMA: dict[str, dict[str, FieldOf]] = {
    "Task": TASK | {KEY_FIELD: FieldOf("string", length=120, unique=True, external=True)},
    "Contact": _NAMES
    | {"Birthdate": FieldOf("date"), "Email": FieldOf("email", length=80)}
    | dict.fromkeys(("Phone", "MobilePhone", "HomePhone", "OtherPhone", "AssistantPhone", "Fax"), _NUMBER),
    "Lead": _NAMES
    | {"IsConverted": FieldOf("boolean", update=False)}
    | dict.fromkeys(("Phone", "MobilePhone", "Fax"), _NUMBER),
    "Account": _NAMES
    | {"IsPersonAccount": FieldOf("boolean", create=False, update=False)}
    | dict.fromkeys(("Phone", "Fax", "PersonMobilePhone", "PersonHomePhone", "PersonOtherPhone"), _NUMBER),
}

PREFIXES = {"Account": "001", "Contact": "003", "Lead": "00Q", "Task": "00T", "User": "005"}


def fault(name: str, value: Any, *, creating: bool) -> tuple[str, list[str]] | None:
    """Return the error code, and the fields it names, of one value for Task; None for a good one."""
    field = SCHEMA["Task"].get(name)
    if field is None:
        return "INVALID_FIELD", []
    if not (field.create if creating else field.update):
        return "INVALID_FIELD_FOR_INSERT_UPDATE", [name]
    if field.type == "int":
        return None if isinstance(value, int) and not isinstance(value, bool) else ("JSON_PARSER_ERROR", [])
    if not isinstance(value, str):
        return "JSON_PARSER_ERROR", []
    if field.type == "date":
        try:
            date.fromisoformat(value)
        except ValueError:
            return "JSON_PARSER_ERROR", []
    if field.values and value not in field.values:
        return "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", [name]
    return ("STRING_TOO_LONG", [name]) if len(value) > field.length else None


def describe(sobject: str) -> dict[str, Any]:
    """Return an sObject Describe, with what of it is in use."""
    fields = [
        {
            "name": name,
            "type": field.type,
            "length": field.length,
            "createable": field.create,
            "updateable": field.update,
            "unique": field.unique,
            "externalId": field.external,
        }
        for name, field in SCHEMA[sobject].items()
    ]
    return {"name": sobject, "keyPrefix": PREFIXES[sobject], "fields": fields}


def record_id(sobject: str, number: int) -> str:
    """Return the 18 characters of an id: the last three say which of the others are capitals."""
    digits = ""
    for _ in range(12):
        number, at = divmod(number, 62)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[at] + digits
    own = PREFIXES[sobject] + digits
    check = "".join(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[sum(1 << at for at in range(5) if own[group + at].isupper())]
        for group in (0, 5, 10)
    )
    return own + check
