"""OpenSpiel games in, and every game of ours out as one table-driven `pyspiel` game."""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyspiel
from open_spiel.python.policy import Policy as SpielPolicy

from csa_games.build import Walk, are_payoffs, build, is_distribution, lay_out, too_large
from csa_games.errors import InputError
from csa_games.game import Game, Policy
from csa_games.interop.tree import Tree, collect
from csa_games.rules import Chance, Decision, Node, Terminal, walk

CHANCE, TERMINAL = int(pyspiel.PlayerId.CHANCE), int(pyspiel.PlayerId.TERMINAL)

Labels = dict[tuple[int, str], tuple[list[int], tuple[str, ...]]]
"""The action numbers and labels of each (player, infoset), as they were first met."""

Legal = tuple[list[list[int]], list[list[int]]]
"""The action numbers at each infoset, by player, in the order of a walk."""


def from_openspiel(load_string: str, *, most_nodes: int = 3_000_000) -> Game:
    """Return the OpenSpiel game that `load_string` names, such as "leduc_poker".

    Simultaneous moves become turns, by OpenSpiel's own conversion. Raises `InputError` when
    OpenSpiel cannot load the game, when it is not a two-player game that unfolds to a finite tree
    with information states, when the tree has more than `most_nodes` nodes, or when
    `csa_games.build.build` refuses it (imperfect recall).
    """
    try:
        game = _in_turns(_load(load_string))
        found = walk_states(game.new_initial_state(), most_nodes)
        if found is None:
            labels: Labels = {}
            root = lambda: unfold(game.new_initial_state(), labels)
            return build(root, load_string, most_nodes=most_nodes)
        return lay_out(found[0], _again(game, *found), load_string)
    except pyspiel.SpielError as error:
        raise InputError(f"OpenSpiel on {load_string!r}: {error}") from None
    except InputError as error:
        raise InputError(*(f"{load_string}: {fault}" for fault in error.faults)) from None


def walk_states(state: Any, most_nodes: int) -> tuple[Walk, Legal] | None:
    """Return what `csa_games.build.walk_nodes` finds in `unfold(state)`, without making nodes.

    With it come the action numbers of both players' infosets, in the order of the walk. Actions are
    spelled once per infoset, so that most of the time taken is OpenSpiel's own. Where the game
    breaks a rule the answer is None, and `walk_nodes` is the one to say what is wrong. Raises
    `InputError` when there are more than `most_nodes` nodes.
    """
    found = Walk()
    legal: Legal = ([], [])
    shared: dict[tuple[int, ...], list[int]] = {}  # infosets with equal actions keep one list
    pending: list[tuple[Callable[[int], Any], int, int, int, float]] = []
    last_0, last_1, probability = 0, 0, 1.0
    for _ in range(most_nodes):
        player = state.current_player()
        if player == TERMINAL:
            first, second = state.returns()
            if not are_payoffs(first, second):
                return None
            found.end(last_0, last_1, probability, first, second)
        elif player == CHANCE:
            outcomes = state.chance_outcomes()
            if not is_distribution([p for _, p in outcomes]):
                return None
            child = state.child
            for action, p in reversed(outcomes):
                pending.append((child, action, last_0, last_1, probability * p))
        else:
            seen, before = found.players[player], last_1 if player else last_0
            label, actions = state.information_state_string(player), state.legal_actions()
            infoset = seen.number.get(label)
            if infoset is None:
                names = _spell(state, player, actions)
                if not actions or len(set(names)) != len(names):
                    return None
                infoset = seen.enter(label, names, before)
                legal[player].append(shared.setdefault(tuple(actions), actions))
            elif seen.before[infoset] != before or legal[player][infoset] != actions:
                return None
            child, move = state.child, seen.start[infoset + 1]
            for action in reversed(actions):
                move -= 1
                if player:
                    pending.append((child, action, last_0, move, probability))
                else:
                    pending.append((child, action, move, last_1, probability))
        if not pending:
            return found, legal
        child, action, last_0, last_1, probability = pending.pop()
        state = child(action)
    raise too_large(most_nodes)


def _again(game: Any, found: Walk, legal: Legal) -> Callable[[], Node]:
    """Return the root of a game that was walked, whose actions are called as the walk did."""
    # Lists alone, because a dictionary takes several times the memory and is seldom needed.
    known = [
        (tuple(seen.number), numbers, seen.actions)
        for seen, numbers in zip(found.players, legal, strict=True)
    ]

    def root() -> Node:
        labels: Labels = {
            (player, infoset): (numbers, names)
            for player, columns in enumerate(known)
            for infoset, numbers, names in zip(*columns, strict=True)
        }
        return unfold(game.new_initial_state(), labels)

    return root


def unfold(state: Any, labels: Labels | None = None) -> Node:
    """Return the node of an OpenSpiel state (`pyspiel.State`) of a sequential two-player game.

    `labels` remembers how each infoset's actions were called at its first node, because some games
    spell them from what the player does not see.
    """
    player = state.current_player()
    if player == TERMINAL:
        first, second = state.returns()
        return Terminal((first, second))
    labels = {} if labels is None else labels
    if player == CHANCE:
        outcomes = state.chance_outcomes()
        actions = [action for action, _ in outcomes]
        return Chance(
            _spell(state, pyspiel.PlayerId.CHANCE, actions),
            tuple(probability for _, probability in outcomes),
            lambda k: unfold(state.child(actions[k]), labels),
        )
    infoset = state.information_state_string(player)
    legal = state.legal_actions()
    first = labels.get((player, infoset))
    if first is None:
        first = labels[player, infoset] = (legal, _spell(state, player, legal))
    names = first[1] if first[0] == legal else _spell(state, player, legal)
    return Decision(player, infoset, names, lambda k: unfold(state.child(legal[k]), labels))


def _spell(state: Any, player: int, actions: list[int]) -> tuple[str, ...]:
    """Return the labels of `actions`, with the action number behind those that would be equal."""
    texts = [state.action_to_string(player, action) for action in actions]
    if len(set(texts)) == len(texts):
        return tuple(texts)
    times = Counter(texts)
    return tuple(
        f"{text} [{action}]" if times[text] > 1 else text
        for text, action in zip(texts, actions, strict=True)
    )


def _load(load_string: str) -> Any:
    """Return the `pyspiel.Game`, or say which names there are: OpenSpiel would print them all."""
    name = load_string.partition("(")[0].strip()
    known = pyspiel.registered_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; the closest names are {', '.join(near)}" if near else ""
        raise InputError(f"OpenSpiel has no game {name!r}{hint}")
    try:
        return pyspiel.load_game(load_string)
    except LookupError as error:  # some missing parameters surface as C++ errors
        raise InputError(f"OpenSpiel cannot load it: {error}") from None


def _in_turns(game: Any) -> Any:
    """Return `game` as a sequential game of two players, or refuse it."""
    kind = game.get_type()
    if kind.dynamics == pyspiel.GameType.Dynamics.MEAN_FIELD:
        raise InputError("this is a mean-field game, expected a game of 2 players")
    if game.num_players() != 2:
        players = "1 player" if game.num_players() == 1 else f"{game.num_players()} players"
        raise InputError(f"the game has {players}, expected 2")
    if kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC:
        raise InputError("its chance moves are only sampled, expected their probabilities")
    if not kind.provides_information_state_string:
        raise InputError(
            "the game has no information_state_string, and without it nobody can tell which states "
            "look alike to a player"
        )
    simultaneous = kind.dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS
    return pyspiel.convert_to_turn_based(game) if simultaneous else game


def to_openspiel(game: Game) -> "TreeGame":
    """Return `game` as a `pyspiel.Game` that OpenSpiel's own solvers and measures accept.

    Action k of an infoset is the number k. An information state is the infoset's label, with the
    player behind it where both players have an infoset of that label, because OpenSpiel's solvers
    keep both players' information states in one dictionary. Once this module is imported,
    `pyspiel.load_game("csa_games(source=...)")` loads whatever `csa_games.load` does.
    """
    return TreeGame({"source": game.name}, collect(walk(game.root)))


class TreeGame(pyspiel.Game):  # type: ignore[misc]
    """Any two-player game with perfect recall, as a table of its nodes."""

    def __init__(self, params: Mapping[str, Any], tree: Tree | None = None) -> None:
        if tree is None:
            from csa_games.loading import load

            tree = collect(walk(load(params["source"]).root))
        self.tree = tree
        self.labels = _told_apart(tree)
        super().__init__(*_described(tree), dict(params))

    def new_initial_state(self) -> "TreeState":
        """Return the state at the root."""
        return TreeState(self)

    def make_py_observer(self, kind: Any = None, params: Any = None) -> "TreeObserver":
        """Return what OpenSpiel's C++ code asks for information states."""
        return TreeObserver()

    def __reduce__(self) -> tuple[Any, ...]:
        return TreeGame, (self.get_parameters(), self.tree)

    def __deepcopy__(self, memo: Any) -> "TreeGame":
        return self  # nothing in it changes


class TreeObserver:
    """Observes an information state as its string; there are no tensors."""

    tensor = None

    def __init__(self) -> None:
        self.dict: dict[str, Any] = {}

    def set_from(self, state: "TreeState", player: int) -> None:
        """Do nothing: there is no tensor to fill."""

    def string_from(self, state: "TreeState", player: int) -> str:
        """Return the information state of `player`."""
        return state.information_state_string(player)


class TreeState(pyspiel.State):  # type: ignore[misc]
    """A node of the tree. Its attributes are numbers and strings, because OpenSpiel copies them."""

    def __init__(self, game: TreeGame) -> None:
        super().__init__(game)
        self._at = 0
        self._known = ("", "")  # to each player: its last infoset and its action there

    def _node(self) -> Node:
        return self.get_game().tree.nodes[self._at]

    def current_player(self) -> int:
        """Return 0 or 1, or OpenSpiel's number for chance or for the end."""
        node = self._node()
        if isinstance(node, Decision):
            return node.player
        ended = isinstance(node, Terminal)
        return pyspiel.PlayerId.TERMINAL if ended else pyspiel.PlayerId.CHANCE

    def is_terminal(self) -> bool:
        """Return whether the game has ended."""
        return isinstance(self._node(), Terminal)

    def returns(self) -> list[float]:
        """Return both payoffs, zero before the end."""
        node = self._node()
        return [float(u) for u in node.payoffs] if isinstance(node, Terminal) else [0.0, 0.0]

    def chance_outcomes(self) -> list[tuple[int, float]]:
        """Return the pairs (action, probability) of a chance node."""
        node = self._node()
        assert isinstance(node, Chance)
        return [(k, float(p)) for k, p in enumerate(node.probabilities)]

    def information_state_string(self, player: int | None = None) -> str:
        """Return the label of the infoset; to who is not to move, its last infoset and action."""
        node, mover = self._node(), self.current_player()
        player = mover if player is None else player
        if isinstance(node, Decision) and player == mover:
            return self.get_game().labels[player][node.infoset]
        return self._known[player]

    def _legal_actions(self, player: int) -> list[int]:
        node = self._node()
        return [] if isinstance(node, Terminal) else list(range(len(node.actions)))

    def _apply_action(self, action: int) -> None:
        node = self._node()
        if isinstance(node, Decision):
            seen = f"{self.information_state_string()} / {node.actions[action]}"
            self._known = (seen, self._known[1]) if node.player == 0 else (self._known[0], seen)
        self._at = self.get_game().tree.after(self._at, action)

    def _action_to_string(self, player: int, action: int) -> str:
        node = self._node()
        assert not isinstance(node, Terminal)
        return node.actions[action]

    def __str__(self) -> str:
        """Return the number of the node and what is there."""
        return f"node {self._at}: {self._node()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _replay, (self.get_game(), self.history())


def _replay(game: TreeGame, history: list[int]) -> TreeState:
    """Return the state of `game` after the actions of `history`, for pickle and deepcopy."""
    state = game.new_initial_state()
    for action in history:
        state.apply_action(action)
    return state


class TablePolicy(SpielPolicy):  # type: ignore[misc]
    """A policy [I, A] of ours, looked up by player and information state."""

    def __init__(self, game: Game, policy: Policy, played: Any) -> None:
        super().__init__(played, [0, 1])
        told: Any = played.labels if isinstance(played, TreeGame) else ({}, {})
        self._rows = {
            (player, told[player].get(label, label)): np.asarray(policy[player])[i]
            for player, labels in enumerate(game.names.infosets)
            for i, label in enumerate(labels)
        }

    def action_probabilities(self, state: Any, player_id: int | None = None) -> dict[int, float]:
        """Return {action: probability} of the legal actions at `state`."""
        player = state.current_player() if player_id is None else player_id
        row = self._rows[player, state.information_state_string(player)]
        return {a: float(row[k]) for k, a in enumerate(state.legal_actions(player))}


def to_openspiel_policy(game: Game, policy: Policy, played: Any) -> TablePolicy:
    """Return `policy` as an OpenSpiel policy of the `pyspiel.Game` `played`.

    `played` is `to_openspiel(game)`, or the OpenSpiel game that `game` was unfolded from.
    """
    return TablePolicy(game, policy, played)


def _told_apart(tree: Tree) -> tuple[dict[str, str], dict[str, str]]:
    """Return each player's {label: information state}, where no two players share one."""
    found: tuple[set[str], set[str]] = (set(), set())
    for node in tree.nodes:
        if isinstance(node, Decision):
            found[node.player].add(node.infoset)
    shared = found[0] & found[1]
    first, second = (
        {label: f"{label} [player {player}]" if label in shared else label for label in labels}
        for player, labels in enumerate(found)
    )
    return first, second


def _kind(utility: Any, chance: bool) -> Any:
    """Return the `GameType` with this `GameType.Utility`, with or without chance nodes."""
    return pyspiel.GameType(
        short_name="csa_games",
        long_name="A game of csa-games, as a table",
        dynamics=pyspiel.GameType.Dynamics.SEQUENTIAL,
        chance_mode=(
            pyspiel.GameType.ChanceMode.EXPLICIT_STOCHASTIC
            if chance
            else pyspiel.GameType.ChanceMode.DETERMINISTIC
        ),
        information=pyspiel.GameType.Information.IMPERFECT_INFORMATION,
        utility=utility,
        reward_model=pyspiel.GameType.RewardModel.TERMINAL,
        max_num_players=2,
        min_num_players=2,
        provides_information_state_string=True,
        provides_information_state_tensor=False,
        provides_observation_string=False,
        provides_observation_tensor=False,
        parameter_specification={"source": ""},
        default_loadable=False,
    )


def _described(tree: Tree) -> tuple[Any, Any]:
    """Return the `GameType` and the `GameInfo` of a tree."""
    moves = {id(node): node for node in tree.nodes if not isinstance(node, Terminal)}.values()
    ends = {node.payoffs for node in tree.nodes if isinstance(node, Terminal)}
    payoffs = np.array(list(ends), dtype=np.float64)
    rounding = 1e-12 * max(1.0, np.abs(payoffs).max())
    utility = pyspiel.GameType.Utility
    total = payoffs.sum(axis=1)
    if np.ptp(total) <= rounding:
        zero = abs(total[0]) <= rounding
        kind, total_payoff = (utility.ZERO_SUM, 0.0) if zero else (utility.CONSTANT_SUM, total[0])
    else:
        alike = np.abs(payoffs[:, 0] - payoffs[:, 1]).max() <= rounding
        kind, total_payoff = utility.IDENTICAL if alike else utility.GENERAL_SUM, None
    outcomes = [len(node.actions) for node in moves if isinstance(node, Chance)]
    widths = [len(node.actions) for node in moves if isinstance(node, Decision)]
    return _kind(kind, bool(outcomes)), pyspiel.GameInfo(
        num_distinct_actions=max(widths, default=1),
        max_chance_outcomes=max(outcomes, default=0),
        num_players=2,
        min_utility=float(np.min(payoffs)),
        max_utility=float(np.max(payoffs)),
        utility_sum=total_payoff,
        max_game_length=_most_decisions(tree),
    )


def _most_decisions(tree: Tree) -> int:
    """Return the largest number of decisions on any path."""
    before = [0] * len(tree.nodes)
    for number, node in enumerate(tree.nodes):  # a parent has a smaller number than its children
        if not isinstance(node, Terminal):
            after = before[number] + isinstance(node, Decision)
            for k in range(len(node.actions)):
                before[tree.after(number, k)] = after
    return max(before)


pyspiel.register_game(_kind(pyspiel.GameType.Utility.GENERAL_SUM, chance=True), TreeGame)
