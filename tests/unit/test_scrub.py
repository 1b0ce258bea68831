import base64
import json
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swagent.metadata import merge
from swagent.model import Document
from swagent.scrub import Scrubber, is_secret_name, secrets_of

SECRET = 'p&ss "wörd"#1\\x'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(json.dumps(SECRET))[2:-2],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower().replace("p", "p"),
        shlex.quote(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_replaced_in_every_form_that_programs_write(form):
    shown = Scrubber([("db_password", SECRET)]).text(f"before {form} after")
    assert "<secret:db_password>" in shown and "rd" not in shown.replace("secret:db_password", "")


@given(st.binary(max_size=7), st.binary(max_size=7))
def test_a_secret_inside_a_longer_base64_text_is_replaced(before, after):
    secret = "correct-horse-battery"
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    shown = Scrubber([("key", secret)]).text(encoded)
    assert "<secret:key>" in shown
    for offset in range(3):
        inner = base64.b64encode(b"\0" * offset + secret.encode()).decode()[4:-4]
        assert inner not in shown


def test_every_line_of_a_key_is_a_secret():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nAbCdEfGhIjKlMnOpQrStUvWxYz012345\n-----END KEY-----"
    shown = Scrubber([("deploy_key", key)]).text("log: AbCdEfGhIjKlMnOpQrStUvWxYz012345")
    assert shown == "log: <secret:deploy_key>"


def test_short_values_and_ordinary_names_stay():
    assert Scrubber([("password", "1234")]).text("port 1234") == "port 1234"
    assert is_secret_name("db_password") and is_secret_name("ssh_key") and not is_secret_name("port")


def test_structures_are_scrubbed_in_keys_and_values():
    scrubber = Scrubber([("token", "abcdefgh")])
    assert scrubber.value({"abcdefgh": ["x abcdefgh", 1, None]}) == {"<secret:token>": ["x <secret:token>", 1, None]}


def test_what_heat_gave_us_is_found_secret_wherever_it_stands():
    content = {
        "os-collect-config": {"heat": {"password": "heat-password", "user_id": "not-secret-at-all"}},
        "deployments": [
            {
                "id": "1",
                "name": "d",
                "group": "chef",
                "config": {"attributes": {"db": {"password": "attribute-password"}}},
                "options": {"secrets": ["license"]},
                "inputs": [
                    {"name": "license", "type": "String", "value": "named-in-options"},
                    {"name": "deploy_password", "type": "String", "value": "signal-password"},
                    {"name": "port", "type": "Number", "value": 12345678},
                ],
            }
        ],
    }
    found = {
        value
        for _, value in secrets_of(merge([Document("heat", content)]), {"cfn": {"secret_access_key": "cfn-secret"}})
    }
    assert found >= {"heat-password", "attribute-password", "named-in-options", "signal-password", "cfn-secret"}
    assert not found & {"not-secret-at-all", 12345678}
