"""``vpmim bench``."""

from __future__ import annotations

from typing import Annotated

import typer

from gazekit_cli.completion import names_in
from gazekit_cli.console import note, progress, summary


def bench(
    configs: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="NAME|FILE.toml",
            help="A method; may be repeated. Default: vp_mim and mae.",
            autocompletion=names_in("vpmim.config:config_names"),
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    images: Annotated[int, typer.Option(help="Random images to train on, at least a batch.")] = 2048,
    steps: Annotated[int, typer.Option(help="Steps of a round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds; figures are their medians.")] = 3,
    plain: Annotated[
        bool, typer.Option("--plain/--no-plain", help="Measure the same methods as they are usually written, too.")
    ] = True,
    peak_tflops: Annotated[
        float | None,
        typer.Option(help="Peak rate of the device, for utilisation; default its datasheet's, or one measured here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object on stdout.")] = False,
) -> None:
    """Measure how fast methods train here: images a second, FLOP utilisation, memory, input stall, parts of a step.

    Each method is measured beside a plain form of itself in the same run: images cropped one by one on the host, masks
    picked by nonzero, nothing compiled, fp16 autocast on a GPU and fp32 on a CPU.

    Examples:

    ```
    vpmim bench --set train.batch_size=1024
    vpmim bench --config vp_mim --device cpu --steps 2 --images 32 --set train.batch_size=8 --set data.input_size=112
    ```
    """
    from vpmim.bench import bench as run_bench
    from vpmim.bench import summary_values
    from vpmim.config import load_config

    chosen = {name: load_config(name, overrides or []) for name in configs or ["vp_mim", "mae"]}
    parts = len(chosen) * (2 if plain else 1)
    begun = 0
    with progress("measuring", None, "forms") as advance:

        def say(line: str) -> None:
            nonlocal begun
            note(line)
            advance(begun, parts)
            begun += 1

        done = run_bench(
            chosen,
            device=device,
            images=images,
            steps=steps,
            rounds=rounds,
            plain=plain,
            peak_tflops=peak_tflops,
            say=say,
        )
    values, rows = summary_values(done)
    summary(values, as_json=as_json, title="bench", table=rows)
