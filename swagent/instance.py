"""Which machine this is: state belongs to an instance, and a machine made from a snapshot of it is another one."""

from __future__ import annotations

import hashlib
from pathlib import Path

# In this order: what cloud-init was told, the hypervisor's word, the installed system's own.
SOURCES = ("/var/lib/cloud/data/instance-id", "/sys/class/dmi/id/product_uuid", "/etc/machine-id")


def read_instance(root: Path) -> str:
    """cloud-init's instance-id, else the DMI uuid, else the machine-id; below another root, one of that root's own.

    Members that share a machine (--root) would share its identity, so the root's path goes into theirs.
    """
    own = root / SOURCES[0].lstrip("/")
    if root != Path("/") and own.is_file():
        return own.read_text("utf-8", "replace").strip()
    for source in SOURCES:
        try:
            text = Path(source).read_text("utf-8", "replace").strip()
        except OSError:
            continue
        if text and text != "uninitialized":
            if root != Path("/"):
                return hashlib.sha256(f"{text} {root}".encode()).hexdigest()[:32]
            return text
    return hashlib.sha256(f"no identity {root}".encode()).hexdigest()[:32]
