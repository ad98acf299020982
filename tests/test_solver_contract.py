"""What every registered solver of equilibria promises; a new one gets its tests by a row here."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pyspiel
import pytest
from known_games import KUHN, LEDUC, game
from open_spiel.python import policy as openspiel_policy
from open_spiel.python.algorithms import exploitability as openspiel_exploitability

import solvers
from csa_games.errors import InputError
from csa_games.fold import legal_mask
from solvers import cfr, driver
from solvers.regret import VARIANTS

OTHERS = {
    # What answers other questions, or is made of others, has tests of its own.
    "race",
    *("commitment", "commitment-milp", "commitment-gradient"),
    *("lp-refined", "cfr-refined", "lcp"),
    *("qre", "qre-normal-form"),
    *("population", "budget", "robust"),
}
OPTIONS = {name: {"target": 5e-4, "max_steps": 20_000} for name in VARIANTS} | {"lp": {}}


def solve(name, load_string=KUHN, **options):
    return solvers.solve(game(load_string), name, **(OPTIONS[name] | options))


def test_the_registry_has_every_variant():
    assert set(solvers.SOLVERS) == {*OPTIONS, *OTHERS}


def test_unknown_methods_are_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"'cfrr'.*cfr, cfr\+, .*hs-pcfr\+, race, lp, .*commitment"
    ):
        solvers.solve(game(KUHN), "cfrr")


@pytest.mark.parametrize("name", OPTIONS)
def test_kuhn_is_solved(name):
    solution = solve(name)
    assert solution.status in ("target", "exact")
    assert solution.nash_conv <= 5e-4
    # Kuhn 1950: the first player loses 1/18; the value found is off by at most the gaps.
    assert abs(solution.value[0] + 1 / 18) <= solution.nash_conv + 1e-12


@pytest.mark.parametrize("name", OPTIONS)
def test_the_certificate_is_that_of_openspiel(name):
    solution = solve(name)
    spiel = pyspiel.load_game(KUHN)
    table = openspiel_policy.TabularPolicy(spiel)
    for player, labels in enumerate(game(KUHN).names.infosets):
        for label, row in zip(labels, solution.policy[player], strict=True):
            table.policy_for_key(label)[:] = row  # all actions are legal everywhere in Kuhn
    theirs = openspiel_exploitability.nash_conv(spiel, table)
    assert solution.nash_conv == pytest.approx(theirs, rel=0, abs=1e-10)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_solution_is_complete_and_honest(name):
    ours = game(KUHN)
    solution = solve(name)
    assert (solution.game, solution.method, solution.game_class) == (KUHN, name, "zero-sum")
    assert solution.steps >= 1
    assert 0 < solution.seconds < 600
    np.testing.assert_array_equal(solution.value, solvers.value(ours, solution.policy))
    np.testing.assert_array_equal(solution.gap, solvers.gap(ours, solution.policy))
    for rows, treeplex in zip(solution.policy, ours.form.treeplex, strict=True):
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == np.float64
        assert (rows >= 0).all()
        assert (rows[~legal_mask(treeplex)] == 0).all()
        np.testing.assert_allclose(rows.sum(axis=-1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_two_runs_are_bit_identical(name):
    options = {} if name == "lp" else {"target": 0.0, "max_steps": 60}
    first, second = (solvers.solve(game(LEDUC), name, **options) for _ in range(2))
    for rows, same in zip(first.policy, second.policy, strict=True):
        np.testing.assert_array_equal(rows, same)
    assert first.steps == second.steps
    assert [c.nash_conv for c in first.history] == [c.nash_conv for c in second.history]


def narrowed(form, dtype):
    return jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float64 else x, form)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", VARIANTS)
def test_states_keep_structure_and_dtypes(name, dtype):
    form = narrowed(game(LEDUC).form, dtype)
    with jax.enable_x64(True):
        state = cfr.init(form)
        step = lambda s: cfr.step(form, VARIANTS[name], s, horizon=10.0, dead_zone=1e-9)
        after = jax.eval_shape(step, state)
        kinds = lambda s: jax.tree.map(lambda x: (x.shape, x.dtype), s)
        assert kinds(state) == kinds(after)
        narrow, wide = (after.regret, after.policy), after.plan_sum
        assert {part.dtype for part in jax.tree.leaves(narrow)} == {np.dtype(dtype)}
        assert {part.dtype for part in jax.tree.leaves(wide)} == {np.dtype(np.float64)}


def test_float32_is_close_to_float64():
    ours = game(LEDUC)
    policies = []
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            form = narrowed(ours.form, dtype)
            state = cfr.run(
                form, VARIANTS["pcfr+"], cfr.init(form), 20, horizon=20.0, dead_zone=1e-6
            )
            policies.append(cfr.average(ours.form, jax.device_get(state)))
    narrow, wide = (solvers.gap(ours, policy).sum() for policy in policies)
    assert narrow == pytest.approx(wide, rel=1e-3)
    assert narrow != wide


def test_float64_needs_no_global_flag():
    assert not jax.config.jax_enable_x64
    solution = solve("hs-pcfr+", target=1e-12, max_steps=200)
    assert solution.status == "target"  # float32 ends at 1e-7
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == np.float32


def test_the_caller_may_have_set_the_flag():
    with jax.enable_x64(True):
        solution = solve("hs-pcfr+", target=1e-12, max_steps=200)
        assert solution.status == "target"
        assert jnp.ones(1).dtype == np.float64


def test_progress_is_called_outside_of_the_float64_scope():
    seen = []
    solve("cfr", max_steps=3, progress=lambda report: seen.append(jnp.ones(1).dtype))
    assert set(seen) == {np.dtype(np.float32)}


def test_one_compilation_serves_all_variants(monkeypatch):
    traced = []
    step = cfr.step

    def counted(*arguments, **options):
        traced.append(1)
        return step(*arguments, **options)

    monkeypatch.setattr(cfr, "step", counted)
    cfr.run_in_place.clear_cache()
    ours = game(KUHN)
    counts = []
    for name in VARIANTS:
        for simultaneous in (False, True):
            solvers.solve(ours, name, target=0.0, max_steps=7, simultaneous=simultaneous)
            counts.append(len(traced))
    assert counts[0] > 0
    assert set(counts) == {counts[0]}
    solvers.solve(ours, "cfr", target=0.0, max_steps=500, dead_zone=0.0)
    assert len(traced) == counts[0]


def test_a_batch_of_payoffs_equals_a_loop():
    """Different payoffs in every row: a leak from row to row would show."""
    ours = game(KUHN)
    rng = np.random.default_rng(0)
    leaves = ours.form.leaves
    first = np.stack(
        [leaves.payoff[0] * rng.uniform(0.5, 2, leaves.payoff[0].shape) for _ in range(4)]
    )

    def average_after_50(payoff):
        form = replace(ours.form, leaves=replace(leaves, payoff=(payoff, -payoff)))
        state = cfr.run(form, VARIANTS["pcfr+"], cfr.init(form), 50, horizon=50.0, dead_zone=1e-9)
        return cfr.average(form, state)

    with jax.enable_x64(True):
        batch = jax.vmap(average_after_50)(first)
        loop = [average_after_50(payoff) for payoff in first]
    assert not np.allclose(loop[0][0], loop[1][0], atol=1e-2)
    for k, row in enumerate(loop):
        for player in (0, 1):
            np.testing.assert_allclose(batch[player][k], row[player], rtol=0, atol=1e-10)


def test_a_batch_of_variants_equals_a_loop():
    ours = game(KUHN)
    stacked = jax.tree.map(lambda *numbers: np.array(numbers), *VARIANTS.values())

    def average_after_50(variant):
        state = cfr.run(ours.form, variant, cfr.init(ours.form), 50, horizon=50.0, dead_zone=1e-9)
        return cfr.average(ours.form, state)

    with jax.enable_x64(True):
        batch = jax.device_get(jax.vmap(average_after_50)(stacked))
        loop = jax.device_get([average_after_50(variant) for variant in VARIANTS.values()])
    gaps = [solvers.gap(ours, row).sum() for row in loop]
    assert len(set(gaps)) == len(VARIANTS)
    for k, row in enumerate(loop):
        for player in (0, 1):
            np.testing.assert_allclose(batch[player][k], row[player], rtol=0, atol=1e-10)


def test_options_have_the_defaults_of_the_documentation():
    solution = solvers.solve(game(KUHN))
    assert (solution.method, solution.status) == ("pcfr+", "target")
    assert solution.nash_conv <= 1e-4
    assert math.isclose(solution.dead_zone, driver.default_dead_zone(game(KUHN).form))
