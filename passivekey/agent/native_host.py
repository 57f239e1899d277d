# SPDX-License-Identifier: GPL-3.0-or-later
"""The native messaging host: a browser's extension asks for cookies, one JSON message at a time.

A message is its length in 4 octets of the machine's order, and JSON in UTF-8 (Chrome's and Firefox' native messaging protocol). The only
question is {"want": "cookies"}; what an extension may see are cookies that only the server can read.
"""

from __future__ import annotations

import json
import struct
from typing import BinaryIO

from passivekey.agent import enrollment, state
from passivekey.agent.client import ServerError
from passivekey.agent.container import ContainerError
from passivekey.agent.secret_store import SecretStoreError

LONGEST = 4096
"""Of a question; the browsers' own limit of answers is 1 MB."""


def serve(agent: enrollment.Agent, questions: BinaryIO, answers: BinaryIO) -> None:
    """Until the browser closes its end."""
    while True:
        head = questions.read(4)
        if len(head) < 4:
            return
        (length,) = struct.unpack("@I", head)
        content = questions.read(min(length, LONGEST))
        if length > LONGEST:
            return  # no extension of ours
        answer = json.dumps(_answer(agent, content)).encode()
        answers.write(struct.pack("@I", len(answer)) + answer)
        answers.flush()


def _answer(agent: enrollment.Agent, content: bytes) -> dict[str, object]:
    try:
        question = json.loads(content)
    except ValueError:
        return {"error": "no JSON"}
    if question != {"want": "cookies"}:
        return {"error": 'there is one question: {"want": "cookies"}'}
    try:
        found = agent.load()
        if found is None:
            return {"error": state.notice(agent.places) or "not enrolled"}
        policy = agent.current_policy(found)
        return {"interval": policy["interval"], "cookies": enrollment.cookies(found, policy, agent.clock())}
    except (ServerError, ContainerError, SecretStoreError) as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": state.told(error)}


def main() -> int:
    """`passivekey-native-host`: what browsers start; their arguments say who asks, which their manifest has judged already."""
    from passivekey.agent import cli

    return cli.main(["native"])
