"""The server as a process: it changes bundles and ends without losing a request."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from bundles import unsolved

from csa_games.cli import main
from csa_games.guard import Guard

ROOT = Path(__file__).parents[1]
TURNS = [{"ask": "plain", "signal": "clear"}]
BODY = json.dumps({"history": TURNS, "conversation": "c"})
PROGRAM = "import sys; from csa_games.cli import main; sys.exit(main())"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Return the folder of two revisions of a policy."""
    place = tmp_path_factory.mktemp("revisions")
    for sequence in (1, 2):
        unsolved().save(place / str(sequence), sequence=sequence)
    return place


@contextmanager
def serving(*words):
    """Yield a process of `csa guard serve` and its port; told to end, it must, by the code 0."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "guard", "serve", *map(str, words), "--port=0", "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        found = re.search(r"on http://127\.0\.0\.1:(\d+),", line)
        assert found, line + process.stderr.read()
        yield process, int(found[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def call(connection, path="/v1/decide", body=BODY):
    connection.request("POST" if body else "GET", path, body, JSON if body else {})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), answer.headers.get("connection")


class Client(threading.Thread):
    """Calls over one connection until told to stop or to leave; every answer is kept."""

    def __init__(self, port):
        super().__init__()
        self.port, self.answers, self.faults, self.left = port, [], [], threading.Event()
        self.start()

    def run(self):
        """Call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            while not self.left.is_set():
                status, answer, leave = call(connection)
                self.answers.append((status, answer["decision"]["revision"], answer["enforced"]))
                if leave == "close":
                    break
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            self.faults.append(repr(error))
        finally:
            connection.close()


def test_sigterm_under_load_loses_nothing(bundles, tmp_path):
    log = tmp_path / "log"
    with serving(bundles / "1", "--drain", "30", "--audit", log) as (process, port):
        clients = [Client(port) for _ in range(8)]
        while min(len(client.answers) for client in clients) < 20:
            assert not any(client.faults for client in clients)
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)

        # The port still answers, but whoever balances load is told to turn away.
        watcher = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        status, ready, _ = call(watcher, "/readyz", None)
        assert (status, ready["why"]) == (503, "the process is about to end")
        late = call(http.client.HTTPConnection("127.0.0.1", port, timeout=20))
        assert (late[0], late[2]) == (200, "close")
        for client in clients:
            client.join(20)  # each leaves on its own, when it is told to
            assert not client.is_alive()
        process.send_signal(signal.SIGTERM)  # nobody is left to wait for
        assert process.wait(20) == 0
        summary = json.loads(process.stdout.read())
        answers = [answer for client in clients for answer in client.answers]
        assert [fault for client in clients for fault in client.faults] == []
        assert {status for status, _, _ in answers} == {200}
        assert sum(kind["count"] for kind in summary["decisions"]) == len(answers) + 1
        assert len(log.read_text().splitlines()) == 1 + len(answers) + 1  # the first is about it


def test_bundles_change_under_load_without_a_lost_or_mixed_answer(bundles, tmp_path):
    link, spare = tmp_path / "current", tmp_path / "spare"
    link.symlink_to(bundles / "1")
    revisions = [Guard.load(bundles / name).revision for name in ("1", "2")]
    with serving(link, "--watch", "0.05", "--drain", "0") as (process, port):
        clients = [Client(port) for _ in range(4)]
        while not all(client.answers for client in clients):
            assert not any(client.faults for client in clients)
            time.sleep(0.01)
        spare.symlink_to(bundles / "2")
        os.replace(spare, link)
        deadline = time.monotonic() + 20
        while any(client.answers[-1][1] != revisions[1] for client in clients):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # A lower sequence is refused: the second revision goes on.
        spare.symlink_to(bundles / "1")
        os.replace(spare, link)
        process.send_signal(signal.SIGHUP)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while call(connection, "/v1/bundle", None)[1]["fault"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        connection.close()
        for client in clients:
            client.left.set()
            client.join(20)
        assert [fault for client in clients for fault in client.faults] == []
        for client in clients:
            assert {status for status, _, _ in client.answers} == {200}
            seen = [revision for _, revision, _ in client.answers]
            assert seen == sorted(seen, key=revisions.index)  # never back
            assert set(seen) == set(revisions)


def test_what_is_no_http_is_refused_and_headers_have_an_end(bundles, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-token\n")
    with serving(bundles / "1", "--token-file", token, "--drain", "0") as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.connect()
        connection.sock.sendall(b"nonsense\r\n\r\n")
        assert connection.sock.recv(100).startswith(b"HTTP/1.1 400")
        connection.close()
        connection.connect()
        connection.sock.sendall(b"GET /healthz HTTP/1.1\r\n")
        received = b""
        try:
            for _ in range(200):
                connection.sock.sendall(b"x-more: " + b"x" * 1000)
                time.sleep(0.001)
            received = connection.sock.recv(100)
        except OSError:  # it hangs up, be it on what is still being sent
            pass
        assert received == b"" or received.startswith(b"HTTP/1.1 400")
        connection.close()
        assert call(connection)[0] == 401  # and goes on to answer
        connection.close()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nowhere"], 2, "nowhere: found no folder there"),
        (["BUNDLE", "--classifier", "x"], 2, "expected module:function"),
        (["BUNDLE", "--classifier", "no_such_module:f"], 2, "No module named 'no_such_module'"),
        (["BUNDLE", "--classifier", "json:tool"], 2, "has no attribute 'tool'"),
        (["BUNDLE", "--classifier", "math:pi"], 2, "found float, expected a function"),
        (["BUNDLE", "--canary", "x"], 2, "expected BUNDLE:SHARE"),
        (["BUNDLE", "--canary", "x:2"], 2, "found the share 2.0"),
        (["BUNDLE", "--token-file", "EMPTY"], 2, "expected a token, one word of ASCII"),
        (["BUNDLE", "--secret-file", "EMPTY"], 2, "is empty, expected the secret"),
        (["BUNDLE", "--host", "192.0.2.1"], 2, "192.0.2.1:0: cannot listen there"),  # RFC 5737
        (["BROKEN"], 3, "CARD.md: found"),
    ],
)
def test_what_cannot_be_served_is_said(bundles, tmp_path, words, code, sentence, capfd):
    (tmp_path / "empty").touch()
    unsolved().save(tmp_path / "broken")
    (tmp_path / "broken" / "CARD.md").write_text("forged")
    places = {"BUNDLE": bundles / "1", "EMPTY": tmp_path / "empty", "BROKEN": tmp_path / "broken"}
    given = [str(places.get(word, word)) for word in words]
    assert main(["guard", "serve", *given, "--port", "0"]) == code
    assert sentence in capfd.readouterr().err


def test_without_the_extra_one_sentence_says_so(bundles, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("csa_games.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("csa_games.server", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["guard", "serve", str(bundles / "1")]) == 2
    assert "csa guard serve needs the extra serve: pip install" in capsys.readouterr().err
