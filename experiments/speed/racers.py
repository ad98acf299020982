"""Every engine that is raced, behind one small interface, each in its best public configuration.

Engines import what they need when they start, because each runs in a process of its own and the
peers' packages may be in another environment than ours. What an engine is about (order of updates,
averaging, dtype) is said in its row of `ENGINES`, and every report repeats it.
"""

import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Track:
    """A game as every engine finds it: a load string of OpenSpiel, or a dialogue.

    `dialogue` is a name in `games.DIALOGUES`; peers read the same game from the file `efg`.
    """

    openspiel: str | None = None
    dialogue: str | None = None
    efg: str | None = None


class Racer(Protocol):
    """An engine at work on one game."""

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations, and wait until they are done."""

    def restart(self) -> None:
        """Return to iteration 0; what was compiled or built stays."""

    def nash_conv(self) -> float:
        """Return the NashConv of the average policies, in payoff units, by the engine's own way."""

    def facts(self) -> Mapping[str, Any]:
        """Return what the report should know about this run besides the times."""


@dataclass(frozen=True)
class Engine:
    """A row of the table of engines."""

    package: str  # the module without which it cannot run
    version_of: str  # the distribution whose version is recorded
    about: str
    start: Callable[[Track], Racer]


def _pyspiel_game(track: Track) -> Any:
    pyspiel = import_module("pyspiel")
    if track.openspiel is not None:
        return pyspiel.load_game(track.openspiel)
    return pyspiel.load_game("efg_game", {"filename": track.efg})


def our_game(track: Track) -> Any:
    """Return the game of `track` as this library builds it."""
    import csa_games
    from experiments.speed.games import build, dialogue

    if track.dialogue is not None:
        return build(dialogue(track.dialogue))
    return csa_games.load(f"openspiel:{track.openspiel}")


class Ours:
    """The library itself: everything as `solvers.solve` does it, with the loop in our hands."""

    def __init__(self, track: Track, method: str, single: bool = False) -> None:
        import jax

        from csa_games.devices import everywhere, is_looped, spread, use_all_cores
        from solvers import cfr, driver
        from solvers.regret import VARIANTS

        self.jax, self.cfr, self.driver, self.variant = jax, cfr, driver, VARIANTS[method]
        game = our_game(track)
        if is_looped(game.form):  # as `csa solve` does
            use_all_cores()
        self.game = replace(game, form=spread(game.form))
        dtype = "float32" if single else "float64"
        self.dead_zone = driver.default_dead_zone(self.game.form, dtype)
        with jax.enable_x64(True):
            self.form = everywhere(self.game.form, driver.cast(self.game, dtype))
        self.restart()

    def restart(self) -> None:
        """Return to iteration 0."""
        with self.jax.enable_x64(True):
            self.state = self.driver.beginning(self.form)

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations."""
        with self.jax.enable_x64(True):
            self.state = self.cfr.run_in_place(
                self.form,
                self.variant,
                self.state,
                steps,
                horizon=1e6,
                dead_zone=self.dead_zone,
            )
            for leaf in self.jax.tree.leaves(self.state):
                leaf.block_until_ready()

    def nash_conv(self) -> float:
        """Return the NashConv of the averages, certified in float64."""
        checked = self.driver.checked_average(self.game.form, self.state)
        return math.nan if checked is None else checked.nash_conv

    def facts(self) -> Mapping[str, Any]:
        """Return the device, and the bytes of the state and of the game on it."""
        leaves = self.jax.tree.leaves
        device = self.jax.devices()[0]
        return {
            "device": f"{device.platform}: {device.device_kind}",
            "state_bytes": sum(leaf.nbytes for leaf in leaves(self.state)),
            "game_bytes": sum(np.asarray(leaf).nbytes for leaf in leaves(self.form)),
        }


class OpenSpiel:
    """OpenSpiel's C++ CFR+ solver, driven as its documentation drives it."""

    def __init__(self, track: Track) -> None:
        self.pyspiel = import_module("pyspiel")
        self.game = _pyspiel_game(track)
        self.restart()

    def restart(self) -> None:
        """Return to iteration 0."""
        self.solver = self.pyspiel.CFRPlusSolver(self.game)

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations."""
        for _ in range(steps):
            self.solver.evaluate_and_update_policy()

    def nash_conv(self) -> float:
        """Return the NashConv of the averages."""
        return float(self.pyspiel.nash_conv(self.game, self.solver.average_policy()))

    def facts(self) -> Mapping[str, Any]:
        """Return nothing further."""
        return {}


class OpenSpielJax:
    """OpenSpiel's JAX CFR, as its comparison script runs it, with CFR+ and linear averaging."""

    def __init__(self, track: Track) -> None:
        self.jax, self.pyspiel = import_module("jax"), import_module("pyspiel")
        self.game = _pyspiel_game(track)
        solver = import_module("open_spiel.python.jax.cfr.jax_cfr").JaxCFR
        self.solver = solver(self.game)
        self.beginning = ([*self.solver.regrets], [*self.solver.averages])

    def restart(self) -> None:
        """Return to iteration 0."""
        self.solver.regrets, self.solver.averages = map(list, self.beginning)
        self.solver.timestep = 1

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations."""
        self.solver.multiple_steps(steps)
        self.jax.block_until_ready((self.solver.regrets, self.solver.averages))

    def nash_conv(self) -> float:
        """Return the NashConv of the averages, uniform where they are 0 / 0."""
        table: dict[str, list[tuple[int, float]]] = {}
        for player, numbers in enumerate(self.solver.iset_map):
            sums = np.asarray(self.solver.averages[player], np.float64)
            masks = np.asarray(self.solver.constants.iset_action_mask[player])
            for label, i in numbers.items():
                legal = np.flatnonzero(masks[i])
                row = sums[i, legal] if sums[i, legal].sum() > 0 else np.ones(len(legal))
                if label:  # the empty one is the solver's own
                    table[label] = list(
                        zip(legal.tolist(), (row / row.sum()).tolist(), strict=True)
                    )
        return float(self.pyspiel.nash_conv(self.game, table))

    def facts(self) -> Mapping[str, Any]:
        """Return the device."""
        device = self.jax.devices()[0]
        return {"device": f"{device.platform}: {device.device_kind}"}


class LiteEfg:
    """LiteEFG's CFR+ baseline, updated and averaged as its training loop does."""

    def __init__(self, track: Track, threads: int) -> None:
        # It keeps the games that it converts in the home folder: one of this run's own.
        self.home = tempfile.TemporaryDirectory()
        os.environ["HOME"] = self.home.name
        self.library = import_module("LiteEFG")
        self.baseline = import_module("LiteEFG.baselines.CFRplus")
        self.library.set_threads(threads)
        self.game = _pyspiel_game(track)
        self.restart()

    def restart(self) -> None:
        """Return to iteration 0."""
        self.environment = self.library.OpenSpielEnv(self.game, traverse_type="Enumerate")
        self.graph = self.baseline.graph()
        self.environment.set_graph(self.graph)

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations."""
        for _ in range(steps):
            self.graph.update_graph(self.environment)
            self.environment.update_strategy(self.graph.current_strategy())

    def nash_conv(self) -> float:
        """Return the NashConv of the linear averages."""
        strategy = self.graph.current_strategy()
        return float(sum(self.environment.exploitability(strategy, "linear-avg-iterate")))

    def facts(self) -> Mapping[str, Any]:
        """Return the number of threads."""
        return {"threads": self.library.get_threads()}


class Noregret:
    """noregret's CFR+ on its sequence form, alternating; histories of iterates are not kept."""

    def __init__(self, track: Track) -> None:
        from experiments.speed.reference import walk

        games, utilities = import_module("noregret.games"), import_module("noregret.utilities")
        self.minimizers = import_module("noregret.regret_minimizers")
        form = walk(_pyspiel_game(track))
        process = utilities.TreeFormSequentialDecisionProcess
        self.processes, order = [], []
        for decisions in form.decisions:
            made, names = _decision_process(process, decisions)
            self.processes.append(made)
            order.append([names[name] for name in made.sequences])
        payoff = form.payoff[order[0]][:, order[1]].tocsr()
        self.game = games.TwoPlayerZeroSumExtensiveFormGame(self.processes, payoff)
        self.restart()

    def restart(self) -> None:
        """Return to iteration 0."""
        plus = self.minimizers.CounterfactualRegretMinimizationPlus
        self.players = [plus(process, is_time_symmetric=True) for process in self.processes]
        for player in self.players:
            for local in player.local_regret_minimizers.values():
                local.is_time_symmetric = True
        self.column = self.players[1].next_strategy()

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations: the row player, then the column player against its news."""
        row, column = self.players
        for _ in range(steps):
            if not row.strategies:
                row.next_strategy()
            row.observe_utility(self.game.row_utility(self.column))
            column.observe_utility(self.game.column_utility(row.next_strategy()))
            self.column = column.next_strategy()

    def nash_conv(self) -> float:
        """Return the NashConv of the averages.

        Its best responses leave out what is paid to who has not moved yet, which is added here.
        """
        row, column = (player.average_strategy for player in self.players)
        unmoved = self.game.row_utility(column)[0] + self.game.column_utility(row)[0]
        return float(self.game.nash_gap(row, column) + unmoved)

    def facts(self) -> Mapping[str, Any]:
        """Return nothing further."""
        return {}


def _decision_process(process: Any, decisions: Any) -> tuple[Any, dict[Any, int]]:
    """Return noregret's form of one player's decisions, and the number of each of its sequences."""
    kinds = process.NodeType
    transitions: dict[Any, Any] = {(): "root"}
    types = {"root": kinds.OBSERVATION_POINT}
    names: dict[Any, int] = {(): 0}
    node_of: dict[int, str] = {0: "root"}
    for i, parent in enumerate(decisions.parent.tolist()):
        above = node_of[parent]
        types[above] = kinds.OBSERVATION_POINT
        transitions[above, f"see {i}"] = f"infoset {i}"
        types[f"infoset {i}"] = kinds.DECISION_POINT
        for a in range(int(decisions.count[i])):
            number = int(decisions.start[i]) + a
            node_of[number] = f"after {number}"
            names[f"infoset {i}", a] = number
            transitions[f"infoset {i}", a] = node_of[number]
            types[node_of[number]] = kinds.END_OF_THE_DECISION_PROCESS
    return process(transitions, types), names


class Reference:
    """The plain numpy and scipy reference."""

    def __init__(self, track: Track) -> None:
        from experiments.speed.reference import CFRPlus, walk

        self.make = CFRPlus
        self.form = walk(_pyspiel_game(track))
        self.restart()

    def restart(self) -> None:
        """Return to iteration 0."""
        self.solver = self.make(self.form)

    def iterate(self, steps: int) -> None:
        """Do `steps` more iterations."""
        self.solver.iterate(steps)

    def nash_conv(self) -> float:
        """Return the NashConv of the averages."""
        return self.solver.nash_conv()

    def facts(self) -> Mapping[str, Any]:
        """Return the nodes of the tree, and the bytes of both payoff matrices."""
        matrices = (self.solver.from_columns, self.solver.from_rows)
        parts = [part for m in matrices for part in (m.data, m.indices, m.indptr)]
        return {"nodes": self.form.nodes, "game_bytes": sum(part.nbytes for part in parts)}


def _ours(method: str, single: bool = False) -> Callable[[Track], Racer]:
    return lambda track: Ours(track, method, single)


OURS = "alternating, dead zone of 1e-8 of the largest chance-weighted payoff"

METHODS = {
    "csa": "cfr+",
    "csa-float32": "cfr+",
    "csa-pcfr+": "pcfr+",
    "csa-dcfr+": "dcfr+",
    "csa-sapcfr+": "sapcfr+",
}
"""Engine -> method of `solvers.solve`, for the engines of this library."""


def dtype_of(engine: str) -> str:
    """Return the dtype of the iterations of one of this library's engines."""
    return "float32" if engine.endswith("float32") else "float64"


ENGINES: dict[str, Engine] = {
    "csa": Engine("jax", "csa-games", f"CFR+, float64, linear average, {OURS}", _ours("cfr+")),
    "csa-float32": Engine(
        "jax",
        "csa-games",
        "CFR+, float32 with averages in float64, linear average, alternating, dead zone of 1e-4",
        _ours("cfr+", single=True),
    ),
    **{
        f"csa-{method}": Engine(
            "jax", "csa-games", f"{method}, float64, {average} average, {OURS}", _ours(method)
        )
        for method, average in (
            ("pcfr+", "quadratic"),
            ("dcfr+", "quartic"),
            ("sapcfr+", "quadratic"),
        )
    },
    "openspiel": Engine(
        "pyspiel",
        "open-spiel",
        "C++ CFRPlusSolver: CFR+, float64, alternating, linear average, one thread; skips branches "
        "that nobody reaches, so its time changes as it runs",
        OpenSpiel,
    ),
    "openspiel-jax": Engine(
        "chex",
        "open-spiel",
        "JaxCFR: CFR+, float32 (its default), alternating, linear average, one dispatch per half",
        OpenSpielJax,
    ),
    **{
        name: Engine(
            "LiteEFG",
            "LiteEFG",
            "CFR+ baseline: float64, alternating, linear average of the policies after each update "
            f"(as in its training loop), {about}",
            start,
        )
        for name, about, start in (
            ("liteefg", "one thread (its default)", lambda track: LiteEfg(track, 1)),
            ("liteefg-2-threads", "two threads", lambda track: LiteEfg(track, 2)),
        )
    },
    "noregret": Engine(
        "noregret",
        "noregret",
        "CounterfactualRegretMinimizationPlus: CFR+, float64, alternating, linear average; payoffs "
        "as a scipy matrix, decisions in Python",
        Noregret,
    ),
    "scipy": Engine(
        "scipy",
        "scipy",
        "this project's plain reference on the sequence form: CFR+, float64, alternating, linear "
        "average, no dead zone, one thread",
        Reference,
    ),
}
"""Name -> engine; the first is the one that the others are compared with."""

PEERS = tuple(name for name in ENGINES if not name.startswith("csa"))
