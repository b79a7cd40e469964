"""Who has a number: found however it is written, all of them, and nobody else; and what their charts say."""

from collections.abc import Sequence
from typing import Any

from connectors.api import FindsPatients, ReadsCharts
from connectors.kit.bench import Bench
from connectors.kit.case import Found, identifier
from connectors.kit.checks.check import Check, needs
from connectors.kit.error import Failed, Skipped
from connectors.kit.mutation import Mutate, records_in, with_records
from connectors.kit.server import Script, Server
from connectors.kit.telephone import FORMATS, each_text


async def find(bench: Bench) -> None:
    """Each number finds whom the case expects."""
    for one in _asked(bench):
        if len(one.ids) < 2:  # who shares a number is another check's affair
            await _finds(bench, one, Script(), "not-as-expected")


async def phone_formats(bench: Bench) -> None:
    """The number is found in whatever way the server has it."""
    asked = _asked(bench)
    if bench.case.plan.server.phone_search == "exact" and all(one.ids for one in asked):
        raise Skipped("needs-a-number-of-nobody")
    single = next((one for one in asked if len(one.ids) == 1), None)
    if single is None:
        raise Skipped("needs-a-number-of-one")
    for way, example in enumerate(FORMATS):
        await _finds(bench, single, Script(way=way), "not-found", f"as {example}")


async def shared_phone(bench: Bench) -> None:
    """Everyone who shares a number is found, whether recorded so or made so."""
    for one in _asked(bench):
        if len(one.ids) > 1:
            await _finds(bench, one, Script(), "not-everyone")
    one, other = _two(bench)
    both = Found(phone=one.phone, ids=one.ids + other.ids)
    union = await _union(bench, [one, other])
    numbers = bench.case.numbers()

    def mutate(index: int, document: Any) -> Any:
        def shared(text: str) -> str:
            return numbers.rewritten(text, 0, {other.phone: one.phone})

        return each_text(union(index, document), shared)

    await _finds(bench, both, Script(mutate=mutate), "not-everyone")


async def ignored_parameter(bench: Bench) -> None:
    """Where the server returns everybody, only who has the number counts."""
    one, other = _two(bench)
    union = await _union(bench, [one, other])
    for asked in (one, other):
        await _finds(bench, asked, Script(mutate=union), "strangers-found")


def _asked(bench: Bench) -> Sequence[Found]:
    needs(bench, FindsPatients, "find_patients")
    asked = bench.case.plan.expect.find_patients
    if not asked:
        raise Skipped("needs-find-patients")
    return asked


def _two(bench: Bench) -> tuple[Found, Found]:
    """Return two numbers of different people."""
    asked = sorted((one for one in _asked(bench) if one.ids), key=lambda one: len(one.ids))
    for at, one in enumerate(asked):
        for other in asked[at + 1 :]:
            if not set(one.ids) & set(other.ids):
                return one, other
    raise Skipped("needs-two-numbers")


async def _finds(bench: Bench, one: Found, script: Script, reason: str, how: str = "") -> None:
    stage = bench.stage(script)
    refs = await bench.value(stage, bench.found(stage, one.phone))
    if sorted(ref.id for ref in refs) != sorted(one.ids):
        raise Failed(reason, f"{len(refs)} patients, not {len(one.ids)}" + (f", {how}" if how else ""))


async def _searches(bench: Bench, one: Found) -> Server:
    stage = bench.stage()
    await bench.value(stage, bench.found(stage, one.phone))
    return stage.server


async def _union(bench: Bench, asked: Sequence[Found]) -> Mutate:
    """Return what gives every search by number the records of all of them."""
    where = bench.case.plan.server.records
    numbers = bench.case.numbers()
    searches: set[int] = set()
    records: list[Any] = []
    for one in asked:
        for index in (await _searches(bench, one)).hits:
            exchange = bench.case.exchanges[index]
            wanted = str([exchange.request.query, exchange.request.body])
            if not numbers.within(wanted):
                continue
            searches.add(index)
            for record in records_in(exchange.response.body, where) or []:
                if record not in records:
                    records.append(record)
    if not records:
        raise Skipped("needs-a-search-by-number")
    everybody = {
        index
        for index, exchange in enumerate(bench.case.exchanges)
        if any(_alike(exchange, bench.case.exchanges[search]) for search in searches)
    }

    def mutate(index: int, document: Any) -> Any:
        return with_records(document, where, lambda _: records) if index in everybody else document

    return mutate


def _alike(one: Any, other: Any) -> bool:
    """Whether two exchanges are the same search."""
    return bool(
        one.request.method == other.request.method
        and one.request.path == other.request.path
        and one.request.query.keys() == other.request.query.keys()
    )


async def chart(bench: Bench) -> None:
    """The asked-for sections say what the case expects, and no other comes."""
    needs(bench, ReadsCharts, "chart")
    if not bench.case.plan.expect.chart:
        raise Skipped("needs-chart")
    for one in bench.case.plan.expect.chart:
        ids = [identifier(said) for said in one.patient_ids]
        for sections in [frozenset(one.sections), *(frozenset({section}) for section in one.sections), frozenset()]:
            stage = bench.stage()
            said = await bench.value(
                stage,
                bench.charted(stage, ids, sections),
            )
            if extra := said.sections.keys() - sections:
                raise Failed("not-asked-for", ", ".join(sorted(extra)))
            wrong = [one_ for one_ in sections & one.says.keys() if said.sections.get(one_) != one.says[one_]]
            if wrong:
                raise Failed("not-as-expected", ", ".join(sorted(wrong)))


CHECKS = (
    Check("find", find),
    Check("phone-formats", phone_formats, after=("find",)),
    Check("shared-phone", shared_phone, after=("find",)),
    Check("ignored-parameter", ignored_parameter, after=("find",)),
    Check("chart", chart),
)
