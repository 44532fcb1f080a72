#!/usr/bin/env python3
"""Trains an adapter with jax and learns rows with `softprefix learn`, on the same weights and examples, and prints how likely each makes the
same held-out text.

    python3 -m venv /tmp/jax && /tmp/jax/bin/pip install gguf==0.19.0 jax numpy safetensors
    cargo build --release -p softprefix -p softprefix-unit && target/release/softprefix models fetch small
    /tmp/jax/bin/python device-unit/benches/against_jax.py ~/.cache/softprefix/models/SmolLM2-135M-Instruct.Q4_1.gguf

The adapter is prompt tuning (Lester 2021): Adam on the rows, with the forward pass of tests/fixtures/gradient/model.py in f32 and jax's
derivative, on the weights of the same file. Only the token ids come from the unit. It starts from the same rows, sees the examples in the same
order, takes as many steps of the same size, and keeps its rows within the same norms; what differs is who computes. It is written as a PEFT
folder, and `softprefix sweep --prefix-file` reads it as any other: what it read must be the rows that are scored.

Every figure of a text is the mean of -ln p over the tokens of the held-out answers and the ends of their turns. One column is the
unit's own (`softprefix.score`), the other that of jax with the same rows, rounded to bf16 as they are sent. Learning here also evaluates all
examples once per pass, which is in its seconds; those of jax are without compilation. The rows stay in --out.
"""

import argparse
import atexit
import base64
import hashlib
import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import deserialize, safe_open
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).parents[2]
sys.path.append(str(ROOT / "device-unit/tests/fixtures/gradient"))
from model import Model  # noqa: E402

SYSTEM = "You are a helpful assistant. Answer in the language of the request."
MANNER = (
    'Answer as an old lighthouse keeper who writes a log book: begin with "Log," and the time or the weather, then two or three short, '
    "dry sentences."
)
SHOWN = "What is snow?"


class Unit:
    """A `softprefix-unit` with the model, spoken to in lines of JSON."""

    def __init__(self, program, model):
        command = [program, "--listen", "127.0.0.1:0", "--model", model]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1", "RUST_LOG": "info"})
        atexit.register(self.process.terminate)
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"listening on (\S+):(\d+)", line):
                break
        else:
            sys.exit("".join(said))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.address = f"{found[1]}:{found[2]}"
        self.lines = socket.create_connection((found[1], int(found[2]))).makefile("rw", encoding="utf-8", newline="\n")
        self.model = pathlib.Path(model).stem
        setup = {"model": self.model, "response_format": "llm.utf-8", "input": "llm.utf-8", "enoutput": True, "prompt": SYSTEM}
        self.task = self.ask("llm", "setup", setup | {"max_token_len": 1024})["work_id"]

    def ask(self, work_id, action, data):
        request = {"request_id": "r", "work_id": work_id, "action": action, "object": action, "data": data}
        self.lines.write(json.dumps(request, ensure_ascii=False) + "\n")
        self.lines.flush()
        reply = json.loads(self.lines.readline())
        if reply["error"]["code"] != 0:
            sys.exit(f"{action}: {reply['error']['message']}")
        return reply

    def tokens(self, text):
        return [token["id"] for token in self.ask(self.task, "softprefix.embed", {"text": text})["data"]["tokens"]]

    def example(self, prompt, target):
        """Token ids before the answer, and of the answer."""
        turns = [("system", SYSTEM), ("user", prompt)]
        before = "".join(f"<|im_start|>{who}\n{text}<|im_end|>\n" for who, text in turns) + "<|im_start|>assistant\n"
        counted = self.ask(self.task, "softprefix.budget", {"text": prompt})["data"]
        ids = self.tokens(before)
        assert len(ids) == counted["template"] + counted["prompt"], "the unit's template is another"
        return ids, self.tokens(f"{target}<|im_end|>")

    def scores(self, prompt, answer, rows):
        """ln p of each token of the answer behind these rows; none are no prefix."""
        prefix = {"against": {"len": len(rows), "data_b64": base64.b64encode(sent(rows).tobytes()).decode()}} if len(rows) else {}
        reply = self.ask(self.task, "softprefix.score", {"prompt": prompt, "tokens": answer} | prefix)
        return reply["data"]["base"]["logprobs"]


def sent(rows):
    return np.asarray(rows).astype(jnp.bfloat16)


def digest(rows):
    return hashlib.sha256(sent(rows).tobytes()).hexdigest()


class Texts:
    """Examples as arrays, each filled up to the longest: the rows after a text's end change nothing before it."""

    def __init__(self, examples):
        longest = max(len(before) + len(answer) for before, answer in examples) - 1
        most = max(len(answer) for _, answer in examples)
        self.ids = np.zeros((len(examples), longest), int)
        # The row after which each token of the answer is predicted, the token, and whether there is one.
        self.places, self.wanted, self.counts = np.zeros((3, len(examples), most), int)
        for number, (before, answer) in enumerate(examples):
            fed = before + answer[:-1]
            self.ids[number, : len(fed)] = fed
            self.places[number, : len(answer)] = np.arange(len(before) - 1, len(fed))
            self.wanted[number, : len(answer)] = answer
            self.counts[number, : len(answer)] = 1

    def part(self, numbers):
        return [values[numbers] for values in (self.ids, self.places, self.wanted, self.counts)]


def loss(model, rows, texts):
    """Mean of -ln p over the tokens of the answers, with these rows in front."""

    def likely(ids, places, wanted):
        stream = model.stream(jnp.concatenate([rows, model.tensors["token_embd.weight"][ids]]))
        return model.predictions(stream[len(rows) + places])[jnp.arange(len(wanted)), wanted]

    ids, places, wanted, counts = texts
    return -(jax.vmap(likely)(ids, places, wanted) * counts).sum() / counts.sum()


def orders(examples, seed):
    """The examples in the order in which the unit takes them: Fisher and Yates' shuffle, again and again, by SplitMix64."""
    word = (1 << 64) - 1
    while True:
        order = list(range(examples))
        for last in range(examples - 1, 0, -1):
            seed = (seed + 0x9E3779B97F4A7C15) & word
            mixed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & word
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & word
            other = (mixed ^ (mixed >> 31)) % (last + 1)
            order[last], order[other] = order[other], order[last]
        yield from reversed(order)


def train(model, gradient, texts, rows, steps, seed, settings, rms):
    """Adam, the rate of which falls linearly to a tenth; each row is put back between the least and the largest norm after a step."""
    least, most = settings["norms"]
    order = orders(len(texts.ids), seed)
    first, second = jnp.zeros_like(rows), jnp.zeros_like(rows)
    for step in range(steps):
        batch = list(itertools.islice(order, settings["batch"]))
        value, slope = gradient(rows, texts.part(batch), model.tensors)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        rate = settings["lr"] * rms * (1 - 0.9 * step / steps)
        rows = rows - rate * unbiased[0] / (jnp.sqrt(unbiased[1]) + 1e-12)
        norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows * jnp.clip(norms, least, most) / norms
        print(f"jax, seed {seed}, step {step + 1} of {steps}: {value:.4f} on its examples", file=sys.stderr, flush=True)
    return rows


def write_adapter(folder, rows, model):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"prompt_embeddings": np.asarray(rows, np.float32)}, folder / "adapter_model.safetensors")
    config = {
        "base_model_name_or_path": model, "inference_mode": True, "num_transformer_submodules": 1, "num_virtual_tokens": len(rows),
        "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM", "task_type": "CAUSAL_LM", "token_dim": rows.shape[1],
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def processor_seconds():
    """Of this process and of those that it waited for."""
    return sum(os.times()[:4])


def run(*command):
    if subprocess.run([str(part) for part in command], stdout=sys.stderr).returncode != 0:
        sys.exit("failed: " + " ".join(map(str, command)))


def said(sweep, prompt, folder, rows=None, file=None):
    """What the model says with the rows of a file, as the shell reads it, or without a prefix."""
    exported = folder / "said.json"
    prefix = ["--prefix-file", file, "--values", 1] if file else ["--values", 0]
    run(*sweep, "--prompt", prompt, *prefix, "--json", exported, "--journal", folder / "said.journal")
    records = json.loads(exported.read_text())["records"]
    [record, *_] = [record for record in records if ("prefix" in record) == bool(file)]
    assert not file or record["prefix"]["sha256"] == digest(rows), f"{file} was read as other rows"
    return record["outcome"]["done"]["text"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release", help="folder of softprefix and softprefix-unit")
    parser.add_argument("--examples", type=pathlib.Path, default=ROOT / "assets/examples/lighthouse.jsonl")
    parser.add_argument("--held-out", type=pathlib.Path, default=ROOT / "assets/examples/lighthouse-held-out.jsonl")
    parser.add_argument("--manner", default=MANNER, help="the same as a text in front of each prompt")
    parser.add_argument("--len", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("against-jax"), help="folder for the rows")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lines = lambda path: [json.loads(line) for line in path.read_text().splitlines()]
    held_out = lines(args.held_out)
    shell = args.programs / "softprefix"
    unit = Unit(args.programs / "softprefix-unit", args.model)

    model_sha256 = hashlib.sha256(pathlib.Path(args.model).read_bytes()).hexdigest()
    found = []  # of each prefix: what it is, its file, the steps, the seconds, the rows
    for seed in args.seeds:
        file = args.out / f"learned-{seed}.safetensors"
        began = processor_seconds()
        learn = [shell, "learn", "--model", args.model, "--system", SYSTEM, "--examples", args.examples]
        run(*learn, "--len", args.len, "--steps", args.steps, "--seed", seed, "--out", file)
        seconds = processor_seconds() - began
        with safe_open(file, "np") as opened:
            learned = json.loads(opened.metadata()["softprefix"])
        assert learned["model_sha256"] == model_sha256, "learned on another model"
        [(_, tensor)] = deserialize(file.read_bytes())
        rows = np.frombuffer(tensor["data"], jnp.bfloat16).reshape(tensor["shape"])
        found.append((f"learned here, seed {seed}", file, learned["step"], seconds, rows))

    model = Model(args.model, jnp.float32)
    table = np.asarray(model.tensors["token_embd.weight"])
    examples = [unit.example(**line) for line in lines(args.examples)]
    texts, rms = Texts(examples), np.sqrt((table**2).mean())
    start = table[np.resize(examples[0][1][:-1], args.len)]
    gradient = jax.jit(jax.value_and_grad(lambda rows, texts, tensors: loss(model.holding(tensors), rows, texts)))
    gradient = gradient.lower(start, texts.part(slice(learned["settings"]["batch"])), model.tensors).compile()
    for seed in args.seeds:
        began = processor_seconds()
        rows = train(model, gradient, texts, start, args.steps, seed, learned["settings"], rms)
        seconds = processor_seconds() - began
        file = args.out / f"jax-{seed}"
        write_adapter(file, rows, unit.model)
        found.append((f"adapter trained with jax, seed {seed}", file, args.steps, seconds, rows))

    instructed = [line | {"prompt": f"{args.manner}\n\n{line['prompt']}"} for line in held_out]
    none = np.zeros((0, model.width), np.float32)
    in_jax = jax.jit(lambda rows, texts, tensors: loss(model.holding(tensors), rows, texts))
    median = np.median(np.linalg.norm(table, axis=1))
    sweep = [shell, "sweep", "--module", unit.address, "--model", unit.model, "--system", SYSTEM, "--max-tokens", 40, "--no-kl"]
    cases = [
        ("no prefix", held_out, none, "", "", said(sweep, SHOWN, args.out)),
        ("the manner as a text", instructed, none, "", "", said(sweep, f"{args.manner}\n\n{SHOWN}", args.out)),
    ]
    for what, file, steps, seconds, rows in found:
        cases.append((what, held_out, rows, steps, f"{seconds:.0f}", said(sweep, SHOWN, args.out, rows, file)))

    print("| | -ln p per token | perplexity | the same by jax | norms of the rows | steps | processor seconds |\n|---|---|---|---|---|---|---|")
    for what, answers, rows, steps, seconds, _ in cases:
        examples = [unit.example(**line) for line in answers]
        scores = [unit.scores(line["prompt"], answer, rows) for line, (_, answer) in zip(answers, examples)]
        ours = -np.mean(np.concatenate(scores))
        theirs = in_jax(jnp.asarray(sent(rows), jnp.float32), Texts(examples).part(slice(None)), model.tensors)
        norms = np.linalg.norm(np.asarray(rows, np.float32), axis=1) / median
        between = f"{norms.min():.2f}–{norms.max():.2f}×" if len(rows) else ""
        print(f"| {what} | {ours:.3f} | {np.exp(ours):.0f} | {theirs:.3f} | {between} | {steps} | {seconds} |")
    print(f"\n{args.len} rows; {sum(map(len, scores))} tokens of {len(held_out)} answers; norms in token norms.\n")
    for seed, (*_, here), (*_, there) in zip(args.seeds, found, found[len(args.seeds) :]):
        here, there = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (np.asarray(here, np.float32), there))
        print(f"* Cosine of each row of seed {seed} with that of jax: {' '.join(f'{cosine:.3f}' for cosine in (here * there).sum(1))}")
    print(f"\n{SHOWN}\n")
    for what, *_, text in cases:
        print(f"* {what}: {json.dumps(text, ensure_ascii=False)}")


if __name__ == "__main__":
    main()
