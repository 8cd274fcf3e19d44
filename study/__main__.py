"""The verbs beside the door: `python -m study` lists them, `python -m study VERB --help` explains one."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence

from study.threads import settle, wanted

VERBS: dict[str, tuple[str, str]] = {  # verb: the module with `add(parser)` and `run(options)`, and a line
    "check": ("study.verbs.check", "read study files at every scale; every mistake at once"),
    "plan": ("study.verbs.plan", "arms, trials, what stands, what it costs, what its seeds can show"),
    "status": ("study.verbs.status", "planned, running, done, failed by cause; time left"),
    "why": ("study.verbs.why", "why a trial would or would not run again"),
    "diff": ("study.verbs.diff", "what differs between two study files, or between two trials"),
    "retry": ("study.verbs.retry", "run the trials again that failed"),
    "stop": ("study.verbs.stop", "end a study that is running; every trial writes a checkpoint first"),
    "pictures": (
        "study.verbs.pictures",
        "draw what trials see: views, alignment maps, matches, attention, montages, as PNG files",
    ),
    "submit": ("study.verbs.submit", "hand a study to a running Ray cluster and follow its log"),
    "evaluate": (
        "study.verbs.evaluate",
        "add the evaluations that finished trials lack, without training again",
    ),
    "claims": ("study.verbs.claims", "judge the claims; exit code 5 when a gated one is not supported"),
    "confirm": (
        "study.verbs.confirm",
        "run the best again with fresh seeds: how much better it looked than it is",
    ),
    "report": ("study.verbs.report", "one HTML page of every answer, from the tables, and its twins"),
    "verify": ("study.verbs.verify", "work out every number of a report anew; exit code 1 where one differs"),
    "schema": ("study.verbs.schema", "the JSON Schema of study files, for editors"),
    "bench": ("study.verbs.bench", "measure this machine: views, region-loss, knn, sweep, tables"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; see `python -m study`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    settle(wanted(arguments))  # before anything imports torch
    from study.commandline import EXIT_CODES, Parser
    from study.mistake import EXIT_MISTAKE, Mistakes, nearest

    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing() + "\n\n" + EXIT_CODES)
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        print(
            f"python -m study: there is no verb '{verb}'.{nearest(verb, VERBS)}\n{listing()}", file=sys.stderr
        )
        return EXIT_MISTAKE
    name, line = VERBS[verb]
    module = importlib.import_module(name)
    parser = Parser(prog=f"python -m study {verb}", description=module.__doc__ or line)
    module.add(parser)
    options = parser.parse_args(rest)
    try:
        return int(module.run(options))
    except Mistakes as error:
        if getattr(options, "json", False):
            print(json.dumps({"mistakes": error.records()}, indent=1))
        else:
            print(error, file=sys.stderr)
        return EXIT_MISTAKE
    except BrokenPipeError:  # `| head` has read enough
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1


def listing() -> str:
    """The verbs, a line each."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {line}" for verb, (_, line) in VERBS.items()]
    return "\n".join(
        ["python -m study.run FILE runs a study or continues it. Beside it, python -m study VERB:", *lines]
    )


if __name__ == "__main__":
    raise SystemExit(main())
