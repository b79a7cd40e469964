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
    assert len(names) == 13
    for name in names:
        assert getattr(paths, name).is_relative_to(tmp_path)
    assert paths.vault_socket == tmp_path / "run" / "vault.sock"
    assert paths.phone_socket == tmp_path / "run" / "phone.sock"
