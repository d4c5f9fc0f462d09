#!/usr/bin/env python3
"""Says a line through the p2pchat that runs here, and prints what others say, until it ends. The next
call prints first what was said meanwhile, because it is the reader "client".

    client.py ops 'hello from Python'

The protocol is p2pchat(7): JSON lines over control.sock in the state directory.
"""
import json
import os
import socket
import sys
import unicodedata



def shown(text):
    """The text without codes that a terminal obeys. Further lines begin with a tab."""
    plain = "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "?" for c in text)
    return plain.replace("\n", "\n\t")


room, text = sys.argv[1:]
directory = os.environ.get("P2PCHAT_DIR") or os.path.expanduser("~/.local/state/p2pchat")
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(os.path.join(directory, "control.sock"))
    stream = connection.makefile("rw", encoding="utf-8", newline="\n")
    ready = json.loads(stream.readline())
    assert ready["type"] == "ready" and ready["protocol"] == 2, ready
    for request in [
        {"type": "command", "content": f"/join {room}"},
        {"type": "listen", "target": f"#{room}", "echo": False, "reader": "client"},
        {"type": "chat", "target": f"#{room}", "content": text, "id": 1},
    ]:
        stream.write(json.dumps(request) + "\n")
    stream.flush()
    for line in stream:
        event = json.loads(line)
        if event["type"] == "chat":
            print(f"{event['name']}: {shown(event['content'])}", flush=True)
        elif event["type"] == "error":
            sys.exit(shown(event["content"]))
        if "position" in event and "id" not in event:
            printed = {key: event[key] for key in ("target", "position") if key in event}
            stream.write(json.dumps({"type": "printed", **printed}) + "\n")
            stream.flush()
