"""heat-api, heat-api-cfn or heat-engine of Debian 12 with two remedies; nothing in the packages is edited.

Both change only how Heat speaks to Keystone and to its own notifier: an agent sees the stock protocol.

1. Keystone 22.0.2-0+deb12u (CVE-2025-65073) wants a service user's token with POST /v3/ec2tokens, and heat-api-cfn
   19.0.0-3 sends none: every signed request would be 403 AccessDenied. Keystone asks before it looks at its policy,
   so no policy helps. Here Heat's request carries the token of Heat's own service user.
2. oslo.messaging 14.0.3-0+deb12u1 takes the credentials out of a notification's context; Heat's StoredContext then
   asks Keystone, without any, which roles it has, and each ScalingPolicy signal dies after its 200. Here the context
   without credentials says that it has nothing more to ask.

    /usr/bin/python3 heat_daemon.py api|api_cfn|engine --config-file HEAT_CONF
"""

from __future__ import annotations

import importlib
import sys

name = sys.argv.pop(1)
# First of all: it puts eventlet's own sockets and threads in the place of Python's.
command = importlib.import_module(f"heat.cmd.{name}")

import requests  # noqa: E402
from heat.common import context  # noqa: E402
from keystoneauth1 import loading, session  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_messaging.notify import notifier  # noqa: E402


class ServiceToken(requests.auth.AuthBase):
    """Adds the service user's token; one that Keystone no longer takes is replaced by keystoneauth at its expiry."""

    session = None

    def __call__(self, request):
        if self.session is None:
            own = cfg.CONF.keystone_authtoken
            user = loading.get_plugin_loader("password").load_from_options(
                auth_url=own.www_authenticate_uri,
                username=own.username,
                password=own.password,
                project_name=own.project_name,
                user_domain_id="default",
                project_domain_id="default",
            )
            self.session = session.Session(auth=user)
        request.headers["X-Auth-Token"] = self.session.get_token()
        return request


class Requests:
    """What heat.api.aws.ec2token uses of the module `requests`."""

    token = ServiceToken()

    def post(self, url, **more):
        return requests.post(url, auth=self.token, **more)


def ask_nothing_more(sanitize):
    def sanitized(ctxt):
        safe = sanitize(ctxt)
        if isinstance(safe, context.StoredContext):
            safe._keystone_loaded = True
        return safe

    return sanitized


if name == "api_cfn":
    from heat.api.aws import ec2token

    ec2token.requests = Requests()
notifier._sanitize_context = ask_nothing_more(notifier._sanitize_context)
sys.argv[0] = "heat-" + name.replace("_", "-")
sys.exit(command.main())
