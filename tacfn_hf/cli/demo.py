"""
Serves a demo of a model for the browser: a microphone or a file, the words, scores as bars, and beta as a dial.

    tacfn demo runs/my-model
    tacfn demo user/my-model --space my-space

It listens on loopback, so that only this computer reaches it, unless --server_name says otherwise. What is uploaded is
deleted after ten minutes, and when the demo ends. --space writes the three files of a Space on the Hub, in place of
serving. Both need gradio: pip install 'tacfn-hf[demo]'.
"""

import os
import signal
import tempfile
from dataclasses import dataclass, field

from .parsing import CommandParser


@dataclass
class DemoArguments:
    """Where the demo is served, or written."""

    space: str | None = field(default=None, metadata={"help": "New folder for the files of a Space."})
    server_name: str = field(default="127.0.0.1", metadata={"help": "Address to listen on; 0.0.0.0 is all."})
    server_port: int | None = field(default=None, metadata={"help": "Port (default: the first free one from 7860 on)."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    """Serves the demo until it is interrupted, or writes a Space."""
    parser = CommandParser((DemoArguments,), prog="tacfn demo", description=__doc__)
    parser.add_argument("model", help="Trained model with its processor: a folder or a Hub id.")
    args, place = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    try:
        from gradio import Blocks  # noqa: F401 (what pip leaves of gradio can still be imported)
    except ImportError as error:
        raise ImportError(
            f"{error.name} is needed for a demo, and is not installed: pip install 'tacfn-hf[demo]'"
        ) from error
    if args.space is not None:
        if args.server_port is not None or args.server_name != DemoArguments.server_name:
            parser.error("server_name and server_port are for serving, and not for --space")
        from ..deployment.space import write_space

        write_space(args.space, place.model)
        print(f"{args.space}: {', '.join(sorted(os.listdir(args.space)))}")
        print(f"hf upload YOUR-NAME/NAME {args.space} . --repo-type space")
        return

    from .predict import load_recognizer

    recognizer = load_recognizer(parser, place.model, args.use_cpu)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.default_int_handler)  # so that they, too, leave nothing behind
    with tempfile.TemporaryDirectory(prefix="tacfn-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when the demo is built

        from ..deployment.demo import build_demo, launch_demo

        title = os.path.basename(os.path.normpath(place.model))
        launch_demo(build_demo(recognizer, title), server_name=args.server_name, server_port=args.server_port)
