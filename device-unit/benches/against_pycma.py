#!/usr/bin/env python3
"""The search for a prefix beside pycma on two functions, and beside random candidates on the embedded unit.

    python3 -m venv /tmp/cma && /tmp/cma/bin/pip install cma==4.5.0
    cargo build --release -p softprefix && target/release/softprefix models fetch small
    /tmp/cma/bin/python device-unit/benches/against_pycma.py ~/.cache/softprefix/models/SmolLM2-135M-Instruct.Q4_1.gguf

The functions are those of core/tests/search.rs, which prints the figures of our own search and compares them with pycma's medians of the first
table: evaluations until a value of at most 1e-8, from the origin with a step size of 0.5 and the default population. On the unit,
`softprefix search` maximises the mean of ln p over the tokens of a text. Both methods start from the same rows, in the same subspace.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import cma

ROOT = pathlib.Path(__file__).parents[2]
SEEDS = range(1, 12)
FUNCTIONS = {
    "sphere": lambda x: sum((x - 1) ** 2),
    "rosenbrock": lambda x: sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
}


def evaluations(function, n, seed):
    """Evaluations of pycma until a value of at most 1e-8."""
    strategy = cma.CMAEvolutionStrategy(n * [0], 0.5, {"seed": seed, "verbose": -9})
    count = 0
    while not strategy.stop():
        points = strategy.ask()
        values = [function(point) for point in points]
        for value in values:
            count += 1
            if value <= 1e-8:
                return count
        strategy.tell(points, values)
    return float("inf")


def ours():
    """The medians that the test of core prints, by function and dimension."""
    command = "cargo test --locked --workspace --test search -- --nocapture sphere_and_rosenbrock".split()
    tested = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if tested.returncode != 0:
        sys.exit("the test of core failed")
    return {(name, int(n)): int(count) for name, n, count in re.findall(r"^(\w+) (\d+): (\d+) evaluations", tested.stdout, re.MULTILINE)}


def best(args, method, seed, folder):
    """The best mean of ln p that one search finds."""
    out = folder / "best.safetensors"
    command = [args.program, "search", "--model", args.model, "--prompt", args.prompt, "--text", args.text, "--max-tokens", "8"]
    command += ["--budget", str(args.budget), "--search-seed", str(seed), "--method", method]
    command += ["--out", out, "--journal", folder / f"{method}-{seed}.journal"]
    if subprocess.run([str(part) for part in command], stdout=sys.stderr).returncode != 0:
        sys.exit(f"{method} with seed {seed} failed")
    stored = out.read_bytes()
    header = json.loads(stored[8 : 8 + int.from_bytes(stored[:8], "little")])
    return json.loads(header["__metadata__"]["softprefix"])["score"]["likelihood"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/softprefix")
    parser.add_argument("--prompt", default="Tell me something.")
    parser.add_argument("--text", default="The harbour is quiet tonight.")
    parser.add_argument("--budget", type=int, default=150, help="runs of candidates")
    parser.add_argument("--seeds", type=int, default=3, help="searches with each method")
    args = parser.parse_args()

    print(f"| median evaluations over {len(SEEDS)} seeds | ours | pycma {cma.__version__} |\n|---|---|---|")
    for (name, n), count in ours().items():
        reference = statistics.median(evaluations(FUNCTIONS[name], n, seed) for seed in SEEDS)
        print(f"| {name}, {n} dimensions | {count} | {reference} |", flush=True)

    print(f"\n| best mean of ln p in {args.budget} runs |", *(f"seed {seed} |" for seed in range(args.seeds)), "median |")
    print("|---" * (args.seeds + 2) + "|")
    for method, name in [("cma-es", "CMA-ES"), ("random", "random candidates")]:
        with tempfile.TemporaryDirectory() as folder:
            found = [best(args, method, seed, pathlib.Path(folder)) for seed in range(args.seeds)]
        print(f"| {name} |", *(f"{value:.3f} |" for value in found), f"{statistics.median(found):.3f} |", flush=True)


if __name__ == "__main__":
    main()
