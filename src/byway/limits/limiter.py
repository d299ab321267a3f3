"""Limiter: finds the limits that apply to a request, its plan, which then checks and counts it (`byway.limits.plan`).

`now` is of the monotonic clock, `at` in seconds since the epoch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final, NamedTuple, Protocol

from byway.bounded import BoundedDict
from byway.config.settings import Config
from byway.limits.budgets import period_bounds
from byway.limits.counters import SHARED, UNITS, Counts, CountTable
from byway.limits.plan import Admission, Plan
from byway.limits.rules import Rule, address_name, contains, make_rules, networks, parse_address
from byway.prices.price import NANO

#: Texts of addresses whose meaning is remembered.
_REMEMBERED: Final = 4096
#: Bytes of `x-forwarded-for` that are read and remembered: dozens of addresses.
_LONGEST_FORWARDED: Final = 1024
#: The counts of one rule that `uses` lists.
_LISTED: Final = 100
#: Plans that are remembered.
_PLANS: Final = 4096
#: Seconds by which the time must be set, so that spending is read again.
_CLOCK_JUMP: Final = 60.0


class RequestNames(NamedTuple):
    """The names under which the limits of a request count it. An empty name has no limit."""

    key: str = ""
    account: str = ""
    group: str = ""
    organization: str = ""
    address: str = ""
    requested: str = ""
    """The model name of the request."""
    alias: str = ""


class LimitedCaller(Hashable, Protocol):
    """The caller of a request: `byway.access.keys.Caller`."""

    @property
    def key(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def organization(self) -> str: ...


class CostRow(NamedTuple):
    """What requests with these names have cost, from the usage records. Nano-dollars."""

    names: RequestNames
    backend: str
    model: str
    cost: int


class SpentSum(NamedTuple):
    """What was spent under one name of a budget in a period."""

    table: CountTable
    start: int
    name: str
    cost: int
    """In nano-dollars."""


class LimitUse(NamedTuple):
    """One limit and how much of it is used, for people."""

    path: str
    """Its path in the config, such as `limits.0`."""
    subject: str
    name: str
    unit: str
    """`requests`, `tokens`, `input tokens`, `output tokens`, `concurrency` or `budget`."""
    limit: float
    """Per minute or at once; for a budget in dollars."""
    used: float
    period: str
    """`minute`, `second`, `now`, `day`, `week` or `month`."""
    resets_at: int
    """Seconds since the epoch when all of it is available again; 0 when that is not known."""
    per_second: float = 0.0
    """How much of it is available again each second; 0.0 for a limit of another period."""


class BudgetLoad(NamedTuple):
    """A reading of what was spent before."""

    starts: tuple[int, ...]
    """The first seconds of the periods whose costs are needed."""
    tables: tuple[CountTable, ...]
    before: dict[Counts, tuple[int, int]]
    """The start of the period and what was spent in it, when the reading started."""


class _Index:
    """The tables of one subject: those for one name by that name, and those for patterns."""

    __slots__ = ("exact", "patterns", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        """The place of the subject in RequestNames."""
        self.exact: dict[str, list[CountTable]] = {}
        self.patterns: list[CountTable] = []

    def add(self, table: CountTable) -> None:
        if table.rule.is_pattern:
            self.patterns.append(table)
        else:
            self.exact.setdefault(table.rule.name, []).append(table)

    def tables(self, name: str) -> list[CountTable]:
        """The tables of the rules that `name` matches."""
        exact = self.exact.get(name)
        if not self.patterns:
            return exact or []
        matching = [table for table in self.patterns if table.matcher is None or table.matcher.match(name)]
        return matching if exact is None else exact + matching


class Limiter:
    """The limits of one config with their counts, which a reload keeps."""

    def __init__(self, config: Config, now: float, at: float, before: Limiter | None = None) -> None:
        rules = make_rules(config)
        section = config.rate_limiting
        self._paths: dict[Rule, str] = rules
        self.tables: tuple[CountTable, ...] = _tables(rules, before, now, at)
        self.uses_tokens = any(rule.uses_tokens for rule in rules)
        self.has_budgets = any(rule.budget is not None for rule in rules)
        self._clocks = at - now
        """The difference of the two clocks. It changes when the time is set."""
        self.reported = False
        """That spending cannot be read was logged."""
        self._indexes = self._make_indexes()
        self._globals = [(table, "all") for table in self.tables if table.rule.subject == "global"]
        self._backends, self._models = _Index(0), _Index(0)
        for table in self.tables:
            if table.rule.subject in ("backend", "model"):
                (self._backends if table.rule.subject == "backend" else self._models).add(table)
        self._has_target_limits = any(table.rule.subject in ("backend", "model") for table in self.tables)
        self._bypass = frozenset(hashlib.sha256(key.encode()).digest() for key in section.bypass_keys)
        self._whitelist = networks(section.whitelist)
        self._proxies = networks(config.server.trusted_proxies)
        self._rightmost = section.use_rightmost_xff
        self._limits_addresses = any(table.rule.subject == "address" for table in self.tables)
        self.plans: BoundedDict[Hashable, Plan] = BoundedDict(_PLANS)
        """The plans of callers, of other names of requests, and of attempts at targets."""
        for table in self.tables:
            table.forget = self.plans.clear
        self.has_exceptions = bool(self._bypass or self._whitelist)
        """Some clients are left out by `rate_limiting`."""
        self.counts_requested = any(index.position == _REQUESTED for index in self._indexes)
        """A limit counts requests by the model name that they send, or by its alias."""
        self.needs_tokens = self.uses_tokens or self.has_budgets
        """The tokens and the cost of a request are estimated."""
        self.by_caller = not self.has_exceptions and all(index.position < _ADDRESS for index in self._indexes)
        """The caller alone decides which limits apply to a request, before its target is known."""
        self.client_address = lru_cache(_REMEMBERED)(self._client_address)

    def _make_indexes(self) -> tuple[_Index, ...]:
        """The tables of each subject that is known when a request arrives, in the order of RequestNames."""
        indexes: list[_Index] = []
        for position, subject in enumerate(("key", "account", "group", "organization", "address", "model")):
            index = _Index(position)
            for table in self.tables:
                # A limit for every model counts the models of backends only, and not the names that clients invent.
                if table.rule.subject == subject and not (subject == "model" and table.matcher is None):
                    index.add(table)
            if index.exact or index.patterns:
                indexes.append(index)
        return tuple(indexes)

    # ------------------------------------------------------------------------------------------------------ the client

    def address(self, scope: Mapping[str, object], headers: Mapping[bytes, bytes]) -> str:
        """The address of the client, or "" when no limit needs it or the client came through a unix socket."""
        if not self._limits_addresses and not self._whitelist:
            return ""
        server, client = scope.get("server"), scope.get("client")
        if not isinstance(client, Sequence) or (isinstance(server, Sequence) and server[1] is None):
            return ""
        if not self._proxies:
            return self.client_address(str(client[0]), b"", b"")
        forwarded = headers.get(b"x-forwarded-for", b"")
        if len(forwarded) > _LONGEST_FORWARDED:
            forwarded = self._shortened(forwarded)
        return self.client_address(str(client[0]), forwarded, headers.get(b"x-real-ip", b"")[:_LONGEST_FORWARDED])

    def _shortened(self, forwarded: bytes) -> bytes:
        """The whole addresses at the end of the header that counts. A client may send any number of others."""
        if self._rightmost:
            return forwarded[-_LONGEST_FORWARDED:].partition(b",")[2]
        return forwarded[:_LONGEST_FORWARDED].rpartition(b",")[0]

    def _client_address(self, peer: str, forwarded: bytes, real: bytes) -> str:
        """The client's address: that of the connection, or the one that a trusted proxy names."""
        connected = parse_address(peer)
        if connected is None:
            return ""
        if not self._proxies or not contains(self._proxies, connected):
            return str(connected)
        parsed = [parse_address(text) for text in forwarded.decode("latin-1").split(",")]
        named = [address for address in parsed if address is not None]
        if not named:
            return str(parse_address(real.decode("latin-1")) or connected)
        if not self._rightmost:
            return str(named[0])
        return str(next((address for address in reversed(named) if not contains(self._proxies, address)), named[0]))

    def skips(self, address: str, sent: Iterable[bytes]) -> bool:
        """Whether `rate_limiting` leaves out this client: by its address, or by one of the keys that it sent."""
        if self._bypass and any(hashlib.sha256(key).digest() in self._bypass for key in sent):
            return True
        parsed = parse_address(address) if self._whitelist and address else None
        return parsed is not None and contains(self._whitelist, parsed)

    # ------------------------------------------------------------------------------------------------------- requests

    def admit(
        self, names: RequestNames, now: float, at: float, *, tokens: int = 0, cost: int = 0, skip: bool = False
    ) -> Admission:
        """Count a request of about `tokens` input tokens that may `cost` as many nano-dollars. Raises Problem.

        `skip`: `rate_limiting` does not apply.
        """
        return self.plan(names, now, at, skip=skip).admit(tokens, cost, now, at)

    def plan(self, names: RequestNames, now: float, at: float, *, skip: bool) -> Plan:
        """The plan of a request with these names."""
        if not self.counts_requested:
            names = names._replace(requested="", alias="")
        key = (*names, skip)
        return self.plans.get(key) or self._make_plan(key, names, now, at, skip=skip)

    def plan_of_caller(self, caller: LimitedCaller, now: float, at: float) -> Plan:
        """The plan of a request whose limits depend on nothing but the caller. `plans` has it then."""
        names = RequestNames(caller.key, caller.account, caller.group, caller.organization)
        return self._make_plan(caller, names, now, at, skip=False)

    def _make_plan(self, key: Hashable, names: RequestNames, now: float, at: float, *, skip: bool) -> Plan:
        """The plan of a request, which is remembered under `key`."""
        pairs = [(table, name) for table, name in self._tables_of(names) if not (skip and table.rule.skippable)]
        models = tuple(table for table, _ in pairs if table.rule.subject == "model")
        target_plan = partial(self._target_plan, models, skip) if self._has_target_limits else None
        return self._remembered(key, Plan([table.get(name, now, at) for table, name in pairs], target_plan))

    def _target_plan(
        self, models: tuple[CountTable, ...], skip: bool, backend: str, model: str, now: float, at: float
    ) -> Plan:
        """The plan of an attempt at a target, for a request that is counted in the tables `models` by the name that it sent."""
        key = models, skip, backend, model
        plan = self.plans.get(key)
        if plan is None:
            pairs = self.target_tables(backend, model, models)
            counts = [table.get(name, now, at) for table, name in pairs if not (skip and table.rule.skippable)]
            plan = self._remembered(key, Plan(counts))
        return plan

    def _remembered(self, key: Hashable, plan: Plan) -> Plan:
        """The plan, which is remembered unless a name shares its counts: it may have room for counts of its own later."""
        if not any(each.name == SHARED for each in plan.counts):
            self.plans[key] = plan
        return plan

    def _tables_of(self, names: RequestNames) -> list[tuple[CountTable, str]]:
        """The tables that count a request, each with the name of the counts."""
        pairs: list[tuple[CountTable, str]] = []
        for index in self._indexes:
            name = names[index.position]
            if index.position == _REQUESTED:
                pairs += _tables_of_model(index, name, names.alias)
                continue
            if not name:
                continue
            if index.position == _ADDRESS:
                parsed = parse_address(name)
                shown = name if parsed is None else address_name(parsed)
                pairs += [(table, shown) for table in index.tables(name) if not (table.rule.anonymous and names.key)]
                continue
            pairs += [(table, name) for table in index.tables(name)]
        pairs += self._globals
        return pairs

    def target_tables(self, backend: str, model: str, counted: Collection[CountTable]) -> list[tuple[CountTable, str]]:
        """The tables that count an attempt at a target, each with the name of the counts.

        Not those of models in `counted`, which count the request already by the name that it sent.
        """
        pairs = [(table, backend) for table in self._backends.tables(backend)]
        if self._models.exact or self._models.patterns:
            target = f"{backend}/{model}"
            done = set(counted)
            for name in (model, target):
                for table in self._models.tables(name):
                    if table not in done:
                        done.add(table)
                        pairs.append((table, target if table.matcher is None else name))
        return pairs

    # -------------------------------------------------------------------------------------------------------- budgets

    @property
    def is_loaded(self) -> bool:
        """What was spent before is known. While it is not, requests with a budget are refused."""
        return all(table.loaded for table in self.tables)

    def needs_loading(self, now: float, at: float) -> bool:
        """Whether spending must be read: some was never read, or the time was set, so that other periods count."""
        return abs(at - now - self._clocks) > _CLOCK_JUMP or not self.is_loaded

    def start_loading(self, now: float, at: float) -> BudgetLoad:
        """What must be read: the spending of all budgets, from the start of each period."""
        tables = [table for table in self.tables if table.rule.budget is not None]
        starts = sorted({period_bounds(table.rule.period, at)[0] for table in tables})
        before = {
            counts: (spending.start, spending.spent)
            for table in tables
            for counts in table.used()
            if (spending := counts.spending) is not None
        }
        return BudgetLoad(tuple(starts), tuple(tables), before)

    def sum_up(self, load: BudgetLoad, rows: Mapping[int, Iterable[CostRow]]) -> list[SpentSum]:
        """Sum up the costs of the usage records, which `rows` has by the start of the period. Any thread may call it."""
        sums: dict[tuple[CountTable, int, str], int] = {}
        tables = set(load.tables)
        for start, costs in rows.items():
            for row in costs:
                for table, name in self._tables_of_row(row):
                    if table in tables:
                        sums[table, start, name] = sums.get((table, start, name), 0) + row.cost
        return [SpentSum(*key, cost) for key, cost in sums.items()]

    def finish_loading(self, load: BudgetLoad, sums: Iterable[SpentSum], now: float, at: float) -> None:
        """Use the sums of the usage records. What was spent since `start_loading` is added."""
        totals: dict[Counts, int] = {counts: 0 for table in load.tables for counts in table.used()}
        wanted = {table: period_bounds(table.rule.period, at)[0] for table in load.tables}
        for table, start, name, cost in sums:
            if wanted[table] == start:
                counts = table.get(name, now, at)
                totals[counts] = totals.get(counts, 0) + cost
        for counts, total in totals.items():
            if (spending := counts.spending) is not None:
                spending.turn(at)
                start, spent = load.before.get(counts, (spending.start, 0))
                spending.spent = total + (spending.spent - spent if start == spending.start else spending.spent)
        for table in load.tables:
            table.loaded = True
        self._clocks = at - now

    def trust_counts(self) -> None:
        """Use the counts as they are: there are no usage records."""
        for table in self.tables:
            table.loaded = True
        self._clocks = math.nan

    def _tables_of_row(self, row: CostRow) -> list[tuple[CountTable, str]]:
        pairs = self._tables_of(row.names)
        return pairs + self.target_tables(row.backend, row.model, [table for table, _ in pairs])

    # ----------------------------------------------------------------------------------------------------- for people

    def budgets(self, names: RequestNames, now: float, at: float) -> list[Counts]:
        """The counts of the budgets that apply to a caller whatever model it requests."""
        pairs = [(table, name) for table, name in self._tables_of(names) if table.rule.budget]
        counts = [table.get(name, now, at) for table, name in pairs if table.loaded]
        for each in counts:
            if each.spending is not None:
                each.spending.turn(at)
        return counts

    def uses(self, now: float, at: float) -> list[LimitUse]:
        """Every limit with its use; of each rule the names that were used last."""
        listed: list[LimitUse] = []
        for table in self.tables:
            for counts in table.used()[:_LISTED] or [Counts(table.rule, table.rule.name, now, at)]:
                listed += _uses(self._paths[table.rule], counts, now, at)
        return listed

    def uses_of(self, callers: Iterable[RequestNames], now: float, at: float) -> list[LimitUse]:
        """The limits that apply to any of some callers whatever model they request, each with its use."""
        pairs = dict.fromkeys(pair for names in callers for pair in self._tables_of(names))
        listed: list[LimitUse] = []
        for table, name in pairs:
            listed += _uses(self._paths[table.rule], table.find(name) or Counts(table.rule, name, now, at), now, at)
        return listed


def _tables_of_model(index: _Index, requested: str, alias: str) -> list[tuple[CountTable, str]]:
    """The tables of models that count a request by the name that it sent or by its alias. `requested` may be empty.

    A pattern counts by the alias. Requested names that it matches and that belong to another alias share one count: a client
    can invent any number of them. Without an alias the pattern counts the target.
    """
    pairs = [(table, requested) for table in index.exact.get(requested, ())]
    if alias:
        if alias != requested:
            pairs += [(table, alias) for table in index.exact.get(alias, ())]
        for table in index.patterns:
            if table.matcher is None or table.matcher.match(alias):
                pairs.append((table, alias))
            elif requested and table.matcher.match(requested):
                pairs.append((table, table.rule.name))
    return pairs


def make_limiter(config: Config, now: float, at: float, before: Limiter | None = None) -> Limiter | None:
    """The limiter of a config; None when the config has no limit."""
    limiter = Limiter(config, now, at, before)
    return limiter if limiter.tables else None


#: Places in RequestNames.
_ADDRESS: Final = RequestNames._fields.index("address")
_REQUESTED: Final = RequestNames._fields.index("requested")


def _tables(rules: Iterable[Rule], before: Limiter | None, now: float, at: float) -> tuple[CountTable, ...]:
    """The tables of the rules, with the counts of a limiter that has such rules, or similar ones for the same names."""
    left = [] if before is None else list(before.tables)
    same = {table.rule: table for table in left}
    kept = {rule: same[rule] for rule in rules if rule in same}
    similar = {_kind(table.rule): table for table in left if table.rule not in kept}
    tables: list[CountTable] = []
    for rule in rules:
        table = kept.get(rule)
        if table is None and (table := similar.pop(_kind(rule), None)) is not None:
            table.change(rule, now, at)
        tables.append(table or CountTable(rule))
    return tuple(tables)


def _kind(rule: Rule) -> tuple[object, ...]:
    """What two rules have in common that are the same limit with other amounts."""
    return rule.subject, rule.name, rule.skippable, rule.anonymous, rule.budget is None, rule.period


def _uses(path: str, counts: Counts, now: float, at: float) -> list[LimitUse]:
    """The rows of one name of a rule."""
    rule = counts.rule
    rows: list[LimitUse] = []
    for kind, bucket in counts.buckets:
        used = bucket.capacity - bucket.level(now)
        wait = bucket.seconds_to_full(now)
        period = "minute" if bucket.rate.step else "second"
        resets = round(at + wait) if wait else 0
        limit = bucket.rate.limit
        per_second = 0.0 if bucket.rate.step else bucket.rate.per_second
        rows.append(
            LimitUse(path, rule.subject, counts.name, UNITS[kind], limit, round(used, 1), period, resets, per_second)
        )
    if rule.concurrency is not None:
        rows.append(
            LimitUse(path, rule.subject, counts.name, "concurrency", rule.concurrency, counts.running, "now", 0)
        )
    if counts.spending is not None and rule.budget is not None:
        counts.spending.turn(at)
        spent, budget = counts.spending.spent / NANO, rule.budget / NANO
        rows.append(
            LimitUse(path, rule.subject, counts.name, "budget", budget, spent, rule.period, counts.spending.end)
        )
    return rows
