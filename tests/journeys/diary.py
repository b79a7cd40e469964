"""Some forty people with a visit each, what happens to them, and when each of them must hear of it.

Visits and what happens are told on the practice's clock, texts on the patient's. Everybody is invented and has a number
of their own, unless the story is about sharing one. The clocks change on March 11 and November 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

PRACTICE = ZoneInfo("America/New_York")
YEAR = 2035


def at_practice(written: str) -> datetime:
    """Return an instant told on the practice's clock: "03-11 14:00"."""
    return datetime.strptime(f"{YEAR}-{written}", "%Y-%m-%d %H:%M").replace(tzinfo=PRACTICE).astimezone(UTC)


BEGIN = at_practice("03-05 12:00")
"Everything is booked now that is not told to be booked later."


@dataclass(frozen=True, slots=True)
class Home:
    """Where somebody lives: the address as it is sent, and the clock there."""

    state: str
    postal_code: str
    zone: ZoneInfo


NEW_YORK = Home("NY", "10001", PRACTICE)
ILLINOIS = Home("IL", "60601", ZoneInfo("America/Chicago"))
CALIFORNIA = Home("CA", "94110", ZoneInfo("America/Los_Angeles"))
ARIZONA = Home("AZ", "85001", ZoneInfo("America/Phoenix"))
HAWAII = Home("HI", "96801", ZoneInfo("Pacific/Honolulu"))
PUERTO_RICO = Home("PR", "00901", ZoneInfo("America/Puerto_Rico"))
TEXAS = Home("TX", "75201", ZoneInfo("America/Chicago"))
ALASKA = Home("AK", "99501", ZoneInfo("America/Anchorage"))
FLORIDA = Home("FL", "33101", PRACTICE)
ONTARIO = Home("ON", "M5V 2T6", PRACTICE)
NOWHERE = Home("", "", PRACTICE)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to a visit or its patient."""

    at: datetime
    what: str
    """book, move, modify, cancel, noshow: the EHR tells of the visit; dies, number, home, merge: of the patient;
    says: the patient writes; crash: a worker dies; fault: the carrier's next requests fail; down, up: all do."""

    word: str = ""
    "The new time, what the patient writes, the faults, or the step that was being sent."


@dataclass(frozen=True, slots=True)
class Story:
    """One visit of one person."""

    name: str
    visit: str
    texts: tuple[str, ...]
    "When they must come, on the patient's clock; with a star, to the second number."

    home: Home = NEW_YORK
    then: tuple[tuple[str, str], ...] = ()
    'What happens, after being booked: ("03-12 10:00", "cancel").'

    numbered: bool = True
    "Whether a number is known at first."

    shares: str = ""
    "The story whose number this is as well."

    language: str = "en"
    later: Home | None = None
    "Where the patient moves to; texts are told on the clock of the first home all the same."

    def happenings(self) -> Iterator[Happening]:
        """Yield what happens to this visit, in order."""
        if not self.then or not self.then[0][1].startswith("book"):
            yield Happening(BEGIN, "book")
        for at, told in self.then:
            what, _, word = told.partition(" ")
            yield Happening(at_practice(at), what, word)


STORIES = (
    Story("an ordinary visit", "03-16 10:00", ("03-13 10:00", "03-15 10:00", "03-16 09:00")),
    Story("a visit in Spanish", "03-13 16:20", ("03-10 16:20", "03-12 16:20", "03-13 14:20"), language="es"),
    # Quiet hours: what falls before the opening or after the close waits for the next morning.
    Story("an early visit", "03-14 07:15", ("03-11 09:00", "03-13 09:00")),
    Story("a late visit", "03-14 22:30", ("03-12 09:00", "03-14 09:00")),
    Story("the last minute of the day", "03-17 19:59", ("03-14 19:59", "03-16 19:59", "03-17 17:59")),
    Story("the first minute of the night", "03-16 20:00", ("03-14 09:00", "03-16 09:00")),  # -2h: one text a day
    # The clocks go forward on March 11, and back on November 4.
    Story("on the short day", "03-11 14:00", ("03-08 14:00", "03-10 14:00", "03-11 12:00")),
    Story("after the short day", "03-12 10:30", ("03-09 10:30", "03-11 10:30", "03-12 09:00")),
    Story("at an hour that the day before lacks", "03-12 02:30", ("03-09 09:00", "03-11 09:00")),
    Story("on the long day", "11-04 12:30", ("11-01 12:30", "11-03 12:30", "11-04 10:30")),
    Story("at an hour that is there twice", "11-04 01:30", ("11-01 09:00", "11-03 09:00")),
    # Who lives elsewhere is written to by the clock there.
    Story("Illinois, short day", "03-11 11:00", ("03-08 10:00", "03-10 10:00", "03-11 09:00"), ILLINOIS),
    Story("Illinois, long day", "11-04 21:00", ("11-02 09:00", "11-04 09:00"), ILLINOIS),
    Story("California, too early", "03-12 09:30", ("03-09 09:00", "03-11 09:00"), CALIFORNIA),
    Story("California, long day", "11-05 13:00", ("11-02 10:00", "11-04 10:00", "11-05 09:00"), CALIFORNIA),
    Story("Arizona keeps its clocks", "03-13 15:00", ("03-10 12:00", "03-12 12:00", "03-13 10:00"), ARIZONA),
    Story("Hawaii", "03-14 16:00", ("03-11 10:00", "03-13 10:00", "03-14 09:00"), HAWAII),
    Story("Puerto Rico", "03-11 13:00", ("03-08 13:00", "03-10 13:00", "03-11 11:00"), PUERTO_RICO),
    Story("Texas has two clocks", "03-14 08:30", ("03-11 09:00", "03-13 09:00"), TEXAS),
    Story("Alaska has two clocks", "03-15 16:00", ("03-12 12:00", "03-14 12:00", "03-15 10:00"), ALASKA),
    Story("Florida has the practice's too", "03-15 14:10", ("03-12 14:10", "03-14 14:10", "03-15 12:10"), FLORIDA),
    Story("Ontario is not known", "03-13 11:00", ("03-10 11:00", "03-12 11:00", "03-13 09:00"), ONTARIO),
    Story("no address", "03-14 12:05", ("03-11 12:05", "03-13 12:05", "03-14 10:05"), NOWHERE),
    # Booked too late for a step: it is not made up for.
    Story("booked for in two days", "03-07 15:00", ("03-06 15:00", "03-07 13:00")),
    Story("booked for this afternoon", "03-05 17:00", ("03-05 15:00",)),
    Story("booked for the next hour", "03-05 13:30", ()),
    Story(
        "booked in the course of it",
        "03-15 16:40",
        ("03-14 16:40", "03-15 14:40"),
        then=(("03-13 09:30", "book"),),
    ),
    # The visit changes.
    Story(
        "moved after the first text",
        "03-14 11:00",
        ("03-11 11:00", "03-18 15:00", "03-20 15:00", "03-21 13:00"),
        then=(("03-11 15:00", "move 03-21 15:00"),),
    ),
    Story(
        "moved by a day, and the week is full",
        "03-15 11:00",
        ("03-12 11:00", "03-14 11:00", "03-15 16:00"),
        then=(("03-14 13:00", "move 03-16 16:00"),),
    ),
    Story(
        "moved away and back",
        "03-18 10:40",
        ("03-15 10:40", "03-17 10:40", "03-18 09:00"),
        then=(("03-12 12:00", "move 03-25 10:40"), ("03-13 12:00", "move 03-18 10:40")),
    ),
    Story(
        "moved away after the first text, and back",
        "03-16 11:40",
        ("03-13 11:40", "03-15 11:40", "03-16 09:40"),
        then=(("03-13 15:00", "move 03-23 11:40"), ("03-14 10:00", "move 03-16 11:40")),
    ),
    Story(
        "modified",
        "03-16 15:50",
        ("03-13 15:50", "03-15 15:50", "03-16 13:50"),
        then=(("03-12 09:45", "modify"), ("03-14 09:45", "modify")),
    ),
    Story("cancelled between two", "03-14 14:30", ("03-11 14:30",), then=(("03-12 10:00", "cancel"),)),
    Story("cancelled a minute before", "03-15 11:30", ("03-12 11:30",), then=(("03-14 11:29", "cancel"),)),
    Story("cancelled in the night", "03-17 07:30", ("03-14 09:00",), then=(("03-16 08:15", "cancel"),)),
    Story("taken for a no-show", "03-16 15:00", ("03-13 15:00",), then=(("03-13 16:00", "noshow"),)),
    Story(
        "cancelled by mistake",
        "03-18 11:20",
        ("03-15 11:20", "03-17 11:20", "03-18 09:20"),
        then=(("03-13 10:00", "cancel"), ("03-13 16:00", "book")),
    ),
    Story(
        "off while a text falls due",
        "03-19 11:30",
        ("03-16 11:30", "03-19 09:30"),
        then=(("03-17 10:00", "cancel"), ("03-18 16:00", "book")),
    ),
    # The patient answers.
    Story(
        "confirmed",
        "03-15 13:00",
        ("03-12 13:00",),
        then=(("03-12 13:20", "says C"), ("03-13 10:10", "modify")),
    ),
    Story(
        "confirmed, then moved",
        "03-15 15:20",
        ("03-12 15:20", "03-17 15:20", "03-19 15:20", "03-20 13:20"),
        then=(("03-12 16:00", "says yes"), ("03-13 10:20", "move 03-20 15:20")),
    ),
    Story(
        "wants another time",
        "03-16 14:00",
        ("03-13 14:00", "03-15 14:00", "03-16 12:00"),
        then=(("03-13 14:10", "says R"),),
    ),
    Story("stops", "03-15 10:15", ("03-12 10:15",), then=(("03-12 18:00", "says STOP"),)),
    Story("the brother of who stops", "03-17 10:45", (), shares="stops"),
    Story(
        "stops and starts",
        "03-18 13:30",
        ("03-15 13:30", "03-17 13:30", "03-18 11:30"),
        then=(("03-15 14:20", "says STOP"), ("03-16 10:00", "says START")),
    ),
    Story(
        "wants none while a text falls due",
        "03-18 14:50",
        ("03-15 14:50", "03-18 12:50"),
        then=(("03-16 11:00", "says STOP"), ("03-17 16:00", "says START")),
    ),
    # The patient changes.
    Story("dies", "03-17 11:00", ("03-14 11:00",), then=(("03-15 12:00", "dies"),)),
    Story(
        "has a new number",
        "03-17 12:20",
        ("03-14 12:20", "*03-16 12:20", "*03-17 10:20"),
        then=(("03-15 10:05", "number"),),
    ),
    Story(
        "has no number at first",
        "03-18 12:40",
        ("*03-16 10:30", "*03-17 12:40", "*03-18 10:40"),
        then=(("03-05 12:00", "book"), ("03-16 10:30", "number")),
        numbered=False,
    ),
    Story(
        "moves to the east",
        "03-17 10:20",
        ("03-14 09:00", "03-16 07:20", "03-17 06:00"),
        CALIFORNIA,
        then=(("03-05 12:00", "book"), ("03-15 12:10", "home")),
        later=NEW_YORK,
    ),
    Story(
        "is the same as somebody else",
        "03-19 11:10",
        ("03-16 11:10", "*03-18 11:10", "*03-19 09:10"),
        then=(("03-17 12:00", "merge"),),
    ),
    # One number, three visits: one text a day, three in seven days.
    Story("the first of a family", "03-20 10:00", ("03-17 10:00", "03-19 10:00")),
    Story("the second of a family", "03-21 11:00", ("03-18 11:00",), shares="the first of a family"),
    Story("the third of a family", "03-22 12:00", (), shares="the first of a family"),
    Story("the morning of two", "03-19 13:10", ("03-16 13:10", "03-18 13:10")),
    Story("the afternoon of two", "03-19 15:10", ("03-17 09:00",), shares="the morning of two"),
    # The carrier fails.
    Story(
        "nobody knows whether it went out",
        "03-16 13:17",
        ("03-13 13:17", "03-15 13:17", "03-16 11:17"),
        then=(("03-15 13:16", "fault drop"),),
    ),
    Story(
        "its worker died while sending",
        "03-17 15:15",
        ("03-14 15:15", "03-17 13:15"),
        then=(("03-16 15:00", "crash visit-1d"),),
    ),
    Story(
        "the carrier stumbles",
        "03-17 14:43",
        ("03-14 14:43", "03-16 14:43", "03-17 12:43"),
        then=(("03-14 14:42", "fault error busy"),),
    ),
    Story(
        "the carrier is down for a while",
        "03-19 15:05",
        ("03-16 15:40", "03-18 15:05", "03-19 13:05"),
        then=(("03-16 15:01", "down"), ("03-16 15:40", "up")),
    ),
    Story(
        "the carrier is down until night",
        "03-18 19:57",
        ("03-16 09:00", "03-17 19:57", "03-18 17:57"),
        then=(("03-15 19:50", "down"), ("03-15 20:30", "up")),
    ),
)


def number_of(story: Story, *, second: bool = False) -> str:
    """Return the number that texts for this visit go to, and the one that the patient has later."""
    owner = next(each for each in STORIES if each.name == (story.shares or story.name))
    return f"+1{646 if second else 212}5550{101 + STORIES.index(owner)}"


def happenings() -> list[tuple[Story, Happening]]:
    """Return all that happens, in order; at the same moment in the order of the stories."""
    told = [(story, each) for story in STORIES for each in story.happenings()]
    return sorted(told, key=lambda pair: pair[1].at)


def starts_of(story: Story) -> list[datetime]:
    """Return every time that the visit ever had."""
    moves = (each.word for each in story.happenings() if each.what == "move")
    return [at_practice(story.visit), *map(at_practice, moves)]
