"""An MCP server that does not end by itself: python stubborn_server.py FOLDER [mute].

It writes its number, and that of a program it starts, to FOLDER/running, ignores SIGTERM and the end of its stdin, and
notes in FOLDER which calls came and which were cancelled. With `mute` it never answers.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
child = subprocess.Popen(["sh", "-c", "trap '' TERM HUP; while :; do sleep 1; done"], stdin=subprocess.DEVNULL)
(folder / "part").write_text(f"{os.getpid()} {child.pid}")
(folder / "part").rename(folder / "running")


def send(number: int, **answer: object) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": number, **answer}), flush=True)


TOOL = {"name": "wait", "description": "Wait.", "inputSchema": {"type": "object", "properties": {}}}
while sys.argv[2:] != ["mute"]:
    line = sys.stdin.readline()
    if not line:
        break
    message = json.loads(line)
    match message.get("method"):
        case "initialize":
            version = message["params"]["protocolVersion"]
            about = {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "s", "version": "1"},
            }
            send(message["id"], result=about)
        case "tools/list":
            send(message["id"], result={"tools": [TOOL]})
        case "tools/call":
            (folder / "called").touch()
        case "notifications/cancelled":
            (folder / "cancelled").touch()
        case _ if "id" in message:
            send(message["id"], error={"code": -32601, "message": "no such method"})
while True:
    time.sleep(600)
