"""Looking a number up over HL7 v2: the question in every form, the answers of servers that match, ignore, or fail."""

import asyncio
from collections.abc import Awaitable, Callable

import hl7.mllp
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from connectors.api import Context, RejectedError, TransientError
from connectors.hl7v2.er7 import Message
from connectors.hl7v2.query import PAGES, Query, forms_of
from connectors.hl7v2.settings import Hl7v2Settings
from tests.connectors.hl7v2.peer import Receiver, Talk, acknowledgment, context_of, receiving
from tests.connectors.hl7v2.sample import SIU, connector
from tests.connectors.stage import NOW

PHONE = "+12075550142"
ANA = SIU["PID"]
LUZ = "PID|1||MRN78^^^HARBOR^MR||Rivera^Luz||20190102|F|||||207-555-0142^PRN^PH~207-555-0199"
STRANGER = "PID|1||MRN90^^^HARBOR^MR||Lind^Per||19700101|M|||||207-555-0177"


def asked(question: Message) -> str:
    """Return what the question's QPD-3 asks for."""
    qpd = question.segment("QPD")
    assert qpd is not None
    assert qpd.composite(3)[1] == "@PID.13.1"
    return qpd.composite(3)[2]


def response(question: Message, *segments: str, status: str = "OK", code: str = "AA") -> bytes:
    qpd = question.segment("QPD")
    assert qpd is not None
    head = "MSH|^~\\&|MPI|HARBOR|CHARTLINE||20261123100000-0500||RSP^K22^RSP_K21|R1|P|2.5.1"
    lines = (head, f"MSA|{code}|{question.control_id}", f"QAK|{qpd.value(2)}|{status}", qpd.text, *segments)
    return "".join(f"{line}\r" for line in lines).encode()


def serving(known: dict[str, list[str]], questions: list[Message]) -> Callable[[Talk], Awaitable[None]]:
    """Return a server that compares text and keeps the questions."""

    async def treat(talk: Talk) -> None:
        while True:
            question = await talk.next()
            questions.append(question)
            found = known.get(asked(question), [])
            await talk.say(response(question, *found, status="OK" if found else "NF"))

    return treat


async def looked_up(receiver: Receiver, **settings: object) -> list[tuple[str, str | None]]:
    """Return id and given name of everybody who is found."""
    made = connector(query=f"mllp://127.0.0.1:{receiver.port}", **settings)
    return [(ref.id, ref.facts.given) for ref in await made.find_patients(context_of(made), PHONE)]


@pytest.mark.parametrize("kept", ["+12075550142", "2075550142", "207-555-0142", "(207) 555-0142"])
async def test_whatever_form_the_server_keeps_the_number_is_found(kept: str) -> None:
    questions: list[Message] = []
    async with receiving(serving({kept: [ANA]}, questions)) as receiver:
        assert await looked_up(receiver) == [("MRN77", "Ana")]
        assert receiver.connections == 1
    assert [asked(question) for question in questions] == list(forms_of(PHONE))
    assert len({question.control_id for question in questions}) == 4


async def test_everybody_who_shares_the_number_is_found_once() -> None:
    known = {"2075550142": [ANA], "207-555-0142": [LUZ, "PD1||||||||||||Y", ANA]}
    async with receiving(serving(known, [])) as receiver:
        made = connector(query=f"mllp://127.0.0.1:{receiver.port}")
        refs = await made.find_patients(context_of(made), PHONE)
    assert [(ref.id, ref.facts.restricted) for ref in refs] == [("MRN77", None), ("MRN78", True)]
    assert refs[0].facts.version.at == NOW


async def test_a_server_that_ignores_the_question_finds_nobody() -> None:
    everybody = {form: [STRANGER, "PID|1||||Nobody^Known", LUZ] for form in forms_of(PHONE)}
    async with receiving(serving(everybody, [])) as receiver:
        assert await looked_up(receiver) == [("MRN78", "Luz")]


async def test_an_answer_in_parts_is_asked_for_to_its_end_but_not_for_ever() -> None:
    pointers: list[str] = []

    async def treat(talk: Talk) -> None:
        while True:
            question = await talk.next()
            more = question.segment("DSC")
            pointers.append(more.value(1) if more else "")
            page = len(pointers)
            segments = [ANA] if page == 1 else [LUZ]
            endless = asked(question) == "2075550142"
            await talk.say(response(question, *segments, *([f"DSC|C{page}|I"] if page < 2 or endless else [])))

    async with receiving(treat) as receiver:
        assert await looked_up(receiver) == [("MRN77", "Ana"), ("MRN78", "Luz")]
    assert pointers == ["", "C1", "", "C3", "C4", "C5", "", ""]
    assert PAGES == 4


async def test_the_question_is_one_of_the_standards() -> None:
    questions: list[Message] = []
    async with receiving(serving({}, questions)) as receiver:
        assert await looked_up(receiver, receiving_application="MPI") == []
    text = questions[0].raw.decode()
    assert "|QBP^Q22^QBP_Q21|" in text
    assert "QPD|IHE PDQ Query|" in text
    assert text.endswith("|@PID.13.1^+12075550142\rRCP|I|50^RD\r")
    read = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT)
    assert [child.name for child in read.children] == ["MSH", "QPD", "RCP"]
    assert read.validate() is True


async def test_other_answers_on_the_connection_are_not_the_answer() -> None:
    async def treat(talk: Talk) -> None:
        while True:
            question = await talk.next()
            await talk.say(b"noise")
            await talk.say(acknowledgment("ANOTHER", "AR"))
            await talk.answer(question, "CA")
            await talk.say(response(question, ANA))

    async with receiving(treat) as receiver:
        assert await looked_up(receiver, accept_ack="AL", application_ack="NE") == [("MRN77", "Ana")]


async def test_in_enhanced_mode_the_answer_is_asked_for() -> None:
    questions: list[Message] = []
    async with receiving(serving({}, questions)) as receiver:
        await looked_up(receiver, accept_ack="AL", application_ack="NE")
        await looked_up(receiver)
    assert [(one.header.field(15), one.header.field(16)) for one in questions[::4]] == [("AL", "AL"), ("", "")]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AR", "AR", RejectedError),
        ("AE", "AE", TransientError),
        ("AA", "AE", TransientError),
        ("AA", "AR", RejectedError),
    ],
)
async def test_a_question_that_is_not_taken_is_no_empty_answer(code: str, status: str, kind: type[Exception]) -> None:
    async def treat(talk: Talk) -> None:
        await talk.say(response(await talk.next(), status=status, code=code))

    async with receiving(treat) as receiver:
        with pytest.raises(kind):
            await looked_up(receiver)


async def found_within(seconds: float, receiver: Receiver) -> int:
    settings = Hl7v2Settings.model_validate({"listen": "127.0.0.1:0", "query": f"mllp://127.0.0.1:{receiver.port}"})
    query = Query(settings, charset=None, zone=None, question_s=seconds)
    return len(await query.find_patients(context(settings), PHONE))


def context(settings: Hl7v2Settings) -> Context:
    return context_of(connector(**settings.model_dump(include={"query"})))


async def test_a_silent_server_keeps_nobody_waiting() -> None:
    parted = asyncio.Event()

    async def treat(talk: Talk) -> None:
        await talk.next()
        await talk.parted()
        parted.set()

    async with receiving(treat) as receiver:
        with pytest.raises(TransientError, match="no answer"):
            await found_within(0.05, receiver)
        await parted.wait()


async def test_a_server_that_hangs_up_is_no_empty_answer() -> None:
    async def treat(talk: Talk) -> None:
        await talk.next()

    async with receiving(treat) as receiver:
        with pytest.raises(TransientError, match="no answer") as caught:
            await looked_up(receiver)
    assert "555" not in repr(caught.value)


@pytest.mark.parametrize("slow", [False, True])
async def test_a_server_that_hangs_up_after_each_answer_is_called_again(slow: bool) -> None:
    """Where it is slow to hang up, the next question is on its way already."""
    questions: list[str] = []

    async def treat(talk: Talk) -> None:
        question = await talk.next()
        questions.append(asked(question))
        await talk.say(response(question, *([ANA] if asked(question) == "2075550142" else [])))
        if slow:
            await asyncio.gather(talk.next(), return_exceptions=True)

    async with receiving(treat) as receiver:
        assert await looked_up(receiver) == [("MRN77", "Ana")]
        assert receiver.connections == 4
    assert questions == list(forms_of(PHONE))


async def test_look_ups_at_once_do_not_mix() -> None:
    async with receiving(serving({"2075550142": [ANA]}, [])) as receiver:
        made = connector(query=f"mllp://127.0.0.1:{receiver.port}")
        ctx = context_of(made)
        found = await asyncio.gather(*(made.find_patients(ctx, phone) for phone in [PHONE, "+12075550199"] * 8))
    assert [len(refs) for refs in found] == [1, 0] * 8


@pytest.mark.parametrize(
    ("phone", "forms"),
    [
        ("+12075550142", ("+12075550142", "2075550142", "207-555-0142", "(207) 555-0142")),
        ("+442079460018", ("+442079460018", "2079460018", "020 7946 0018", "02079460018")),
        ("nonsense", ("nonsense",)),
    ],
)
def test_a_number_has_the_forms_of_its_country(phone: str, forms: tuple[str, ...]) -> None:
    assert forms_of(phone) == forms


async def test_a_response_without_a_time_is_as_new_as_the_asking() -> None:
    async def treat(talk: Talk) -> None:
        while True:
            question = await talk.next()
            await talk.say(response(question, ANA).replace(b"20261123100000-0500", b""))

    async with receiving(treat) as receiver:
        made = connector(query=f"mllp://127.0.0.1:{receiver.port}")
        (ref,) = await made.find_patients(context_of(made), PHONE)
    assert ref.facts.version.at == NOW


async def test_python_hl7_answers() -> None:
    async def talk(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        try:
            while True:
                question = await reader.readmessage()
                answer = response(Message.parse(str(question).encode()), ANA).decode()
                writer.writemessage(hl7.parse(answer))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    talks: list[asyncio.Task[None]] = []
    server = await hl7.mllp.start_hl7_server(
        lambda reader, writer: talks.append(asyncio.create_task(talk(reader, writer))), "127.0.0.1", 0
    )
    try:
        receiver = Receiver(server.sockets[0].getsockname()[1])
        assert await looked_up(receiver) == [("MRN77", "Ana")]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*talks)
