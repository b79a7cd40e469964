"""practice.toml as a whole: what a good one becomes, and what every bad one is told."""

import re
from datetime import date, time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.errors import SettingsError
from hub.settings import EVENTS, Paths, Practice, load, secret
from hub.settings.draft import TABLES
from tests.hub.example import ENVIRONMENT, EXAMPLE, FILES, INSTALLED, PAGE, completed, practice

INTERFACE = Path(__file__).resolve().parents[3] / "shared" / "INTERFACE.md"


def problems(text: str, **given: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text, **given)  # type: ignore[arg-type]
    return caught.value.problems


def problems_or_none(text: str) -> list[str]:
    """Return the problems of a text that may have none."""
    try:
        load(text, connectors=INSTALLED)
    except SettingsError as error:
        return error.problems
    return []


def edited(old: str, new: str) -> str:
    assert EXAMPLE.count(old) >= 1, old
    return EXAMPLE.replace(old, new, 1)


def line_of(text: str, marker: str) -> int:
    return text[: text.index(marker)].count("\n") + 1


def test_the_documented_example_passes_with_everything_in_its_place(tmp_path: Path) -> None:
    read = load(EXAMPLE, env=ENVIRONMENT, root=completed(tmp_path), connectors=INSTALLED)
    assert read.practice.name == "Harbor Family Medicine"
    assert read.practice.zone.key == "America/New_York"
    assert (read.http.bind.host, read.http.bind.port) == ("127.0.0.1", 8080)
    assert (read.sip.rtp_ports.first, read.sip.rtp_ports.last) == (20000, 29999)
    assert read.menus[0].choices["8"].language == "es"
    assert read.queues[0].overflow[0].offer == "callback"
    assert read.reminders[0].hours.end == time(20)
    assert read.agreements[0].expires == date(2027, 12, 31)
    assert read.connections[1].settings["listen"] == "127.0.0.1:2575"


def test_the_example_of_the_interface_passes() -> None:
    if not INTERFACE.is_file():
        pytest.skip("INTERFACE.md is not beside the repository")
    read = load(INTERFACE.read_text().split("```toml\n")[1].split("```")[0], connectors=INSTALLED)
    assert read.menus[0].urgent == "0"
    assert read.queues[0].ring_seconds == 20


def test_the_least_practice_has_a_name_and_a_time_zone() -> None:
    read = load('[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n')
    assert read.practice.languages == ("en",)
    assert read.http.base_url == "http://127.0.0.1:8080"
    assert read.sip.udp == "127.0.0.1:5060"
    assert (read.trunks, read.numbers, read.agreements) == ((), (), ())


def test_policies_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        practice().queues[0].ring_seconds = 5  # type: ignore[misc]


def test_policies_survive_json() -> None:
    read = practice()
    assert Practice.model_validate_json(read.model_dump_json(by_alias=True)) == read


def test_things_are_found_by_what_they_are_called() -> None:
    read = practice()
    assert read.find_number("+12125550100") is read.numbers[0]
    assert read.find_menu("refills") is read.menus[1]
    assert read.find_queue("appointments") is read.queues[0]
    assert read.find_voicemail("front-desk") is read.voicemails[0]
    assert read.find_connection("adt") is read.connections[1]
    assert read.find_queue("nobody") is None


FAULTS = [
    # what is changed in the example, what is told, and the text on the line that is named
    ('urgent = "0"', 'urgnt = "0"', 'unknown key "urgnt" in [[menu]]; did you mean "urgent"?', "urgnt"),
    (
        "9 = { voicemail",
        "9 = { voicemial",
        'unknown key "voicemial" in [[menu]]; did you mean "voicemail"?',
        "voicemial",
    ),
    (
        "after_seconds = 120",
        "after = 120",
        'unknown key "after" in [[queue]]; did you mean "after_seconds"?',
        "after = ",
    ),
    ("after_seconds = 120, ", "", '[[queue]] needs "overflow.after_seconds"', "overflow = "),
    ("[[trunk]]", "[[trnk]]", 'unknown table "trnk"; did you mean "trunk"?', "[[trnk]]"),
    ("[practice]", "[[practice]]", "write [practice]", "[[practice]]"),
    ("[[voicemail]]", "[voicemail]", "write [[voicemail]]", "[voicemail]"),
    ('name = "Harbor Family Medicine"\n', "", '[practice] needs "name"', "[practice]"),
    (
        "America/New_York",
        "America/New_Yrok",
        '"timezone" in [practice]: no such time zone in the IANA list; did you mean "America/New_York"?',
        "New_Yrok",
    ),
    (
        'region = "US"',
        'region = "usa"',
        '"region" in [practice]: write a country by its ISO 3166-1 code, as in "US"',
        "usa",
    ),
    ('["en", "es"]', "[]", '"languages" in [practice]: needs at least one', "languages = []"),
    (
        "+12125550100",
        "212-555-0100",
        '"did" in [[number]]: write a phone number in E.164, as in "+12125550100"',
        "212-555-0100",
    ),
    (
        "+12125550100",
        "+1212555",
        '"did" in [[number]]: write a phone number in E.164, as in "+12125550100"',
        "+1212555",
    ),
    (
        'menu = "main"\nvoicemail = "front-desk"',
        "",
        "[[number]]: leads nowhere; give menu, queue or voicemail",
        "[[number]]",
    ),
    ('menu = "main"', 'menu = "mian"', 'no [[menu]] is named "mian"; did you mean "main"?', '"mian"'),
    (
        '1 = { queue = "appointments" }',
        "1 = { }",
        '"choices.1" in [[menu]]: leads nowhere; give one of queue, menu, voicemail',
        "choices",
    ),
    (
        '1 = { queue = "appointments" }',
        '1 = { queue = "appointments", menu = "refills" }',
        '"choices.1" in [[menu]]: leads to queue and menu; give one',
        "choices",
    ),
    ("9 = {", "99 = {", '"choices.99" in [[menu]]: write one key of a telephone: 0 to 9, * or #', "99 = {"),
    ('menu = "refills" }', 'menu = "refils" }', 'no [[menu]] is named "refils"; did you mean "refills"?', "refils"),
    ('9 = { voicemail = "front-desk" }', '9 = { voicemail = "back" }', 'no [[voicemail]] is named "back"', '"back"'),
    (
        'choices = { 1 = { queue = "appointments" }, 2 = { voicemail = "front-desk" } }',
        'choices = { 1 = { menu = "refills" } }',
        '[[menu]] "refills" leads nowhere: no key ends in a queue or a voicemail',
        'name = "refills"',
    ),
    (
        'say = { en = "For a refill',
        'say = { xx = "For a refill',
        'the practice has no language "xx"; it has en, es',
        "xx =",
    ),
    (
        'say = { en = "For a refill press 1, to leave a message 2.", es',
        "say = { es",
        '[[menu]] "refills" says nothing in "en", the practice\'s first language',
        'say = { es = "Para una receta',
    ),
    ('language = "es" }, 9', 'language = "fr" }, 9', 'the practice has no language "fr"; it has en, es', '"fr"'),
    (
        'then = { language = "es" }',
        'then = { language = "fr" }',
        'the practice has no language "fr"; it has en, es',
        '"fr"',
    ),
    (
        'queues = ["appointments"]',
        "queues = []",
        'nobody serves [[queue]] "appointments"; name it in the queues of a [[staff]]',
        'name = "appointments"',
    ),
    (
        'queues = ["appointments"]',
        'queues = ["appointments", "apointments"]',
        'no [[queue]] is named "apointments"; did you mean "appointments"?',
        '"apointments"',
    ),
    (
        'after_seconds = 600, voicemail = "front-desk"',
        'after_seconds = 600, queue = "appointments"',
        '[[queue]] "appointments" overflows into itself',
        "after_seconds = 600",
    ),
    (
        'offer = "callback" }',
        'offer = "callback", voicemail = "front-desk" }',
        '"overflow" in [[queue]]: give exactly one of offer, voicemail, queue',
        "overflow = ",
    ),
    (
        'strategy = "longest-idle"',
        'strategy = "ring-all"',
        "\"strategy\" in [[queue]]: should be 'longest-idle' or 'top-down'",
        "ring-all",
    ),
    (
        "target_seconds = 20",
        "target_seconds = 0",
        '"target_seconds" in [[queue]]: should be greater than or equal to 1',
        "target_seconds",
    ),
    (
        "a.hours_until < 24)",
        "a.hours_until < 24",
        "\"when\" in [[route]]: not CEL: column 50: missing ')' at '<EOF>'",
        "when = ",
    ),
    (
        "a.hours_until",
        "a.hours_til",
        '"when" in [[route]]: unknown field "hours_til" of patient.appointments; did you mean "hours_until"?',
        "hours_til",
    ),
    (
        "patient.language ==",
        "patient.diagnosis ==",
        '"when" in [[route]]: unknown field "diagnosis" of patient',
        "diagnosis",
    ),
    (
        'then = { queue = "appointments", ',
        'then = { queue = "apptments", ',
        'no [[queue]] is named "apptments"; did you mean "appointments"?',
        "apptments",
    ),
    (
        'then = { queue = "appointments", priority = 10 }',
        'then = { queue = "appointments", menu = "main" }',
        '"then" in [[route]]: leads to queue and menu; give one',
        'then = { queue = "appointments", menu',
    ),
    (
        'then = { language = "es" }',
        "then = { }",
        '"then" in [[route]]: sets nothing; give queue, menu, voicemail, language or priority',
        "then = { }",
    ),
    (
        'name = "spanish"',
        'name = "visit-soon"',
        'another [[route]] has the name "visit-soon" already',
        'name = "visit-soon"\nwhen = \'patient.language',
    ),
    (
        'name = "refills"',
        'name = "main"',
        'another [[menu]] has the name "main" already',
        'name = "main"\nsay = { en = "For',
    ),
    (
        'name = "adt"',
        'name = "ehr"',
        'another [[connection]] has the name "ehr" already',
        'name = "ehr"\nconnector = "hl7v2"',
    ),
    (
        "[[connection]]\n",
        '[[staff]]\nemail = "agent2@example.org"\nroles = ["nurse"]\nextension = "101"\n\n[[connection]]\n',
        'another [[staff]] has the extension "101" already',
        'extension = "101"\n\n[[connection]]',
    ),
    (
        "[[menu]]\n",
        '[[number]]\ndid = "+12125550100"\nmenu = "main"\n\n[[menu]]\n',
        'another [[number]] has the did "+12125550100" already',
        'did = "+12125550100"\nmenu = "main"\n\n',
    ),
    (
        'name = "carrier"',
        'name = "ehr"',
        'a [[trunk]] and a [[connection]] are both named "ehr"; agreements could mean either',
        "[[connection]]",
    ),
    (
        "[[number]]\n",
        '[[trunk]]\nname = "second"\nhosts = ["127.0.0.1"]\n\n[[number]]\n',
        'calls from 127.0.0.1 belong to [[trunk]] "carrier" already',
        'hosts = ["127.0.0.1"]\n\n[[number]]',
    ),
    (
        'roles = ["front-desk"]\nsay',
        'roles = ["desk"]\nsay',
        "\"roles\" in [[voicemail]]: should be 'front-desk', 'nurse', 'provider', 'billing', "
        "'privacy-officer' or 'admin'",
        '["desk"]',
    ),
    ('extension = "101"', 'extension = "1a"', '"extension" in [[staff]]: write two to six digits', '"1a"'),
    ("agent1@example.org", "agent1", '"email" in [[staff]]: write an e-mail address', '"agent1"'),
    (
        'bind = "127.0.0.1:8080"',
        'bind = "8080"',
        '"bind" in [http]: write an address and a port, as in "127.0.0.1:8080"',
        '"8080"',
    ),
    (
        'bind = "127.0.0.1:8080"',
        'bind = "127.0.0.1:80800"',
        '"bind" in [http]: write an address and a port, as in "127.0.0.1:8080"',
        "80800",
    ),
    (
        'bind = "127.0.0.1:8080"',
        'bind = "0.0.0.0:5061"',
        "[sip] tls listens on 127.0.0.1:5061, where [http] bind listens already",
        "tls = ",
    ),
    (
        "127.0.0.1:2575",
        "localhost:5061",
        '[[connection]] "adt" listens on localhost:5061, where [sip] tls listens already',
        "localhost:5061",
    ),
    ('"20000-29999"', '"5000-5999"', "[sip] rtp_ports has the port of udp, 5060, in it", "5000-5999"),
    (
        '"20000-29999"',
        '"29999-20000"',
        '"rtp_ports" in [sip]: write a range of ports from 1024 to 65535, as in "20000-29999"',
        "29999-20000",
    ),
    ('key = "file:keys/sip.key"\n', "", "[sip] needs certificate and key together", "[sip]"),
    (
        '"file:keys/sip.key"',
        '"-----BEGIN PRIVATE KEY-----"',
        '"key" in [sip]: a secret does not stand here; write "env:NAME" or "file:PATH"',
        "-----BEGIN",
    ),
    (
        '"env:POP_SECRET"',
        '"whsec_c2VjcmV0"',
        '"secret" in [[webhook]]: a secret does not stand here; write "env:NAME" or "file:PATH"',
        "whsec_c2VjcmV0",
    ),
    (
        '"file:keys/ehr.pem"',
        '"sesame"',
        '"private_key" in [[connection]]: a secret does not stand here; write "env:NAME" or "file:PATH"',
        "sesame",
    ),
    (
        '["call.*"]',
        '["call.*", "call.rining"]',
        'no event is called "call.rining"; did you mean "call.ringing"?',
        "call.rining",
    ),
    ('["call.*"]', '["phone.*"]', 'no event is called "phone.*"', "phone.*"),
    (
        "https://crm.example.org/pops",
        "http://crm.example.org/pops",
        'a [[webhook]] beyond this machine needs an address that starts with "https://"',
        "http://crm",
    ),
    ('"-3d"', '"3d"', '"3d" in [[reminder]]: write a time before the visit, as in "-3d", "-2h" or "-30m"', '"3d"'),
    ('"-3d"', '"-91d"', '"-91d" in [[reminder]]: write at most 90 days before the visit', '"-91d"'),
    ('"-3d"', '"-1d"', '"-1d" in [[reminder]] stands there twice', "offsets"),
    (
        '"09:00-20:00"',
        '"20:00-09:00"',
        '"hours" in [[reminder]]: write a span of hours, as in "09:00-20:00"',
        "hours =",
    ),
    (
        '"09:00-20:00"',
        '"07:00-20:00"',
        '"hours" in [[reminder]] go beyond 08:00-21:00, outside of which nobody may be texted',
        "hours =",
    ),
    (
        "{time}",
        "{diagnosis}",
        '"text.en" in [[reminder]] "{diagnosis}" is not a field that a text may carry; '
        "there are practice, date, time, phone, given",
        "{diagnosis}",
    ),
    (
        "{date}",
        "{dat}",
        '"text.en" in [[reminder]] "{dat}" is not a field that a text may carry; did you mean "{date}"?',
        "{dat}",
    ),
    (
        "your visit is",
        "your mammogram is",
        '"text.en" in [[reminder]] says why the patient comes ("mammogram")',
        "mammogram",
    ),
    (
        "your visit is",
        "you have a visit at our office, which we are looking forward to, and which is",
        '"text.en" in [[reminder]] can come to 179 letters; 160 fit into one message',
        "looking forward",
    ),
    ('\nes = "{practice}', '\nfr = "{practice}', 'the practice has no language "fr"; it has en, es', "fr ="),
    (
        'text_name = "Harbor Family"',
        'text_name = "Harbor Oncology"',
        '"text_name" in [practice] names a specialty ("oncology"), and texts carry it; set another text_name',
        "text_name = ",
    ),
    (
        'name = "Harbor Family Medicine"\ntext_name = "Harbor Family"',
        'name = "Harbor Oncology"',
        '"name" in [practice] names a specialty ("oncology"), and texts carry it; set another text_name',
        "Harbor Oncology",
    ),
    (
        'hosts = ["127.0.0.1"]',
        'hosts = ["carrier.example.org"]',
        '"hosts" in [[trunk]]: write an IP address or a network, as in "192.0.2.7" or "192.0.2.0/28"',
        "carrier.example.org",
    ),
    (
        "[[number]]\n",
        '[[trunk]]\nname = "second"\nhosts = ["127.0.0.0/8", "127.0.0.1/32"]\n\n[[number]]\n',
        'calls from 127.0.0.1/32 belong to [[trunk]] "carrier" already',
        "127.0.0.1/32",
    ),
    (
        'counterparty = "ehr"',
        'counterparty = "her"',
        'no [[trunk]] or [[connection]] is named "her"; did you mean "ehr"?',
        '"her"',
    ),
    (
        'document = "agreements/carrier.pdf"\n',
        "",
        '[[agreement]] needs "document" and "expires", unless its basis is treatment',
        "[[agreement]]",
    ),
    (
        '["call-audio", ',
        '["call-audios", ',
        "\"data\" in [[agreement]]: should be 'phone-number', 'call-audio', 'call-events', 'message-body', "
        "'chart', 'appointments' or 'communications'",
        "call-audios",
    ),
    ('connector = "hl7v2"', 'connector = "hl7"', 'no connector "hl7" is installed; did you mean "hl7v2"?', '"hl7"'),
]


@pytest.mark.parametrize(("old", "new", "told", "marker"), FAULTS, ids=[f"{new[:40]!r}" for _, new, _, _ in FAULTS])
def test_a_fault_is_told_with_its_line(old: str, new: str, told: str, marker: str) -> None:
    text = edited(old, new)
    found = problems(text, connectors=INSTALLED)
    assert f"practice.toml:{line_of(text, marker)}: {told}" in found


def test_a_practice_that_is_missing_is_told() -> None:
    assert problems("") == ["practice.toml:1: there is no [practice]"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = [1,\nb = 3\n", 2), ('[practice]\nname = "x\n', 2), ("[practice]\nname = 1\nname = 2\n", 3), ("a = {", 1)],
)
def test_a_text_that_is_no_toml_is_told_with_its_line(text: str, line: int) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"practice.toml:{line}: not TOML: ")


def test_all_faults_are_told_at_once_and_in_order() -> None:
    text = EXAMPLE
    for old, new in [
        ("America/New_York", "America/Nowhere"),
        ('urgent = "0"', 'urgnt = "0"'),
        ('queues = ["appointments"]', "queues = []"),
        ("hours_until", "hours_til"),
        ('"-3d"', '"3d"'),
        ('counterparty = "ehr"', 'counterparty = "her"'),
    ]:
        text = text.replace(old, new, 1)
    found = problems(text)
    assert len(found) == 6
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == sorted(lines)


def test_a_fault_in_one_table_does_not_hide_or_invent_faults_of_others() -> None:
    (problem,) = problems(edited('strategy = "longest-idle"', 'strategi = "longest-idle"'))
    assert "strategi" in problem
    (problem,) = problems(edited("target_seconds = 20", 'target_seconds = "soon"'))
    assert "target_seconds" in problem


def test_a_table_with_an_unknown_key_is_still_checked_against_the_others() -> None:
    text = edited('urgent = "0"', 'urgnt = "0"').replace('queue = "appointments" }, 2', 'queue = "apptments" }, 2', 1)
    assert [problem.partition(": ")[2] for problem in problems(text)] == [
        'unknown key "urgnt" in [[menu]]; did you mean "urgent"?',
        'no [[queue]] is named "apptments"; did you mean "appointments"?',
    ]


def test_a_menu_that_leads_to_a_broken_one_only_is_not_said_to_lead_nowhere() -> None:
    main = EXAMPLE[EXAMPLE.index("choices = { 1") :].split("\n")[0]
    text = (
        edited(main, 'choices = { 2 = { menu = "refills" } }')
        .replace("For a refill press 1", "")
        .replace('choices = { 1 = { queue = "appointments" }, 2', 'choices = { 11 = { queue = "appointments" }, 2', 1)
    )
    (problem,) = problems(text)
    assert "choices.11" in problem


def test_the_file_is_called_as_the_caller_calls_it() -> None:
    assert problems("x = 1", file="new.toml")[0].startswith("new.toml:1: ")


VALUES = st.sampled_from(
    ["5", "true", '"x"', "[]", "{}", "[1]", "{ a = 1 }", "[[]]", "[{}]", "2027-12-31", "1.5", '""']
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, EXAMPLE.count("\n")), st.one_of(st.none(), VALUES)), min_size=1, max_size=4))
def test_any_text_is_read_or_refused_with_lines(changes: list[tuple[int, str | None]]) -> None:
    lines = EXAMPLE.splitlines()
    for at, value in changes:
        key, equals, _ = lines[at % len(lines)].partition(" = ")
        lines[at % len(lines)] = f"{key} = {value}" if equals and value else ""
    for problem in problems_or_none("\n".join(lines)):
        assert re.match(r"practice\.toml:[1-9][0-9]*: \S", problem), problem


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.parametrize("value", ["5", '"x"', "[]", "[5]", "{}", "[{}]"])
def test_a_table_of_another_kind_is_refused_or_read(table: str, value: str) -> None:
    text = f'{table} = {value}\n[practice]\nname = "Harbor"\ntimezone = "America/New_York"\n'
    if table == "practice":
        text = f"{table} = {value}\n"
    assert all(problem.startswith("practice.toml:1: ") for problem in problems_or_none(text))


def test_secrets_that_are_not_there_are_told_only_where_the_caller_asks(tmp_path: Path) -> None:
    root = completed(tmp_path)
    assert load(EXAMPLE)
    (problem,) = problems(EXAMPLE, env={}, root=root)
    assert problem == f'practice.toml:{line_of(EXAMPLE, "secret = ")}: the environment has no "POP_SECRET"'
    for name in FILES:
        (root / name).unlink()
    found = problems(EXAMPLE, env=ENVIRONMENT, root=root)
    assert [re.findall(r'"(.*?)"', problem)[0] for problem in found] == [*FILES]


def test_faults_never_repeat_a_secret() -> None:
    for old, new in [
        ('"env:POP_SECRET"', '"sesame"'),
        ('"file:keys/ehr.pem"', '"sesame"'),
        ('"file:keys/sip.key"', '"sesame"'),
    ]:
        assert "sesame" not in "".join(problems(edited(old, new)))


def test_secrets_are_found_where_their_reference_points(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sesame\n")
    assert secret("env:A", env={"A": "sesame"}, root=tmp_path) == "sesame"
    assert secret("file:key", env={}, root=tmp_path) == "sesame"


@pytest.mark.parametrize("reference", ["env:B", "file:nothing", "file:.", "sesame", "vault:x"])
def test_secrets_that_are_not_there_are_refused_without_their_value(tmp_path: Path, reference: str) -> None:
    with pytest.raises(SettingsError) as caught:
        secret(reference, env={"A": "sesame"}, root=tmp_path)
    assert "sesame" not in str(caught.value)


def test_every_key_is_documented_under_its_table() -> None:
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    for table, (model, repeated) in TABLES.items():
        heading = f"[[{table}]]" if repeated else f"[{table}]"
        (section,) = [text for text in sections if text.startswith(f"{heading}\n")]
        for name, field in model.model_fields.items():
            assert re.search(rf"^\|[^|]*`{field.alias or name}`", section, flags=re.MULTILINE), f"{heading} {name}"


def test_events_are_the_ones_of_the_webhooks() -> None:
    assert len(EVENTS) == len(set(EVENTS)) == 18


def test_paths_stand_under_one_directory(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    names = [name for name in dir(Paths) if isinstance(getattr(Paths, name), property)]
    assert len(names) == 11
    for name in names:
        assert getattr(paths, name).is_relative_to(tmp_path)
    assert paths.vault_socket == tmp_path / "run" / "vault.sock"
