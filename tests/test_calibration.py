"""A scenario fitted to a log: what is counted, what is estimated, and what is left as it was."""

import gzip
import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_schema import violations
from random_scenarios import random_scenario
from scipy.stats import beta, binom

from csa_games.calibration.codes import Codes
from csa_games.calibration.counts import Counts, closed, count, merged, nothing
from csa_games.calibration.estimates import bootstrap, design_effect, dirichlet, estimates
from csa_games.calibration.fitted import fit, fittable, fitted_toml, listed
from csa_games.calibration.hazard import clustered_survival, product_limit
from csa_games.calibration.log import read
from csa_games.calibration.mapping import mapping_from
from csa_games.calibration.prior import prior_row
from csa_games.calibration.rows import NO_ROW
from csa_games.calibration.simulate import simulate
from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.intervals import kernels_in_doubt
from csa_games.override import override
from csa_games.scenario import (
    builtin_scenarios,
    json_schema,
    parse_scenario,
    read_scenario,
    scenario_from,
)
from csa_games.toml_text import toml_text

LEVEL = 0.9


def reading(**more):
    mapping = {"format": 1, "name": "a_log", "cite": "A log.", "design": "designed"}
    return mapping_from(mapping | more, "map.toml")


def fitted(scenario, codes, *, level=LEVEL, **more):
    mapping = reading(**more)
    wanted = fittable(scenario, mapping)
    return fit(scenario, mapping, wanted, closed(count(codes, wanted)), level=level)


@pytest.fixture(scope="module")
def crisis():
    return read_scenario(builtin_scenarios()["crisis_guidance"])


@pytest.fixture(scope="module")
def log(crisis):
    return simulate(crisis, 3000, np.random.default_rng(0))


def taken(codes, order):
    """Return the conversations `order` of `codes`, repeated ones as new ones."""
    at = [np.flatnonzero(codes.conversation == c) for c in order]
    events = np.concatenate(at) if at else np.zeros(0, int)
    number = np.repeat(np.arange(len(order)), [len(part) for part in at])
    return Codes(
        codes.intent[order],
        codes.group[order],
        number,
        *(
            getattr(codes, name)[events]
            for name in ("turn", "ask", "signal", "response", "reaction")
        ),
    )


def equal(one: Counts, other: Counts) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


# --- simulated conversations


def test_simulated_conversations_have_the_frequencies_of_the_scenario():
    scenario = random_scenario(5, security=True)
    drawn = simulate(scenario, 40_000, np.random.default_rng(1))
    table = tables(scenario)
    i = int(np.argmax(table.prior))
    share = (drawn.intent == i).mean()
    assert abs(share - table.prior[i]) < 5 * np.sqrt(0.25 / 40_000)
    first = (drawn.turn == 0) & (drawn.intent[drawn.conversation] == i)
    for b, asked in enumerate(table.opening[i]):
        if not table.strategic[i]:
            assert abs((drawn.ask[first] == b).mean() - asked) < 0.02


@pytest.mark.parametrize("seed", range(30))
def test_no_conversation_does_what_cannot_be(seed):
    scenario = random_scenario(seed)
    drawn = simulate(scenario, 200, np.random.default_rng(seed))
    table = tables(scenario)
    who = drawn.intent[drawn.conversation]
    assert (table.prior[drawn.intent] > 0).all()
    assert table.legal[who, drawn.ask].all()
    heard = drawn.signal >= 0
    assert (table.signal[who[heard], drawn.ask[heard], drawn.signal[heard]] > 0).all()
    ends = np.array([ask.ends is not None for ask in scenario.asks])
    closes = np.array([response.ends for response in scenario.responses])
    assert ((drawn.response < 0) == ends[drawn.ask]).all()
    reacted = drawn.reaction >= 0
    assert not closes[drawn.response[reacted]].any()
    assert (drawn.turn[reacted] < scenario.turns - 1).all()
    kernel = reacted & ~table.strategic[who]
    turn, response = drawn.turn[kernel], drawn.response[kernel]
    assert (table.after[turn, response, who[kernel], drawn.reaction[kernel]] > 0).all()


# --- counts


def plainly(codes, wanted):
    """Count the rows one event at a time."""
    found = np.zeros(wanted.base.shape, int)
    for k, c in enumerate(codes.conversation):
        i = codes.intent[c]
        t = min(codes.turn[k], len(wanted.after) - 1)
        pairs = []
        if codes.turn[k] == 0:
            pairs.append((wanted.opening[i], codes.ask[k]))
        if codes.response[k] >= 0:
            pairs.append((wanted.after[t, i, codes.response[k]], codes.reaction[k]))
        pairs.append((wanted.signal[i, codes.ask[k]], codes.signal[k]))
        for row, outcome in pairs:
            if i >= 0 and row != NO_ROW and outcome >= 0:
                found[row, outcome] += 1
    return found


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_counted(seed):
    scenario = random_scenario(seed)
    drawn = simulate(scenario, 80, np.random.default_rng(seed))
    drawn = replace(drawn, intent=np.where(np.arange(80) % 5, drawn.intent, -1))
    wanted = fittable(scenario, reading())
    found = count(drawn, wanted)
    assert np.array_equal(found.rows, plainly(drawn, wanted))
    assert found.conversations.sum() == 80
    assert found.conversations[-1] == 16
    answered = (drawn.response >= 0) & (drawn.reaction >= 0)
    assert found.reactions.sum() == answered.sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 10**6), st.booleans())
def test_pieces_add_up_in_any_order(seed, cut, grouped):
    scenario = random_scenario(seed)
    drawn = simulate(scenario, 40, np.random.default_rng(seed))
    draw = np.random.default_rng(cut)
    if grouped:
        drawn = replace(drawn, group=draw.integers(0, 5, 40))
    wanted = fittable(scenario, reading(design="population"))
    whole = closed(count(drawn, wanted))
    order = draw.permutation(40)
    at = int(draw.integers(0, 41))
    parts = [count(taken(drawn, part), wanted) for part in (order[:at], order[at:]) if len(part)]
    total = nothing(wanted)
    for part in parts:
        total = merged(total, part)
    assert equal(closed(total), whole)


def test_clusters_are_counted_as_their_definition_says():
    scenario = random_scenario(5, security=True)
    wanted = fittable(scenario, reading())
    drawn = simulate(scenario, 50, np.random.default_rng(0))
    group = np.arange(50) % 7
    found = closed(count(replace(drawn, group=group), wanted))
    by_group = np.stack(
        [plainly(taken(drawn, np.flatnonzero(group == g)), wanted) for g in range(7)]
    )
    n = by_group.sum(axis=2)
    assert np.array_equal(found.squares, (by_group**2).sum(axis=0))
    assert np.array_equal(found.cross, (by_group * n[:, :, None]).sum(axis=0))
    assert np.array_equal(found.sizes, (n**2).sum(axis=0))
    assert np.array_equal(found.clusters, (n > 0).sum(axis=0))


# --- estimates


def test_the_posterior_is_that_of_jeffreys():
    found = dirichlet(np.array([[3.0, 7.0]]), np.array([[0.5, 0.5]]), np.ones(1), LEVEL)
    assert found.value[0] == pytest.approx([3.5 / 11, 7.5 / 11])
    assert found.low[0, 0] == pytest.approx(beta(3.5, 7.5).ppf(0.05))
    assert found.high[0, 0] == pytest.approx(beta(3.5, 7.5).ppf(0.95))


def test_a_row_never_seen_stays_at_its_prior_with_its_interval():
    base = np.array([[0.7, 0.2, 0.1, 0.0]])
    found = dirichlet(np.zeros((1, 4)), base, np.ones(1), LEVEL)
    assert np.array_equal(found.value, base)
    for b, p in enumerate(base[0, :3]):
        low, high = beta(0.5, 1.0).interval(LEVEL)
        assert found.low[0, b] == pytest.approx(min(low, p))
        assert found.high[0, b] == pytest.approx(max(high, p))
    assert (found.low[0, 3], found.high[0, 3]) == (0, 0)


def test_what_the_base_deems_impossible_stays_so_until_it_is_seen():
    base = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    found = dirichlet(np.array([[9.0, 9, 0], [9, 9, 1]]), base, np.ones(2), LEVEL)
    assert found.value[0, 2] == found.high[0, 2] == 0
    assert found.value[1, 2] == pytest.approx(1 / 20)  # no prior weight, 1 of 19 seen and 1
    assert 0 < found.low[1, 2] < 1 / 20 < found.high[1, 2]


def test_intervals_reach_what_was_never_and_what_was_always_seen():
    found = dirichlet(np.array([[9.0, 0.0]]), np.array([[0.5, 0.5]]), np.ones(1), LEVEL)
    assert found.low[0, 1] == 0
    assert found.high[0, 0] == 1
    assert np.all(found.low <= found.value)
    assert np.all(found.value <= found.high)


def as_counts(table):
    """Return the counts of a table [cluster, outcome] of one row."""
    n = table.sum(axis=1)
    return Counts(
        conversations=np.array([len(table)]),
        reactions=np.zeros((1, 1, 1, 1, 1), int),
        signals=np.zeros((1, 1, 1), int),
        rows=table.sum(axis=0)[None],
        squares=(table**2).sum(axis=0)[None],
        cross=(table * n[:, None]).sum(axis=0)[None],
        sizes=np.array([(n**2).sum()]),
        clusters=np.array([(n > 0).sum()]),
        open=np.zeros(0, int),
        times=np.zeros(0, int),
    )


def overdispersed(a, m, clusters, draw):
    """Draw clusters of m observations whose rows are Dirichlet(a)."""
    return np.stack([draw.multinomial(m, draw.dirichlet(a)) for _ in range(clusters)])


def test_the_design_effect_is_that_of_the_clusters():
    # Clusters of m whose rows are Dirichlet(a): each outcome's variance is 1 + (m-1)/(1 + sum a)
    # times the binomial one (Mosimann 1962).
    draw = np.random.default_rng(0)
    a, m, effects = np.array([2.0, 1.0, 1.0]), 10, []
    for _ in range(200):
        table = overdispersed(a, m, 60, draw)
        effects.append(design_effect(as_counts(table), LEVEL)[0])
    assert np.mean(effects) == pytest.approx(1 + 9 / 5, rel=0.07)


def test_independent_observations_have_no_design_effect():
    draw = np.random.default_rng(0)
    table = draw.multinomial(1, [0.2, 0.3, 0.5], size=400)
    assert design_effect(as_counts(table), LEVEL)[0] == pytest.approx(1, abs=0.01)


def test_a_single_cluster_counts_as_one_observation():
    assert design_effect(as_counts(np.array([[30, 10]])), LEVEL)[0] == 40
    found = estimates(as_counts(np.array([[30, 10]])), np.array([[0.5, 0.5]]), LEVEL)
    assert found.effective[0] == pytest.approx(1)


def test_clusters_that_are_alike_throughout_tell_no_more_than_one_each():
    assert design_effect(as_counts(np.array([[5, 0]] * 500)), LEVEL)[0] == pytest.approx(
        5, rel=0.01
    )


def test_clustered_intervals_cover():
    # 20 to 60 clusters of 1 to 20 that differ; over 600 draws, so that 0.9 is known to +-0.025.
    draw = np.random.default_rng(3)
    inside = total = 0
    truth = np.array([0.6, 0.3, 0.1])
    for _ in range(200):
        sizes = draw.integers(1, 20, size=draw.integers(20, 60))
        rows = draw.dirichlet(4 * truth, size=len(sizes))
        table = np.stack([draw.multinomial(n, row) for n, row in zip(sizes, rows, strict=True)])
        found = estimates(as_counts(table), np.full((1, 3), 1 / 3), LEVEL)
        inside += ((found.low[0] <= truth) & (truth <= found.high[0])).sum()
        total += 3
    assert 0.85 <= inside / total <= 0.95


def test_the_bootstrap_agrees_with_the_closed_form():
    draw = np.random.default_rng(0)
    table = overdispersed(np.array([2.0, 3.0]), 12, 80, draw)
    low, high = bootstrap(lambda sums: sums[:, 0] / sums.sum(axis=1), table, draw, draws=4000)
    found = estimates(as_counts(table), np.full((1, 2), 0.5), LEVEL)
    assert low == pytest.approx(found.low[0, 0], abs=0.012)
    assert high == pytest.approx(found.high[0, 0], abs=0.012)


# --- properties of a fit


def test_the_order_of_conversations_is_no_matter(crisis, log):
    part = taken(log, np.arange(400))
    mixed = taken(log, np.random.default_rng(0).permutation(400))
    assert fitted_toml(fitted(crisis, part)) == fitted_toml(fitted(crisis, mixed))


def test_a_log_twice_has_half_the_variance(crisis, log):
    part = taken(log, np.arange(1500))
    once, twice = fitted(crisis, part), fitted(crisis, taken(part, np.tile(np.arange(1500), 2)))
    n = once.estimates.n
    wide = once.estimates.high - once.estimates.low
    narrow = twice.estimates.high - twice.estimates.low
    inner = (n[:, None] > 100) & (once.estimates.value > 0.1)  # else intervals are skew
    assert inner.sum() > 20
    assert np.allclose((narrow[inner] / wide[inner]) ** 2, 0.5, rtol=0.05)
    assert np.array_equal(twice.estimates.n, 2 * n)


def test_a_response_never_seen_is_left_as_it_is(crisis, log):
    never = [response.name for response in crisis.responses].index("guide")
    seen = np.setdiff1d(np.arange(3000), log.conversation[log.response == never])[:900]
    found = fitted(crisis, taken(log, seen))
    benign = found.scenario.intents[0].kernel
    assert benign.after["guide"] == crisis.intents[0].kernel.after["guide"]
    assert benign.after["comply"] != crisis.intents[0].kernel.after["comply"]
    assert "after.guide never seen, as before: " in benign.source
    assert "benign after guide" in found.scenario.notes
    estimate = listed(found)["intents.benign.kernel.after.guide"]["plain"]
    assert estimate.n == 0
    assert estimate.value == crisis.intents[0].kernel.after["guide"]["plain"]
    assert estimate.high - estimate.low > 0.5


def test_one_conversation_is_a_log(crisis, log):
    found = listed(fitted(crisis, taken(log, np.array([0]))))
    seen = [row for row in found.values() if next(iter(row.values())).n > 0]
    assert seen
    for row in seen:
        assert all(0 <= one.low <= one.value <= one.high <= 1 for one in row.values())
        assert max(one.high - one.low for one in row.values()) > 0.4


def test_rows_by_turn_are_fitted_by_turn():
    base = next(
        scenario
        for seed in range(200)
        for scenario in [random_scenario(seed, security=True)]
        if scenario.turns == 3
        and any(
            intent.kernel and isinstance(intent.kernel.after.get("comply"), list)
            for intent in scenario.intents
        )
    )
    found = fitted(base, simulate(base, 2000, np.random.default_rng(0)))
    by_turn = [row for row in found.rows if row.turns == (1,)]
    assert by_turn
    assert all(row.field.endswith("[1]") for row in by_turn)
    table, again = tables(base), tables(found.scenario)
    counted = found.estimates.n[[found.rows.index(row) for row in by_turn]]
    for row, n in zip(by_turn, counted, strict=True):
        one = table.after[1, row.response, row.intents[0]]
        other = again.after[1, row.response, row.intents[0]]
        assert np.abs(one - other).max() < 6 * np.sqrt(0.25 / max(n, 1))


def test_priors_are_those_of_a_population_alone(crisis, log):
    for design in ("designed", "filtered"):
        with pytest.raises(InputError, match=f"the log is {design}"):
            prior_row(crisis, design)
        found = fitted(crisis, log, design=design)
        assert [part.prior for part in found.scenario.intents] == [
            part.prior for part in crisis.intents
        ]
        assert f"Priors are those of crisis_guidance: the log is {design}" in found.scenario.notes
    found = fitted(crisis, log, design="population")
    for i, part in enumerate(found.scenario.intents):
        share = (log.intent == i).mean()
        assert part.prior.value == pytest.approx(share, abs=2e-3)
        assert part.prior.low < share < part.prior.high
        low, high = binom(3000, share).ppf([0.05, 0.95]) / 3000
        assert part.prior.high - part.prior.low == pytest.approx(high - low, rel=0.15)
        assert part.prior.source.startswith("a_log: ")


def test_conversations_without_a_type_leave_the_priors_alone(crisis, log):
    some = replace(log, intent=np.where(np.arange(3000) < 10, -1, log.intent))
    found = fitted(crisis, some, design="population")
    assert found.scenario.intents[0].prior == crisis.intents[0].prior
    assert "10 conversations have no type" in found.scenario.notes


def test_who_passed_a_filter_is_said(crisis, log):
    assert "passed the filter" in fitted(crisis, log, design="filtered").scenario.notes
    assert "passed the filter" not in fitted(crisis, log).scenario.notes


def test_asks_that_an_intent_does_not_have_are_named(crisis, log):
    swapped = replace(log, intent=np.where(log.intent == 3, 1, log.intent))
    with pytest.raises(InputError, match="times 'disguised' of the intent distressed, whose asks"):
        fitted(crisis, swapped)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 90.0])
def test_levels_are_probabilities(crisis, log, level):
    with pytest.raises(InputError, match="expected a number between 0 and 1"):
        fitted(crisis, log, level=level)


def test_logs_that_tell_nothing_say_why(crisis, log):
    with pytest.raises(InputError, match="no conversation in a_log"):
        fitted(crisis, taken(log, np.zeros(0, int)))
    with pytest.raises(InputError, match="latent = "):
        fitted(crisis, replace(log, intent=np.full(3000, -1)))
    blank = {name: np.full_like(getattr(log, name), -1) for name in ("ask", "signal", "reaction")}
    with pytest.raises(InputError, match="no opening ask or reaction"):
        fitted(crisis, replace(log, **blank))


# --- the file


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_scenarios_are_read_back_from_their_toml(name):
    content = read_scenario(builtin_scenarios()[name]).model_dump(mode="json", exclude_none=True)
    assert tomllib.loads(toml_text(content)) == content


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inside: (
            st.lists(inside, max_size=3)
            | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inside, max_size=3)
        ),
        max_leaves=12,
    ).filter(lambda content: isinstance(content, dict))
)
def test_any_content_is_read_back_from_its_toml(content):
    assert tomllib.loads(toml_text(content)) == content


def test_a_fitted_file_is_a_scenario_with_its_sources(crisis, log):
    found = fitted(crisis, log)
    text = fitted_toml(found)
    again = parse_scenario(text.encode(), "fitted.toml")
    assert again == found.scenario
    content = json.loads(again.model_dump_json(exclude_none=True))
    assert not list(violations(content, json_schema(), json_schema()))
    assert again.sources["a_log"].evidence == "measured"
    assert again.channel[0].source.startswith("a_log: ")
    once_more = fitted(again, log)
    assert once_more.scenario.name == again.name == "crisis_guidance_fitted"
    assert once_more.scenario.title == again.title


def test_probabilities_are_close_to_the_estimates_and_sum_to_one(crisis, log):
    found = fitted(crisis, log)
    table = tables(found.scenario)
    for k, row in enumerate(found.rows):
        if row.kind == "opening":
            value = found.estimates.value[k, : len(row.outcomes)]
            assert np.allclose(table.opening[row.intents[0]], value, atol=1e-5)


def ends_in(scenario, end):
    """Return what a scenario's file has at the ends of intervals, by field."""
    found = {}
    for intent in scenario.intents:
        if intent.kernel is None or (ends := getattr(intent.kernel, end)) is None:
            continue
        at = f"intents.{intent.name}.kernel"
        found[f"{at}.opening"] = ends.opening
        for response, rows in ends.after.items():
            field = f"{at}.after.{response}"
            many = enumerate(rows) if isinstance(rows, list) else ()
            found |= {f"{field}[{t}]": row for t, row in many} or {field: rows}
    return found | {f"channel[{k}]": getattr(c, end) for k, c in enumerate(scenario.channel)}


@pytest.mark.parametrize("by_turn", [False, True])
def test_the_file_has_every_interval_rounded_outwards(crisis, log, by_turn):
    base = crisis
    if by_turn:
        rows = [crisis.intents[1].kernel.after["guide"]] * 3  # one more than there are turns for
        base = override(crisis, {"intents.distressed.kernel.after.guide": rows})
    found = fitted(base, log)
    low, high = (ends_in(found.scenario, end) for end in ("low", "high"))
    if by_turn:
        assert low.pop("intents.distressed.kernel.after.guide[2]") == {}
        assert high.pop("intents.distressed.kernel.after.guide[2]") == {}
    assert set(low) == set(high) == set(listed(found)) == {row.field for row in found.rows}
    for field, row in listed(found).items():
        assert set(row) == set(low[field]) == set(high[field])
        for name, estimate in row.items():
            assert estimate.low - 1.01e-6 < low[field][name] <= estimate.low
            assert estimate.high <= high[field][name] < estimate.high + 1.01e-6
            assert high[field][name] <= 1
    assert parse_scenario(fitted_toml(found).encode(), "fitted.toml") == found.scenario


def intervals(found, field):
    """Return the interval of each outcome of a row, in the list and in the file, which agree."""
    row = {name: (one.low, one.high) for name, one in listed(found)[field].items()}
    low, high = (ends_in(found.scenario, end).get(field) for end in ("low", "high"))
    if low is None:
        assert all(low == high for low, high in row.values())
        return {}
    written = {name: (low[name], high[name]) for name in low}
    assert written == {name: pytest.approx(ends, abs=2e-6) for name, ends in row.items()}
    return row


def test_rows_never_seen_keep_the_intervals_of_the_base_or_of_the_prior(crisis, log):
    """Never tried, the base has an interval; never tried, it has none; nothing of the intent."""
    content = crisis.model_dump(mode="json", exclude_none=True)
    content["intents"][0]["kernel"] |= {
        "low": {"after": {"refuse": {"migrate": 0.05}}},
        "high": {"after": {"refuse": {"migrate": 0.25}}},
    }
    content["channel"][2] |= {"low": {"flag": 0.01}}
    base = scenario_from(content, "base")
    others = log.intent[log.conversation] != 0
    number = {part.name: r for r, part in enumerate(crisis.responses)}
    tried = (log.response != number["refuse"]) & (log.response != number["guide"])
    heard = log.ask != [part.name for part in crisis.asks].index("disguised")
    dropped = replace(
        log,
        reaction=np.where(tried & ~others, log.reaction, -1),
        ask=np.where(others, -1, log.ask),
        signal=np.where(heard & ~others, log.signal, -1),
    )
    found = fitted(base, dropped)
    at = "intents.benign.kernel.after"
    assert listed(found)[f"{at}.refuse"]["migrate"].n == 0
    assert intervals(found, f"{at}.refuse")["migrate"] == (0.05, 0.25)
    assert intervals(found, f"{at}.refuse")["plain"] == (0.2, 0.2)
    low, high = intervals(found, f"{at}.guide")["plain"]
    assert (low, high) == pytest.approx(beta(0.5, 2).ppf([0.05, 0.95]))  # one of five asks
    assert intervals(found, "channel[2]")["flag"] == (0.01, pytest.approx(0.05))
    assert intervals(found, "intents.distressed.kernel.after.guide") == {}
    assert intervals(found, "channel[3]") == {}
    assert found.scenario.intents[1] == base.intents[1]
    notes = found.scenario.notes
    assert "in which a robust policy expects the worst: benign after guide, benign after" in notes
    assert "as sure as crisis_guidance is of them: distressed opens, distressed after" in notes
    # Nothing is left open that was not: what is in doubt for the solver is what the file says.
    assert set(kernels_in_doubt(found.scenario)) == {"benign"}


# --- hazards


def test_the_product_limit_of_a_worked_example():
    # Five conversations: it happens in turns 0, 1 and 1; two are broken off in turns 0 and 2.
    turns = np.array([0, 1, 1, 0, 2])
    found = product_limit(turns, np.array([True, True, True, False, False]), 3)
    assert found.at_risk.tolist() == [5, 3, 1]
    assert found.happened.tolist() == [1, 2, 0]
    assert found.hazard == pytest.approx([1 / 5, 2 / 3, 0])
    assert found.survival == pytest.approx([4 / 5, 4 / 15, 4 / 15])
    assert np.all(found.survival_low <= found.survival)
    assert np.all(found.survival <= found.survival_high)
    assert np.all(found.hazard_low <= found.hazard)
    assert np.all(found.hazard <= found.hazard_high)


def test_survival_intervals_cover():
    draw = np.random.default_rng(0)
    truth = np.cumprod(1 - np.array([0.3, 0.2, 0.1]))
    inside = 0
    for _ in range(200):
        happens = draw.random((150, 3)) < [0.3, 0.2, 0.1]
        when = np.where(happens.any(axis=1), happens.argmax(axis=1), 9)
        stops = draw.integers(0, 5, 150)
        turns, happened = np.minimum(when, stops), when <= stops
        turns = np.where(happened, turns, np.minimum(stops, 2))
        # Whoever stops in a turn is at risk in it and was seen not to.
        found = product_limit(turns, happened, 3)
        inside += ((found.survival_low <= truth) & (truth <= found.survival_high)).sum()
    assert 0.85 <= inside / 600 <= 0.95


def test_clusters_widen_survival():
    draw = np.random.default_rng(0)
    cluster = np.repeat(np.arange(30), 20)
    rate = draw.beta(2, 2, 30)[cluster]
    happened = draw.random(600) < rate
    turns = np.zeros(600, int)
    low, high = clustered_survival(turns, happened, cluster, 1, draw)
    alone = product_limit(turns, happened, 1)
    share = (~happened).reshape(30, 20).mean(axis=1)
    half = 1.645 * share.std(ddof=1) / np.sqrt(30)  # of the mean of equal clusters
    assert (high - low)[0] == pytest.approx(2 * half, rel=0.15)
    assert (high - low)[0] > 1.5 * (alone.survival_high - alone.survival_low)[0]


def first_successes(folder):
    """Return, of the multi-turn attacks, the round of the first success or the last, and which."""
    turns, happened = [], []
    path = folder / "logs" / "multi_turn_simpler.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as raw:
        for line, one in zip(raw, read(path), strict=True):
            if json.loads(line)["turn_type"] == "multi":  # which the library has no use for
                hits = [t for t, event in enumerate(one.events) if event.fine >= 0.5]
                turns.append(hits[0] if hits else len(one.events) - 1)
                happened.append(bool(hits))
    return np.array(turns), np.array(happened)


def test_the_first_successes_of_the_attack_log(shared_data):
    """As the README of the logs has them."""
    found = product_limit(*first_successes(shared_data), 8)
    assert found.happened.tolist() == [2749, 1960, 889, 426, 268, 168, 107, 80]
    assert found.at_risk.tolist() == [7858, 5038, 3037, 2125, 1688, 1410, 1230, 1116]
    assert 1 - found.survival[7] == pytest.approx(0.859, abs=1e-3)
