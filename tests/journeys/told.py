"""What an EHR sends of the diary's people: SIU and ADT as a practice's system writes them (HL7 v2.5.1)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from tests.journeys.diary import PRACTICE, STORIES, Happening, Story, at_practice, number_of

MRN, VISITS = "urn:cove:mrn", "urn:cove:visits"

EVENTS = {"book": "S12", "move": "S13", "modify": "S14", "cancel": "S15", "noshow": "S26"}
"Trigger events (chapter 10)."

STATUSES = {"cancel": "Cancelled", "noshow": "Noshow"}
"SCH-25 (table 0278)."


def own_of(story: Story) -> str:
    """Return what the EHR calls the visit, and the patient."""
    return f"{STORIES.index(story) + 1:03}"


@dataclass(slots=True)
class Sender:
    """Remembers what it said of each visit last; times are the practice's, without an offset."""

    _starts: dict[str, datetime] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def tell(self, story: Story, told: Happening) -> bytes:
        """Return the message about something that happened."""
        if told.what in EVENTS:
            starts_at = at_practice(told.word) if told.word else self._starts.get(story.name, at_practice(story.visit))
            self._starts[story.name] = starts_at
            return self._message("SIU", EVENTS[told.what], told.at, self._visit(story, told.what, starts_at))
        if told.what == "merge":
            ids = [f"MRG|M{own_of(story)}^^^COVE&{MRN}&URI^MR"]
            return self._message("ADT", "A40", told.at, [_pid(story, "N", number_of(story, second=True)), *ids])
        number = number_of(story, second=told.what == "number") if told.what != "home" else ""
        pid = _pid(story, "M", number, dead=told.what == "dies", home=told.what == "home")
        return self._message("ADT", "A31", told.at, [pid])

    def _message(self, kind: str, event: str, at: datetime, segments: list[str]) -> bytes:
        header = ["MSH", "^~\\&", "EHR", "COVE", "HUB", "COVE", _time(at), "", f"{kind}^{event}"]
        return "\r".join(["|".join([*header, f"C{next(self._numbers):05}", "P", "2.5.1"]), *segments, ""]).encode()

    def _visit(self, story: Story, what: str, starts_at: datetime) -> list[str]:
        """Return SCH (section 10.6.2) and PID."""
        own = f"V{own_of(story)}^COVE^{VISITS}^URI"
        fields = {
            1: own,
            6: EVENTS[what],
            8: "Checkup",
            11: f"^^30^{_time(starts_at)}",
            25: STATUSES.get(what, "Booked"),
        }
        return [
            "|".join(["SCH", *(fields.get(number, "") for number in range(1, 26))]),
            _pid(story, "M", number_of(story) if story.numbered else ""),
        ]


def _pid(story: Story, prefix: str, number: str, *, dead: bool = False, home: bool = False) -> str:
    """Return PID (section 3.4.2); of an empty field it says nothing."""
    own, lives = own_of(story), story.later if home and story.later else story.home
    fields = {
        3: f"{prefix}{own}^^^COVE&{MRN}&URI^MR",
        5: f"Sample{prefix}^Given{own}",
        7: f"19{50 + int(own) % 50}0203",
        11: f"1 Main St^^Town^{lives.state}^{lives.postal_code}",
        13: f"({number[2:5]}){number[5:8]}-{number[8:]}^PRN^CP" if number else "",
        15: story.language,
        30: "Y" if dead else "",
    }
    return "|".join(["PID", *(fields.get(number, "") for number in range(1, 31))])


def _time(at: datetime) -> str:
    return f"{at.astimezone(PRACTICE):%Y%m%d%H%M%S}"
