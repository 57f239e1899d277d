# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in as a service: one appliance with its data plane (the lab's host vpn1), or many control planes in one process.

    python3 -m lab.connect_secure --folder /var/lib/connect_secure --secrets /etc/connect_secure --address 10.83.0.30 --external …
    python3 -m lab.connect_secure --folder build/many --count 200 --first 127.1.0.1 --port 8443

Ends with SIGTERM, or by SIGKILL at any time: the state of the one is on disk at all times. The many keep theirs in memory, and write
beneath `--folder` `appliances.json` (addresses, port, administrator, password, CA file) once all of them listen, and `metrics.json`
(by address) each half second.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import signal
import sys
import threading
from pathlib import Path

from lab.connect_secure import server
from lab.connect_secure.appliance import DataPlane


def main() -> int:
    arguments = _arguments()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    folder = Path(arguments.folder)
    if arguments.count:
        fleet = server.start_many(folder, arguments.first, arguments.count, port=arguments.port, version=arguments.version)
        while not ended.wait(0.5):
            fleet.save_metrics()
        fleet.stop()
        return 0
    secrets = Path(arguments.secrets)
    administrator = json.loads((secrets / "administrator.json").read_text())
    handle = server.start(
        folder,
        arguments.address,
        arguments.port,
        certificate=secrets / "management.pem",
        key=secrets / "management.key",
        admin=administrator["name"],
        password=administrator["password"],
        version=arguments.version,
        node=arguments.node,
        data_plane=_data_plane(arguments),
        log=server.log,
    )
    server.log(f"{handle.url} answers")
    ended.wait()
    handle.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m lab.connect_secure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", required=True, help="where the state is kept, with faults.json and metrics.json")
    parser.add_argument("--secrets", help="folder with administrator.json, management.pem, management.key for a new appliance")
    parser.add_argument("--address", default="127.0.0.1", help="of the management port")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--version", default="22.7R2.10")
    parser.add_argument("--node", default="localhost2", help="name of the cluster node")
    parser.add_argument("--external", help="address of the external port: with it comes a data plane")
    parser.add_argument("--inner", help="address in the inner network")
    parser.add_argument("--pool", help="network that tunnels get their addresses from")
    parser.add_argument("--count", type=int, default=0, help="so many control planes alone, at addresses that follow each other")
    parser.add_argument("--first", default="127.1.0.1", help="the first of those addresses")
    arguments = parser.parse_args()
    if not arguments.count and not arguments.secrets:
        parser.error("--secrets is required but with --count")
    return arguments


def _data_plane(arguments: argparse.Namespace) -> DataPlane | None:
    """The tunnels of this appliance; none without an external address."""
    if arguments.external is None or importlib.util.find_spec("lab.connect_secure.data.runner") is None:
        return None
    runner = importlib.import_module("lab.connect_secure.data.runner")
    made: DataPlane = runner.DataPlane(
        Path(arguments.folder) / "data", arguments.external, inner=arguments.inner, pool=arguments.pool, node=arguments.node
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
