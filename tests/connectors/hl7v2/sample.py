"""Messages that the tests read: invented people, 555 numbers; each segment can be replaced or left out."""

from zoneinfo import ZoneInfo

from connectors.hl7v2 import Hl7v2
from connectors.hl7v2.settings import Hl7v2Settings

NEW_YORK = ZoneInfo("America/New_York")

SIU = {
    "MSH": "MSH|^~\\&|SCHED|HARBOR|CHARTLINE|HARBOR|20260302090000||SIU^S12^SIU_S12|M0001|P|2.5.1",
    "SCH": "SCH|P100^SCHED|F200^SCHED|||||FU^Follow-up^L|ROUTINE^Routine visit|30|min"
    "|^^^20260310143000^20260310150000|||||9^Okafor^Ngozi|||||||||Booked",
    "PID": "PID|1||MRN77^^^HARBOR&2.16.840.1.113883.19.5&ISO^MR~A9^^^HARBOR^AN||Rivera^Ana^M^^^^L||19790515|F|||"
    "1 Pier Rd^^Portland^ME^04101||(207) 555-0142^PRN^PH~207-555-0143^^CP||es",
    "PV1": "PV1|1|O|CLINIC^2^^HARBOR||||77^Lindqvist^Per",
    "RGS": "RGS|1|A",
    "AIL": "AIL|1|A|EAST^^^HARBOR MAIN|||20260310143000|||30|min",
    "AIP": "AIP|1|A|12^Okafor^Ngozi^^^Dr|||20260310143000|||30|min",
}

ADT = {
    "MSH": "MSH|^~\\&|ADT|HARBOR|CHARTLINE|HARBOR|20260302090000-0500||ADT^A08^ADT_A01|M0002|P|2.5.1",
    "EVN": "EVN|A08|20260302090000",
    "PID": SIU["PID"],
}


def message(base: dict[str, str], **changed: str | None) -> bytes:
    """Return a message in which some segments are replaced, added, or left out (None)."""
    segments = {**base, **changed}
    return ("\r".join(text for text in segments.values() if text is not None) + "\r").encode()


def siu(event: str = "S12", /, **changed: str | None) -> bytes:
    return message({**SIU, "MSH": SIU["MSH"].replace("S12^SIU_S12", f"{event}^SIU_S12")}, **changed)


def adt(event: str = "A08", /, **changed: str | None) -> bytes:
    return message({**ADT, "MSH": ADT["MSH"].replace("A08", event), "EVN": ADT["EVN"].replace("A08", event)}, **changed)


def fields(name: str, **values: str) -> str:
    """Return a segment with the given fields, such as `fields("SCH", f1="P1", f25="Booked")`."""
    numbered = {int(key[1:]): value for key, value in values.items()}
    return "|".join([name, *(numbered.get(number, "") for number in range(1, max(numbered) + 1))])


def connector(**settings: object) -> Hl7v2:
    return Hl7v2(Hl7v2Settings.model_validate({"listen": "127.0.0.1:0", **settings}))
