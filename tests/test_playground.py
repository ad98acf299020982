"""The playground in a real browser, and in the terminal."""

import html
import io
import json
import re
import sys
import threading
import time
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import uvicorn
from browser import in_a_browser, visit
from bundles import unsolved
from starlette.testclient import TestClient

from csa_games.cli import main
from csa_games.cli.guard_try import converse
from csa_games.cli.output import console
from csa_games.guard import Guard
from csa_games.guard.deployment import Deployment
from csa_games.server import app

SECRET = b"a secret of the tests"
NETWORK_TIME = "--virtual-time-budget=20000"  # fetches are waited for, timers are not


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tried") / "crisis"
    unsolved().save(place)
    return place


@pytest.fixture(scope="module")
def guard(folder):
    return Guard.load(folder, SECRET)


class Site:
    """The server, and pages of its own origin that drive or frame the playground."""

    def __init__(self, folder):
        self.gate = app(Deployment(folder, secret=SECRET), playground=True)
        self.asked = []
        self.page = TestClient(self.gate).get("/").text

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        self.asked.append(scope["path"])
        script = html.unescape(scope["query_string"].decode())
        if scope["path"] == "/driven":
            text = self.page.replace("</body>", f"<script>{DRIVER}\n{unquoted(script)}</script>")
        elif scope["path"] == "/framed":
            text = FRAME.replace("FRAGMENT", script)
        else:
            return await self.gate(scope, receive, send)
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})


def unquoted(text):
    return re.sub("%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), text)


DRIVER = """
const told = [];
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const click = (text) =>
  [...document.querySelectorAll("button")].find((b) => b.textContent.startsWith(text)).click();
const type = (group, text) => {
  const input = document.querySelector(`#${group} input`);
  input.value = text;
  input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
};
async function settled() {
  do await new Promise((done) => setTimeout(done, 20)); while (busy || !bundle);
  told.push({ turns: turns.map((t) => [t.ask, t.signal, t.decision.action]), asked,
    shown: document.getElementById("action").textContent,
    hidden: document.getElementById("decision").hidden,
    pressed: [...document.querySelectorAll("[aria-pressed=true]")].map((b) => b.value),
    disabled: document.querySelector("#signals button").disabled });
}
function report() {
  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify(told);
  document.body.append(out);
}
"""
FRAME = """<!doctype html><body style="margin:0"><iframe src="/#FRAGMENT" width="390" height="844"
style="border:0"></iframe><script>
onload = () => setTimeout(() => {
  const inside = document.querySelector("iframe").contentDocument, root = inside.documentElement;
  const wide = [...inside.querySelectorAll("body *")].filter(
    (e) => e.getBoundingClientRect().right > 390.5 || e.getBoundingClientRect().left < -0.5);
  const small = [...inside.querySelectorAll("button, input")].filter(
    (e) => e.getBoundingClientRect().height < 24);
  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify({ width: root.scrollWidth, wide: wide.map((e) => e.outerHTML),
    small: small.length, shown: inside.getElementById("action").textContent });
  document.body.append(out);
}, 2000);
</script>"""


@contextmanager
def listening(site):
    """Yield the address of a server in this process."""
    config = uvicorn.Config(site, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def site(folder):
    return Site(folder)


@pytest.fixture(scope="module")
def address(site):
    with listening(site) as found:
        yield found


def told(page):
    return json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', page)[1]))


def actions(guard, turns, conversation="try"):
    history = []
    for ask, signal in turns:
        decision = guard.decide([*history, (ask, signal)], conversation)
        history.append((ask, signal, decision.action))
    return [response for _, _, response in history]


@in_a_browser
def test_the_page_shows_the_decision_and_loads_nothing_else(tmp_path, site, address, guard):
    site.asked.clear()
    page, messages = visit(tmp_path, f"{address}/#plain:flag/plain:clear", 1280, NETWORK_TIME)
    assert messages == []
    assert set(site.asked) == {"/", "/v1/bundle", "/playground/decide"}
    answered = actions(guard, [("plain", "flag")])
    history = [("plain", "flag", *answered), ("plain", "clear")]
    decision = guard.decide(history, "try")
    text = html.unescape(page)
    for shown in (
        decision.explanation,
        decision.text,
        decision.reason,
        f"Turn 2: plain, clear<b>{decision.action}</b>",
        f'<span id="action">{decision.action}</span>',
        *(f"{share:.4f}" for share in decision.posterior.values()),
        *(f"{share:.4f}" for share in decision.probabilities.values()),
        *(f"{value:.4f}".replace("-", "\N{MINUS SIGN}") for value in decision.values.values()),
    ):
        assert shown in text
    assert f'<h1 id="name">{guard.terms.name}</h1>' in text


@in_a_browser
def test_keys_buttons_and_typing_make_a_conversation(tmp_path, address, guard):
    script = """(async () => {
  await settled();
  press("1"); await settled();
  press("3"); await settled();
  click("contextualised"); click("no signal"); await settled();
  press("u"); await settled();
  type("asks", "nonsense"); type("signals", "flag"); await settled();
  document.getElementById("conversation").value = "another";
  document.getElementById("conversation").dispatchEvent(new Event("change")); await settled();
  press("1"); press("u"); await settled();
  click("Restart"); await settled();
  report();
})();"""
    page, messages = visit(tmp_path, f"{address}/driven?{quote(script)}", 1280, NETWORK_TIME)
    assert messages == []
    steps = told(page)
    seen = [[tuple(turn) for turn in step["turns"]] for step in steps]

    def expected(*turns, conversation="try"):
        answered = actions(guard, turns, conversation)
        return [(*turn, response) for turn, response in zip(turns, answered, strict=True)]

    flag, quiet, odd = ("plain", "flag"), ("contextualised", None), ("nonsense", "flag")
    another = expected(flag, odd, conversation="another")
    assert seen == [
        [],
        [],
        expected(flag),
        expected(flag, quiet),
        expected(flag),
        expected(flag, odd),
        another,
        another,
        [],
    ]
    assert [step["asked"] for step in steps] == [None, "plain", *[None] * 7]
    assert [step["pressed"] for step in steps] == [[], ["plain"], *[[]] * 7]
    assert [step["disabled"] for step in steps] == [True, False, *[True] * 7]
    assert [step["hidden"] for step in steps] == [not turns for turns in seen]
    assert [step["shown"] for step in steps if step["turns"]] == [
        turns[-1][2] for turns in seen if turns
    ]


@in_a_browser
def test_a_phone_has_room_for_it(tmp_path, address, guard):
    fragment = "plain:flag/contextualised:clear"
    page, messages = visit(tmp_path, f"{address}/framed?{fragment}", 900, NETWORK_TIME)
    assert messages == []
    found = told(page)
    assert found["shown"] == actions(guard, [("plain", "flag"), ("contextualised", "clear")])[-1]
    assert found["width"] <= 390
    assert (found["wide"], found["small"]) == ([], 0)


@in_a_browser
def test_a_name_is_text_and_no_markup(tmp_path, address):
    fragment = quote("<img src=x onerror=alert(1)>") + ":flag"
    page, messages = visit(tmp_path, f"{address}/#{fragment}", 1280, NETWORK_TIME)
    assert messages == []
    assert "Turn 1: &lt;img src=x onerror=alert(1)&gt;, flag" in page
    assert "<img" not in page


def test_the_page_stands_alone(site, folder):
    answer = TestClient(site.gate).get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"(?:https?:)?//[a-z]", answer.text.replace("// Of the turns", ""))
    plain = TestClient(app(Deployment(folder)))
    assert plain.get("/").status_code == plain.post("/playground/decide").status_code == 404


# In the terminal.


def typed(*lines):
    left = list(lines)
    return lambda: left.pop(0) if left else None


def conversed(guard, *lines):
    out = io.StringIO()
    turns = converse(guard, "try", console(out), typed(*lines))
    return [(turn.ask, turn.signal, turn.decision.action) for turn in turns], out.getvalue()


def test_a_conversation_in_the_terminal(guard):
    first, second = ("plain", "flag"), ("contextualised", None)
    answered = actions(guard, [first, second])
    expected = [(*first, answered[0]), (*second, answered[1])]
    turns, out = conversed(guard, "1", "3", "contextualised", "")
    assert turns == expected
    assert "Turn 1. The ask? 1 plain  2 contextualised  3 disguised" in out
    assert "below the best" in out
    for word in ("leave", "migrate"):  # they end it, so there is nothing to answer
        assert word not in out
    assert conversed(guard, "1", "3", "2", "", "quit", "1", "3")[0] == expected
    assert conversed(guard, "1", "3", "2", "back", "back")[0] == []
    assert conversed(guard, "1", "3", "2", "", "back")[0] == expected[:1]
    assert conversed(guard, "back", "1", "back", "", "1", "3")[0] == expected[:1]
    assert conversed(guard, "1", "1", "2", "restart", "1", "3")[0] == expected[:1]
    assert conversed(guard, "1")[0] == []


def test_whatever_is_typed_is_decided(guard):
    turns, out = conversed(guard, "9", "\x1b[31mred")
    assert [turn[:2] for turn in turns] == [("9", "\x1b[31mred")]
    assert "\x1b" not in out
    assert "The ask of turn 1 is '9'" in out


def test_the_command_reads_what_is_piped(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n3\n\n"))
    assert main(["guard", "try", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert [(turn["ask"], turn["signal"]) for turn in data["turns"]] == [("plain", "flag")]
    assert data["turns"][0]["decision"]["revision"] == data["revision"]
    assert "The signal of plain? 1 clear  2 unsure  3 flag" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n3\nquit\n"))
    assert main(["guard", "try", str(folder)]) == 0
    assert capsys.readouterr().out.split()[-5:-3] == ["1", "plain"]
    assert main(["guard", "try", str(folder / "none")]) == 2
