"""practice.toml: each fault is told in words that say what to do, with its line."""

import pytest

from hub.settings import load
from tests.hub.example import INSTALLED
from tests.hub.test_settings import edited, line_of, problems

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


def test_who_is_called_must_see_a_number() -> None:
    called = edited('hours = "09:00-20:00"\n', 'hours = "09:00-20:00"\nvoice = true\n')
    told = '"voice" in [[reminder]] needs a [[number]]: it is what those who are called see'
    assert [reminder.voice for reminder in load(called, connectors=INSTALLED).reminders] == [True]
    assert told in "".join(problems(called.replace('did = "', 'dd = "'), connectors=INSTALLED))
