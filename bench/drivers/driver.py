"""What the peers' drivers share: questions on standard input, answers on what was standard output."""

import json
import os
import resource
import sys


def claim_output():
    """Keeps standard output for the answers; what the peer prints goes to standard error, a file, from here on."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def serve(answers, operations):
    """Answers questions until the input ends."""
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        question = json.loads(line)
        operation = operations[question.pop("op")]
        try:
            answer = operation(**question)
        except Exception as error:  # Whatever a peer raises is its answer.
            answer = {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        else:
            answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answers.write(json.dumps(answer) + "\n")
