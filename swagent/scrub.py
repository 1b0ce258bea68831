"""Secrets by value: which inputs are secret, and a scrubber that replaces them in text, whatever form they took.

Every stream that swagent emits or keeps passes here: logs, records, signals, contexts, facts.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from typing import Any, Iterable, Iterator, Mapping, Tuple
from urllib.parse import quote, quote_plus

from swagent.model import Metadata

SECRET_NAME = re.compile(r"password|passwd|secret|token|key|credential|private", re.IGNORECASE)
# Deeper in documents, where "key" names many things, only what can be nothing else.
CREDENTIAL_NAME = re.compile(r"password|passwd|secret|(^|_)token$|private_key|(api|access|auth)_key$", re.IGNORECASE)
# A shorter value would blot out ordinary words and numbers; names are hidden whatever the length.
SHORTEST = 6


def is_secret_name(name: str) -> bool:
    return SECRET_NAME.search(name) is not None


def secrets_of(metadata: Metadata, sources: Mapping[str, Mapping[str, Any]]) -> Iterator[Tuple[str, Any]]:
    """(name, value) of every secret that Heat or the settings gave us: secret inputs, signal addresses, credentials."""
    for deployment in metadata.deployments:
        named = deployment.options.get("secrets") or ()
        for each in deployment.inputs:
            if each.name in named or each.name == "deploy_signal_id" or is_secret_name(each.name):
                yield each.name, each.value
        yield from named_secrets(deployment.config)
    documents = (document.content for document in metadata.documents)
    for section in (metadata.content.get("os-collect-config"), *documents, sources):
        yield from named_secrets(section)


def named_secrets(value: Any) -> Iterator[Tuple[str, Any]]:
    """(key, value) wherever a map below `value` has a key that can only name a secret, or a URL that carries one."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(each, (Mapping, list, tuple)):
                yield from named_secrets(each)
            elif isinstance(each, str) and (CREDENTIAL_NAME.search(str(key)) or "temp_url_sig=" in each):
                yield str(key), each
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from named_secrets(each)


def secret_values(value: Any) -> Iterator[str]:
    """The texts in a secret value: itself, or every leaf of a list or map; lines of a key count on their own."""
    if isinstance(value, str):
        if len(value) >= SHORTEST:
            yield value
        if "\n" in value:
            yield from (line for line in value.split("\n") if len(line) >= 16 and "-----" not in line)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from secret_values(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from secret_values(each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and len(str(value)) >= SHORTEST:
        yield str(value)


def forms(secret: str) -> Iterator[str]:
    """The secret as programs write it: plain, quoted for JSON, shell and Ruby, in URLs, in base64 at three offsets."""
    yield secret
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]):
        yield escaped
        yield json.dumps(escaped)[1:-1]  # JSON text inside JSON text, as Heat carries a config
    yield shlex.quote(secret)
    # Ruby's inspect escapes these where they would interpolate.
    yield re.sub(r"#(?=[{$@])", r"\\#", json.dumps(secret, ensure_ascii=False)[1:-1])
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match.group().lower(), quoted)
    data = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        # Inside a longer text the first and last characters of base64 mix with the neighbours: drop those.
        encoded = base64.b64encode(b"\0" * offset + data).decode()
        inner = encoded[(offset * 8 + 5) // 6 : len(encoded) - (4 if (offset + len(data)) % 3 else 0)]
        if len(inner) >= SHORTEST:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


class Scrubber:
    """Replaces every known secret by <secret:NAME>. Build it once per run: {name: value} pairs, later ones add."""

    def __init__(self, secrets: Iterable[Tuple[str, Any]] = ()) -> None:
        self.names: dict[str, str] = {}
        for name, value in secrets:
            for text in secret_values(value):
                for form in forms(text):
                    if len(form) >= SHORTEST:
                        self.names.setdefault(form, name)
        # Longest first, so that a secret inside a longer one does not leave the rest of it standing.
        self._pattern = (
            re.compile("|".join(re.escape(form) for form in sorted(self.names, key=len, reverse=True)))
            if self.names
            else None
        )
        self.longest = max(map(len, self.names), default=0)
        # The first 1, 2 … SHORTEST characters of each form: a quick look before the thorough one.
        self._starts = {form[:length] for form in self.names for length in range(1, SHORTEST + 1)}

    def text(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: f"<secret:{self.names[match.group()]}>", text)

    def take(self, text: str) -> Tuple[str, str]:
        """Of a stream's text so far: what can go out, scrubbed, and the rest, which may begin a secret."""
        if self._pattern is None:
            return text, ""
        cut = self._possible_start(text)
        for match in self._pattern.finditer(text):
            if match.start() < cut < match.end():
                cut = match.end()
        return self.text(text[:cut]), text[cut:]

    def _possible_start(self, text: str) -> int:
        """Where the text's end may begin a secret; its length where it cannot."""
        for position in range(max(0, len(text) - self.longest + 1), len(text)):
            if text[position : position + SHORTEST] in self._starts:
                rest = text[position:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in self.names):
                    return position
        return len(text)

    def value(self, value: Any) -> Any:
        """The same structure with every text scrubbed, map keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(each) for each in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and str(value) in self.names:
            return self.text(str(value))
        return value
