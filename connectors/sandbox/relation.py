"""Who may call for whom in the invented practice: a relative with a number of their own for every fourth person."""

from collections.abc import Iterator
from dataclasses import dataclass

from connectors.sandbox.people import People, Person

_GIVEN = (
    *("Aurelinda", "Bastienne", "Colombard", "Desmondine", "Estevanico"),
    *("Fiorenza", "Gaspardo", "Hyacinthe", "Ildefonso", "Josephette"),
)
_KINDS = (("MTH", "mother"), ("SPS", "spouse"), ("CHILD", "child"))
"v3 RoleCode (http://terminology.hl7.org/CodeSystem/v3-RoleCode)."


@dataclass(frozen=True, slots=True)
class Relation:
    """Somebody who may call for a patient."""

    id: str
    person: Person
    given: str
    "The family name is the patient's."

    phone: str
    "E.164; nobody else's."

    code: str
    word: str

    def marks(self) -> Iterator[str]:
        """Yield what no log may hold, as `people.marks_of` does for a patient."""
        national = self.phone.removeprefix("+1")
        yield from (self.given, self.given.upper(), national)
        yield f"{national[:3]}-{national[3:6]}-{national[6:]}"


def relations(people: People) -> tuple[Relation, ...]:
    """Return the relatives; always the same for the same people."""
    return tuple(
        Relation(
            id=f"{person.id}-rel",
            person=person,
            given=_GIVEN[number % len(_GIVEN)],
            phone=f"+1212555{160 + number:04d}",
            code=_KINDS[number % len(_KINDS)][0],
            word=_KINDS[number % len(_KINDS)][1],
        )
        for number, person in enumerate(people.persons[::4])
    )
