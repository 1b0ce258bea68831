"""Exchanges with servers that behave and servers that do not."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from swagent.errors import TransportError
from swagent.openstack.http import Http, plain, same_origin
from tests.fake_cloud import FakeCloud


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        yield running


@pytest.mark.parametrize(
    "url, shown",
    [
        ("http://user:secret@h:1/p?Signature=x#f", "http://h:1/p"),
        ("https://h/p", "https://h/p"),
        ("http://[", "a URL that cannot be read"),
    ],
)
def test_a_url_in_a_message_has_no_secrets(url, shown):
    assert plain(url) == shown


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("http://h/a", "http://h:80/b", True),
        ("https://h/a", "https://h:443/", True),
        ("https://h/a", "http://h/a", False),
        ("http://h/a", "http://i/a", False),
        ("http://h:1/a", "http://h:2/a", False),
        ("http://h/a", "http://[", False),
    ],
)
def test_the_same_origin_is_scheme_host_and_port(one, other, same):
    assert same_origin(one, other) is same


def test_one_connection_serves_many_requests(cloud):
    cloud.objects["/swift/a"] = {"a": 1}
    http = Http()
    answers = [http.request("GET", f"{cloud.url}/swift/a") for _ in range(5)]
    assert [answer.json() for answer in answers] == [{"a": 1}] * 5
    assert cloud.connections == 1


def test_a_refused_connection_is_an_error_that_names_the_url_without_its_query():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(TransportError) as caught:
        Http().request("GET", f"http://127.0.0.1:{port}/x?Signature=secret")
    assert str(caught.value) == f"cannot reach http://127.0.0.1:{port}/x: connection refused; will retry"
    assert caught.value.status is None


def test_a_server_that_never_answers_is_given_up(cloud):
    cloud.fail = [lambda handler: time.sleep(1.5)]
    started = time.monotonic()
    with pytest.raises(TransportError, match="no answer in time"):
        Http(timeout=0.2).request("GET", f"{cloud.url}/swift/a")
    assert time.monotonic() - started < 1.4


def trickle(handler):
    """A body that never ends, a byte at a time: each read is in time."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    try:
        for _ in range(200):
            handler.wfile.write(b"x")
            time.sleep(0.02)
    except OSError:
        pass


def test_a_server_that_trickles_is_given_up_at_the_deadline(cloud):
    cloud.fail = [trickle]
    http = Http(timeout=0.5, deadline=0.6)
    with pytest.raises(TransportError, match="did not finish its answer within 0.6 s"):
        http.request("GET", f"{cloud.url}/swift/a")


def test_a_body_that_is_too_large_is_given_up(cloud):
    cloud.objects["/swift/a"] = b"x" * 200_000
    with pytest.raises(TransportError, match="more than 100000 bytes"):
        Http().request("GET", f"{cloud.url}/swift/a", ceiling=100_000)


def test_an_answer_that_is_cut_off_is_an_error(cloud):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"short")
        handler.close_connection = True

    cloud.fail = [cut]
    with pytest.raises(TransportError, match="will retry"):
        Http().request("GET", f"{cloud.url}/swift/a")


def redirect(target, status=302):
    return lambda handler: handler.say(status, b"", {"Location": target})


def test_a_redirect_on_the_same_host_is_followed(cloud):
    cloud.objects["/swift/b"] = {"b": 1}
    cloud.fail = [redirect("/swift/b")]
    assert Http().request("GET", f"{cloud.url}/swift/a").json() == {"b": 1}


def test_a_redirect_to_another_host_gets_no_credentials(cloud):
    with FakeCloud() as other:
        cloud.fail = [redirect(f"{other.url}/swift/a")]
        with pytest.raises(TransportError, match="redirects to another host"):
            Http().request("GET", f"{cloud.url}/swift/a", headers={"X-Auth-Token": "t"})
        assert other.requests == []


def test_a_circle_of_redirects_ends(cloud):
    cloud.fail = [redirect("/swift/a")] * 10
    with pytest.raises(TransportError, match="more than 3 times"):
        Http().request("GET", f"{cloud.url}/swift/a")


def test_a_post_is_not_made_a_get_by_a_redirect(cloud):
    cloud.fail = [redirect("/swift/b")]
    with pytest.raises(TransportError, match="redirects a POST"):
        Http().request("POST", f"{cloud.url}/swift/a", body=b"{}")
    assert len(cloud.requests) == 1


def test_a_server_that_speaks_no_http_is_an_error():
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"220 mail.example ESMTP\r\n")
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(TransportError, match="cannot reach http://127.0.0.1"):
        Http().request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    thread.join(5)
    listener.close()


def test_what_is_no_url_is_an_error():
    with pytest.raises(TransportError, match="not a URL"):
        Http().request("GET", "nonsense")


def test_netrc_is_not_read(cloud, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    cloud.fail = [lambda handler: (seen.append(handler.headers.get("Authorization")), handler.say(200))]
    Http().request("GET", f"{cloud.url}/swift/a")
    assert seen == [None]
