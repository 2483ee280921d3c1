"""An inventory to copy: your hosts, in the groups whose settings stand in `group_data/`.

    pyinfra inventories/example.py deploys/preflight.py     look, change nothing
    pyinfra inventories/example.py deploys/site.py          converge and verify
    pyinfra inventories/example.py deploys/verify.py        verify again, any time

Every setting, its default and what it may be: docs/settings.md.
"""

# Pin the release and its hash here once, for all hosts. The hash is published beside the file:
#   curl -fsSL https://storage.googleapis.com/gvisor/releases/release/20260905/x86_64/gvisor.tar.bz2.sha512
_GVISOR = {
    "gvisor_release": "20260905",
    "gvisor_sha512": {"x86_64": "REPLACE-BY-THE-128-HEX-DIGITS"},
}

# The login: root's, or one that may use sudo without a password. Its key comes from the SSH agent or ~/.ssh.
# A host whose own key is not in ~/.ssh/known_hosts is not believed.
_SSH = {"ssh_user": "admin", "ssh_strict_host_key_checking": "yes"}

# Discrete GPUs on x86_64: containers get the GPUs that they ask for, one or many.
auto = [
    ("gpu-1.example.org", {**_GVISOR, **_SSH}),
    ("gpu-2.example.org", {**_GVISOR, **_SSH}),
    # A host in use: only --runtime=nvidia-gvisor leads to gVisor there, and nothing of its own is changed.
    ("gpu-3.example.org", {**_GVISOR, **_SSH, "layout": "dedicated"}),
]

# Hosts on which the toolkit takes devices and libraries from CSV files (mode csv).
csv = []
