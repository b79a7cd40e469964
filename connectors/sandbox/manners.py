"""How a server may be difficult: what it leaves out, what it insists on. Each is a way of real servers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manners:
    """The ways of one server; without any, it does all that it can."""

    ignored: frozenset[str] = frozenset()
    "Search parameters that it leaves out without a word, except in Bundle.link[self]."

    needs: tuple[str, ...] = ()
    "An Appointment search without one of these parameters gets 400."

    patches: bool = True
    "Whether it takes JSON Patch, and declares it."

    answers_only: bool = False
    "An Appointment is changed by an AppointmentResponse, and in no other way."

    conditional: bool = True
    "Whether it knows If-None-Exist; otherwise it creates."

    includes: bool = True
    "Whether it declares its includes."

    exports: bool = True
    topics: bool = True


USUAL = Manners()
