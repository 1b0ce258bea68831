"""The `heat` source: this server's metadata by Heat's REST API, one request per idle poll.

Our own client: os-collect-config's logs in anew at every poll and loads 76 MB of OpenStack clients (Debian 12).
"""

from __future__ import annotations

from typing import Any, Mapping

from swagent.collectors.found import Found
from swagent.metadata import check_document
from swagent.openstack import credentials
from swagent.settings import Settings


class Heat:
    """Options as in the metadata's `os-collect-config.heat`: auth_url, user_id, password, project_id, stack_id,
    resource_name, region_name; and ca_certificate, timeout (seconds)."""

    def __init__(self, options: Mapping[str, Any], settings: Settings) -> None:
        auth_url, user_id, password, project_id, self.stack_id, self.resource_name = credentials.require(
            options, "heat", "auth_url", "user_id", "password", "project_id", "stack_id", "resource_name"
        )
        timeout = credentials.timeout(options, "heat")
        from swagent.openstack import http, keystone  # here: a machine without this source never loads requests

        self.session = keystone.Session(
            keystone.Credentials(auth_url, user_id, password, project_id, str(options.get("region_name") or "")),
            http.Http(timeout, str(options.get("ca_certificate") or "")),
        )

    def collect(self) -> Found:
        from swagent.openstack import heat

        content = heat.metadata(self.session, self.stack_id, self.resource_name)
        return Found((("heat", check_document(content, "heat")),))
