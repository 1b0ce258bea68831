"""Keystone's database and its first admin in one process: `keystone-manage db_sync`, then `bootstrap`.

Two calls of keystone-manage load all of Keystone twice, which is most of their time.

    /usr/bin/python3 keystone_setup.py KEYSTONE_CONF AUTH_URL PASSWORD
"""

from __future__ import annotations

import sys

from keystone.cmd import cli

configuration, url, password = sys.argv[1:]
common = ["keystone-manage", "--config-file", configuration]
cli.main(common + ["db_sync"])
bootstrap = ["bootstrap", "--bootstrap-password", password, "--bootstrap-region-id", "RegionOne"]
for interface in ("public", "internal", "admin"):
    bootstrap += [f"--bootstrap-{interface}-url", url]
# cli.main would declare its options a second time.
cli.CONF(args=common[1:] + bootstrap, project="keystone")
cli.CONF.command.cmd_class.main()
