"""Digest authentication, against the standards' own examples and against those who would cheat."""

import re

import pytest

from media.sip.digest import (
    Algorithm,
    Authority,
    Credentials,
    Login,
    Outcome,
    authorize,
    parse_auth,
    response_of,
)
from media.sip.message import Request, parse
from tests.media.sip.line import REALM, SECRETS, Clock, request

LOGIN = Login("101", "secret of 101")
URI = "sip:192.0.2.1"


class Desk:
    """An authority with a clock turned by hand."""

    def __init__(self, **options: object) -> None:
        self.clock = Clock()
        self.authority = Authority(REALM, SECRETS.get, self.clock, **options)  # type: ignore[arg-type]

    def challenge(self, algorithm: Algorithm = Algorithm.SHA256) -> str:
        asked = self.authority.challenges(request("REGISTER", uri=URI))
        return next(value for value in asked if f"algorithm={algorithm}," in value)

    def judge(self, value: str, method: str = "REGISTER") -> Outcome:
        return self.authority.judge(request(method, uri=URI, headers={"Authorization": value})).outcome


def answer_to(challenge: str, login: Login = LOGIN, **changes: str) -> str:
    """Return the answer to a challenge, computed by the rules, with parameters changed before the digest is made."""
    asked = parse_auth(challenge)[1]
    params = {"username": login.username, "realm": asked["realm"], "nonce": asked["nonce"], "uri": URI}
    params |= {"cnonce": "0a4f113b", "nc": "00000001", "qop": "auth"} | changes
    algorithm = Algorithm(asked["algorithm"])
    ha1 = algorithm.digest(f"{login.username}:{asked['realm']}:{login.password}")
    params["response"] = response_of(algorithm, ha1, "REGISTER", params)
    return f"Digest algorithm={algorithm}, " + ", ".join(f'{name}="{text}"' for name, text in params.items())


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (Algorithm.MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm.SHA256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616_section_3_9_1(algorithm: Algorithm, expected: str) -> None:
    params = {"uri": "/dir/index.html", "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "nc": "00000001"}
    params |= {"cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "qop": "auth"}
    ha1 = algorithm.digest("Mufasa:http-auth@example.org:Circle of Life")
    assert response_of(algorithm, ha1, "GET", params) == expected


def test_a_challenge_without_qop_is_answered_as_rfc_2617_has_it() -> None:
    value = authorize(['Digest realm="r", nonce="n", opaque="o"'], "INVITE", "sip:a", Login("u", "p"))
    assert value is not None
    params = parse_auth(value)[1]
    assert params["response"] == Algorithm.MD5.digest(
        f"{Algorithm.MD5.digest('u:r:p')}:n:{Algorithm.MD5.digest('INVITE:sip:a')}"
    )
    assert params["opaque"] == "o"
    assert {"qop", "nc", "cnonce", "algorithm"}.isdisjoint(params)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_the_right_password_is_accepted_by_either_algorithm(algorithm: Algorithm) -> None:
    desk = Desk()
    value = authorize([desk.challenge(algorithm)], "REGISTER", URI, LOGIN)
    assert value is not None
    verdict = desk.authority.judge(request("REGISTER", uri=URI, headers={"Authorization": value}))
    assert (verdict.outcome, verdict.username) == (Outcome.ACCEPTED, "101")


def test_both_algorithms_are_offered_and_the_one_that_old_phones_know_comes_first() -> None:
    asked = Desk().authority.challenges(request("REGISTER"))
    assert [parse_auth(value)[1]["algorithm"] for value in asked] == ["MD5", "SHA-256"]
    assert all('qop="auth"' in value for value in asked)


def test_a_phone_that_trips_over_a_second_algorithm_is_spared_it() -> None:
    asked = Desk().authority.challenges(request("REGISTER", headers={"User-Agent": "baresip v1.0.0 (x86_64/linux)"}))
    assert [parse_auth(value)[1]["algorithm"] for value in asked] == ["MD5"]


def test_what_is_not_offered_is_not_taken() -> None:
    desk = Desk(algorithms=[Algorithm.SHA256])
    challenge = desk.challenge()
    assert desk.judge(answer_to(challenge)) is Outcome.ACCEPTED
    assert desk.judge(answer_to(challenge.replace("SHA-256", "MD5"))) is Outcome.REFUSED


@pytest.mark.parametrize("login", [Login("101", "wrong"), Login("999", "secret of 101"), Login("102", "secret of 101")])
def test_a_wrong_password_and_an_unknown_name_get_the_same(login: Login) -> None:
    desk = Desk()
    assert desk.judge(answer_to(desk.challenge(), login)) is Outcome.REFUSED


def test_no_credentials_or_those_of_another_realm_are_no_credentials() -> None:
    desk = Desk()
    assert desk.authority.judge(request("REGISTER")).outcome is Outcome.ABSENT
    foreign = authorize(['Digest realm="elsewhere", nonce="n", qop="auth"'], "REGISTER", URI, LOGIN)
    assert foreign is not None
    assert desk.judge(foreign) is Outcome.ABSENT
    assert desk.judge("Basic YTpi") is Outcome.ABSENT


def test_a_nonce_count_is_good_once() -> None:
    desk = Desk()
    challenge = desk.challenge()
    assert desk.judge(answer_to(challenge)) is Outcome.ACCEPTED
    assert desk.judge(answer_to(challenge)) is Outcome.STALE
    assert desk.judge(answer_to(challenge, nc="00000003")) is Outcome.ACCEPTED
    assert desk.judge(answer_to(challenge, nc="00000002")) is Outcome.STALE
    assert desk.judge(answer_to(challenge, nc="zz")) is Outcome.STALE


def test_a_nonce_goes_stale_after_five_minutes() -> None:
    desk = Desk()
    challenge = desk.challenge()
    desk.clock.now += 299
    assert desk.judge(answer_to(challenge)) is Outcome.ACCEPTED
    desk.clock.now += 2
    assert desk.judge(answer_to(challenge, nc="00000002")) is Outcome.STALE


@pytest.mark.parametrize("nonce", ["", "x", "AAAA", "é", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="])
def test_a_nonce_that_is_not_ours_is_stale_for_who_knows_the_password_and_nothing_else(nonce: str) -> None:
    desk = Desk()
    value = f'Digest realm="{REALM}", nonce="{nonce}", algorithm=MD5'
    assert desk.judge(answer_to(value)) is (Outcome.STALE if nonce else Outcome.REFUSED)
    assert desk.judge(answer_to(value, Login("101", "wrong"))) is Outcome.REFUSED


def test_a_nonce_of_another_process_is_stale() -> None:
    assert Desk().judge(answer_to(Desk().challenge())) is Outcome.STALE


def test_stale_nonces_are_not_remembered_for_ever() -> None:
    desk = Desk()
    for _ in range(5):
        assert desk.judge(answer_to(desk.challenge())) is Outcome.ACCEPTED
        desk.clock.now += 200
    assert len(desk.authority._counts) == len(desk.authority._order) <= 3


def test_a_stranger_s_tries_leave_nothing_in_memory() -> None:
    desk = Desk()
    for _ in range(50):
        desk.judge(answer_to(desk.challenge(), Login("101", "wrong")))
    assert desk.authority._counts == {}


@pytest.mark.parametrize(
    "spoil",
    [
        ("response=", "answer="),
        ('qop="auth"', 'qop="auth-int"'),
        ('qop="auth", ', ""),
        ("nc=", "count="),
        ("algorithm=SHA-256", "algorithm=SHA-512"),
        ("algorithm=SHA-256", "algorithm=MD5"),
        ('username="101"', 'username="102"'),
        (f'uri="{URI}"', 'uri="sip:elsewhere.example"'),
        (f'realm="{REALM}"', f'realm="{REALM}'),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(spoil: tuple[str, str]) -> None:
    desk = Desk()
    value = answer_to(desk.challenge())
    assert spoil[0] in value
    assert desk.judge(value.replace(*spoil)) is Outcome.REFUSED


@pytest.mark.parametrize("between", ["\t", "  ", " \t ", "\r\n ", "\r\n\t"])
def test_blanks_of_any_kind_stand_behind_the_scheme(between: str) -> None:
    desk = Desk()
    challenge = desk.challenge()
    value = answer_to(challenge)
    assert desk.judge(value.replace("Digest ", f"DIGEST{between}", 1)) is Outcome.ACCEPTED
    assert parse_auth(challenge.replace("Digest ", f"Digest{between}", 1)) == parse_auth(challenge)
    whole = bytes(request("REGISTER", uri=URI, headers={"Authorization": value}))
    again = parse(whole.replace(b": Digest ", f": Digest{between}".encode()))
    assert parse_auth(again.headers["Authorization"][0]) == parse_auth(value)


def test_a_scheme_of_another_name_is_no_digest() -> None:
    desk = Desk()
    assert desk.judge(answer_to(desk.challenge()).replace("Digest ", "Digestive ", 1)) is Outcome.ABSENT


def test_the_digest_counts_for_its_method_only() -> None:
    desk = Desk()
    assert desk.judge(answer_to(desk.challenge()), "INVITE") is Outcome.REFUSED


def test_the_uri_of_the_digest_must_name_the_host_that_was_asked() -> None:
    desk = Desk()
    assert desk.judge(answer_to(desk.challenge(), uri="sip:192.0.2.1:5060;transport=udp")) is Outcome.ACCEPTED
    assert desk.judge(answer_to(desk.challenge(), uri="sip:198.51.100.1")) is Outcome.REFUSED
    assert desk.judge(answer_to(desk.challenge(), uri="not a uri")) is Outcome.REFUSED


def test_the_client_answers_the_first_challenge_that_it_can() -> None:
    asked = [
        "Basic realm=x",
        'Digest realm="r", nonce="a", algorithm=SHA-512-256, qop="auth"',
        'Digest realm="r", nonce="b", algorithm=SHA-256, qop="auth-int"',
        'Digest realm="r", nonce="c", algorithm=SHA-256, qop="auth-int,auth"',
        'Digest realm="r", nonce="d", algorithm=MD5, qop="auth"',
    ]
    value = authorize(asked, "INVITE", "sip:a", LOGIN)
    assert value is not None
    assert 'nonce="c"' in value
    assert authorize(asked[:3], "INVITE", "sip:a", LOGIN) is None
    assert authorize([], "INVITE", "sip:a", LOGIN) is None


def test_a_stale_challenge_says_so() -> None:
    authority = Desk().authority
    message = request("REGISTER")
    assert all(parse_auth(value)[1]["stale"] == "true" for value in authority.challenges(message, stale=True))
    assert not any("stale" in value for value in authority.challenges(message))


def test_no_secret_shows_in_a_representation() -> None:
    assert "secret" not in repr(LOGIN)
    credentials = Credentials.of("101", REALM, "x")
    assert not re.search("[0-9a-f]{16}", repr(credentials))


def test_answers_are_not_kept_on_the_request() -> None:
    message = Request("REGISTER", URI, {"To": ["x"]})
    authorize([Desk().challenge()], message.method, message.uri, LOGIN)
    assert "Authorization" not in message.headers


def test_the_strongest_algorithm_is_answered_wherever_it_stands() -> None:
    asked = [f'Digest realm="r", nonce="n", algorithm={name}, qop="auth"' for name in ("MD5", "SHA-256", "SHA-512-256")]
    value = authorize(asked, "INVITE", "sip:a", LOGIN)
    assert value is not None
    assert "algorithm=SHA-256," in value + ","


def test_a_password_is_used_for_its_own_realm_only() -> None:
    asked = ['Digest realm="elsewhere", nonce="n", algorithm=SHA-256', 'Digest realm="r", nonce="n"']
    value = authorize(asked, "INVITE", "sip:a", Login("u", "p", realm="r"))
    assert value is not None
    assert 'realm="r"' in value
    assert authorize(asked[:1], "INVITE", "sip:a", Login("u", "p", realm="r")) is None
