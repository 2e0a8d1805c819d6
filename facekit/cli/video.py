"""``facekit video``: find and follow the faces in a video, a stream or a camera."""

from __future__ import annotations

import argparse
import functools
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from facekit.cli import (
    add_limits,
    add_model,
    add_server,
    check_output,
    file_name,
    limits_of,
    positive_number,
    whole_number,
)
from facekit.errors import ConfigError
from facekit.text import show


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "video",
        help="find and follow faces in a video, a stream or a camera",
        description="Find the faces in a video and follow them from frame to frame. A file is "
        "looked at whole; of a stream or a camera the newest frames that the server keeps up with. "
        "Ctrl-C ends a stream.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a file, a pattern of pictures such as shots/%%04d.png, an rtsp:// or http(s):// "
        "address, or a camera such as /dev/video0",
    )
    add_server(parser, "gRPC address of a running server (default: an embedded one is started)")
    add_model(parser)
    add_limits(parser)
    for option, what in (
        ("--out", "write the video with the faces drawn to FILE, an MP4"),
        ("--jsonl", "write a line of JSON a frame: its time, its faces, their tracks"),
        ("--events", "write a line of JSON an event: counts a second, alerts, gaps"),
    ):
        parser.add_argument(option, metavar="FILE", type=file_name, help=what)
    parser.add_argument("--show", action="store_true", help="show the frames in a window")
    parser.add_argument(
        "--mjpeg",
        metavar="HOST:PORT",
        help="show the frames to browsers on this machine at this address",
    )
    parser.add_argument(
        "--every",
        metavar="N",
        type=whole_number(1),
        default=1,
        help="look at one frame of N of a file; faces in between are interpolated (default: 1)",
    )
    parser.add_argument(
        "--no-smooth", action="store_true", help="leave the landmarks as they are found"
    )
    parser.add_argument(
        "--alert-after",
        metavar="SECONDS",
        type=positive_number,
        help="with --model facemask_ensemble: an event when somebody without a mask stays longer",
    )
    parser.add_argument(
        "--on-alert",
        metavar="COMMAND",
        help="run a command at each of these events, which is in its variable FACEKIT_EVENT",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a file's run that was stopped"
    )
    parser.add_argument(
        "--seconds", metavar="S", type=positive_number, help="end a stream after S seconds"
    )


def run(args: argparse.Namespace) -> int:
    """Look at the video; return 1 if the server could not look at a frame."""
    from facekit.outputs import is_our_picture
    from facekit.runs import connect
    from facekit.video.outputs import Hook, is_our_events, is_our_jsonl
    from facekit.video.run import VideoOptions, run_video
    from facekit.video.source import VideoFile, is_live
    from facekit.video.views import MjpegServer, Window

    masks = args.model == "facemask_ensemble"
    if args.alert_after is not None and not masks:
        raise ConfigError("--alert-after goes with --model facemask_ensemble")
    if args.on_alert is not None and args.alert_after is None:
        raise ConfigError("--on-alert goes with --alert-after")
    for path, is_ours in (
        (args.out, is_our_picture),
        (args.jsonl, is_our_jsonl),
        (args.events, is_our_events),
    ):
        if path is not None:
            check_output(path, is_ours, [Path(args.source)])
    if args.out is not None and args.out.suffix.lower() != ".mp4":
        raise ConfigError(f"--out: expected the name of an .mp4, got {args.out}")
    options = VideoOptions(
        model=args.model,
        limits=limits_of(args),
        every=args.every,
        smooth=not args.no_smooth,
        out=args.out,
        jsonl=args.jsonl,
        events=args.events,
        alert_after_s=args.alert_after,
        hook=None if args.on_alert is None else Hook(args.on_alert),
        resume=args.resume,
        seconds=args.seconds,
    )
    say = functools.partial(show, stream=sys.stderr)
    with ExitStack() as stack:
        views: list[Window | MjpegServer] = []
        if args.show:
            views.append(stack.enter_context(Window()))
        if args.mjpeg is not None:
            server = stack.enter_context(MjpegServer(args.mjpeg))
            views.append(server)
            say(f"the video is at {server.url}")
        options = replace(options, views=tuple(view.show for view in views))
        # Before a server is started. A stream would break until that is ready.
        video = None if is_live(args.source) else stack.enter_context(VideoFile(args.source))
        if video is not None and video.endless:
            video.close()
            video = None
        client = stack.enter_context(
            connect(args.url, timeout_s=args.timeout, tls_certificate=args.tls_cert)
        )
        if video is None:
            # The usual ends of a stream: the frame that is being written is written whole.
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, lambda *_: options.stop.set())
                stack.callback(signal.signal, number, before)
        summary = run_video(args.source, client, options, say, video)
    show(summary.line())
    return int(summary.failed > 0)
