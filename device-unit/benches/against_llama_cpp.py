#!/usr/bin/env python3
"""Runs this engine and llama.cpp on the same model, the same prompts and the same number of threads, in turns, and prints both.

    python3 -m venv /tmp/llama && /tmp/llama/bin/pip install llama-cpp-python numpy
    cargo build --release -p softprefix-unit --bin softprefix-bench
    /tmp/llama/bin/python device-unit/benches/against_llama_cpp.py model.gguf [--threads 2] [--rounds 3] [--drafts]

The package compiles llama.cpp for the machine it is installed on, so that llama.cpp is at its best. Each engine runs in a
process of its own; of each figure the best round counts, for both. Rounds take turns, so that whatever else the machine does
hits both alike. Of a case to be the same alone and together, llama.cpp is asked for the same tokens, ours for the same bits of
all logits. llama.cpp's distance to the f32 weights is the one recorded with the text (`tests/fixtures/logits`).

With `--drafts` both decode with drafted tokens and without: ours as `softprefix-bench drafts` does, llama.cpp by the prompt lookup of its
Python package. That looks only in the text itself; to draft from the previous run's text, too, it is given that text in front.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

CASES = 11

# Those of `softprefix-bench drafts`.
PROMPT = "「春の花を咲かせ」で始まる短い詩を書いてください。"
OTHERS = [
    "Describe the sea in two sentences.",
    "東京から大阪までの行き方を教えてください。",
    "Write a function in Rust that reverses a list.",
    "Pourquoi le ciel est-il bleu ?",
    "What is the difference between a virus and a bacterium?",
    "カレーの作り方を説明してください。",
    "Name five rivers and where they end.",
    "Explain to a child what money is.",
]


def llama_cpp_figures(model_path, threads, prompt, tokens):
    """Load time, memory, prefill, decode, and eleven sequences one by one and at once."""
    import llama_cpp
    import numpy

    start = time.perf_counter()
    llama_cpp.llama_backend_init()
    # What it says is shown where it fails, and is in nobody's way where it does not.
    log = []
    keep = llama_cpp.llama_log_callback(lambda _level, text, _data: log.append(text.decode(errors="replace")))
    llama_cpp.llama_log_set(keep, None)

    def fail(what):
        sys.exit("".join(log[-20:]) + what)

    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(model_path.encode(), params)
    if not model:
        fail(f"llama.cpp cannot load {model_path}")
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = CASES * (prompt + tokens + 8)
    params.n_batch = params.n_ubatch = max(512, CASES * prompt)
    params.n_seq_max = CASES
    params.n_threads = params.n_threads_batch = threads
    params.kv_unified = True
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        fail("llama.cpp cannot make a context")
    batch = llama_cpp.llama_batch_init(max(512, CASES * prompt), 0, 1)

    def step(rows):
        """rows: (sequence, position of the first, tokens) each; returns the likeliest next token of each."""
        count = 0
        last = []
        for sequence, position, ids in rows:
            for offset, token in enumerate(ids):
                batch.token[count] = token
                batch.pos[count] = position + offset
                batch.n_seq_id[count] = 1
                batch.seq_id[count][0] = sequence
                batch.logits[count] = offset + 1 == len(ids)
                count += 1
            last.append(count - 1)
        batch.n_tokens = count
        if llama_cpp.llama_decode(context, batch) != 0:
            fail("llama.cpp failed to decode")
        answers = []
        for index in last:
            logits = llama_cpp.llama_get_logits_ith(context, index)
            answers.append(int(numpy.ctypeslib.as_array(logits, shape=(vocabulary,)).argmax()))
        return answers

    def generate(cases):
        """Time to the first tokens and that of the rest, and what each case said."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        # The prompts of softprefix-bench.
        prompts = [[(at * 7919 + s * 104_729 + 1000) % vocabulary for at in range(prompt)] for s in cases]
        start = time.perf_counter()
        following = step([(s, 0, ids) for s, ids in enumerate(prompts)])
        prefill = time.perf_counter() - start
        said = [[token] for token in following]
        start = time.perf_counter()
        for number in range(tokens - 1):
            following = step([(s, prompt + number, [token]) for s, token in enumerate(following)])
            for text, token in zip(said, following):
                text.append(token)
        return prefill, time.perf_counter() - start, said

    generate([0])  # warms up; the load is measured with it, as ours is
    load = time.perf_counter() - start
    resident = resident_bytes()
    prefill, decode, _ = generate([0])
    start = time.perf_counter()
    alone = [generate([case])[2][0] for case in range(CASES)]
    one_by_one = time.perf_counter() - start
    prefill_together, decode_together, together = generate(range(CASES))
    return {
        "equal_cases": sum(a == b for a, b in zip(alone, together)),
        "load_s": load,
        "resident_bytes": resident,
        "prefill_tok_s": prompt / prefill,
        "decode_tok_s": (tokens - 1) / decode,
        "cases_one_by_one_s": one_by_one,
        "cases_s": prefill_together + decode_together,
        "decode_together_tok_s": CASES * (tokens - 1) / decode_together,
    }


def llama_cpp_drafts(model_path, threads, tokens, rounds):
    """Prints the time of greedy decoding after the first token with the package's prompt lookup, by that without."""
    import llama_cpp
    import numpy
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    class Lookup(LlamaPromptLookupDecoding):
        """The package's, with earlier text to look in."""

        earlier = numpy.array([], dtype=numpy.intc)

        def __call__(self, input_ids, /, **kwargs):
            return super().__call__(numpy.concatenate([self.earlier, input_ids]), **kwargs)

    def load(draft_model):
        return llama_cpp.Llama(
            model_path, n_ctx=512, n_threads=threads, n_threads_batch=threads, draft_model=draft_model, verbose=False
        )

    lookup = Lookup()
    plain, drafting = load(None), load(lookup)

    def generate(model, prompt):
        """The tokens, and the seconds from the first to the last."""
        text = f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        ids = model.tokenize(text.encode(), add_bos=False, special=True)
        output, start = [], 0.0
        for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
            start = start or time.perf_counter()
            output.append(token)
            if len(output) == tokens or token == model.token_eos():
                break
        return ids + output, len(output), time.perf_counter() - start

    def part(what, prompts, previous):
        best = {}
        same = 0
        for number in range(rounds):
            for index, prompt in enumerate(prompts):
                text, count, without = generate(plain, prompt)
                lookup.earlier = numpy.array(text if previous else [], dtype=numpy.intc)
                again, _, with_drafts = generate(drafting, prompt)
                same += number == 0 and again == text
                old = best.get(index, (float("inf"), float("inf"), count))
                best[index] = (min(old[0], with_drafts), min(old[1], without), count)
        with_drafts, without, count = (sum(column) for column in zip(*best.values()))
        print(f"| {what} | {with_drafts / without:.3f} | {without * 1000:.0f} ms | {same} of {len(prompts)} | {count} |", flush=True)

    print(f"{model_path}, llama.cpp with the prompt lookup of llama_cpp_python {llama_cpp.__version__}, {threads} threads\n")
    print("| drafted / plain, after the first token | ratio | plain | texts that stay the same | tokens |\n|---|---|---|---|---|")
    for ahead in (10, 2):
        lookup.num_pred_tokens = ahead
        part(f"the previous run's text, {ahead} tokens ahead", [PROMPT], True)
        part(f"the text itself, {ahead} tokens ahead", [PROMPT], False)
        part(f"unrelated texts, {ahead} tokens ahead", OTHERS, False)


def resident_bytes():
    try:
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def run(command):
    # What it says about its errors goes where this script's own goes.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{how_it_ended(done.returncode)}{done.stdout}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def how_it_ended(code):
    if code >= 0:
        return f"ended with status {code}\n"
    return f"was ended by {signal.Signals(-code).name}: for SIGILL it was compiled for another processor, for SIGKILL memory ran out\n"


def best(rounds, key):
    values = [figures[key] for figures in rounds if figures.get(key) is not None]
    if not values:
        return None
    return max(values) if key.endswith("tok_s") else min(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--prompt", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).parents[2] / "target"))
    parser.add_argument("--bench", default=str(folder / "release" / "softprefix-bench"), help="our bench program")
    parser.add_argument("--drafts", action="store_true", help="decode with drafted tokens and without")
    parser.add_argument("--only-llama-cpp", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.drafts:
        llama_cpp_drafts(args.model, args.threads, args.tokens, args.rounds)
        ours = ["--threads", str(args.threads), "--tokens", str(args.tokens), "--rounds", str(args.rounds)]
        print(flush=True)
        sys.exit(subprocess.run([args.bench, "drafts", args.model, *ours]).returncode)

    if args.only_llama_cpp:
        print(json.dumps(llama_cpp_figures(args.model, args.threads, args.prompt, args.tokens)))
        return

    sizes = ["--threads", str(args.threads), "--prompt", str(args.prompt), "--tokens", str(args.tokens)]
    ours, theirs = [], []
    for number in range(args.rounds):
        theirs.append(run([sys.executable, __file__, args.model, "--only-llama-cpp", *sizes]))
        # What is no speed is the same in every round.
        speed_only = ["--speed-only"] if number > 0 else []
        ours.append(run([args.bench, "model", args.model, "--json", "--rounds", "1", *speed_only, *sizes]))
    theirs[0]["mean_kl_to_f32"] = ours[0]["mean_kl_to_f32_llama_cpp"]

    print(f"{args.model}, {args.threads} threads, {ours[0]['backend']}, prompt {args.prompt}, {args.tokens} tokens\n")
    print("| | llama.cpp | ours | ours is better by |\n|---|---|---|---|")
    rows = [
        ("cases that are the same alone and together, of 11", "equal_cases", "equal_cases", 0, "{:.0f}"),
        ("decode tok/s", "decode_tok_s", "decode_tok_s", 1, "{:.1f}"),
        ("prefill tok/s", "prefill_tok_s", "prefill_tok_s", 1, "{:.0f}"),
        ("11 sequences, decode, aggregate tok/s", "decode_together_tok_s", "decode_together_tok_s", 1, "{:.0f}"),
        ("11 cases, one by one against at once, s", "cases_one_by_one_s", "cases_s", -1, "{:.2f}"),
        ("11 cases at once, s", "cases_s", "cases_s", -1, "{:.2f}"),
        ("load, s", "load_s", "load_s", -1, "{:.2f}"),
        ("resident, MB", "resident_bytes", "resident_bytes", -1, "{:.0f}"),
        ("mean KL to the f32 weights, nats", "mean_kl_to_f32", "mean_kl_to_f32", 0, "{:.5f}"),
    ]
    for name, their_key, our_key, direction, form in rows:
        their, our = best(theirs, their_key), best(ours, our_key)
        if their is None or our is None:
            continue
        unit = 1e6 if their_key == "resident_bytes" else 1
        ratio = f"{(our / their) ** direction:.2f}" if direction else ""
        print(f"| {name} | {form.format(their / unit)} | {form.format(our / unit)} | {ratio} |")
    bandwidth = best([{"tok_s": figures["read_bandwidth"]} for figures in ours], "tok_s")
    share = best(ours, "decode_tok_s") * ours[0]["bytes_per_token"] / bandwidth
    words = f"decoding uses {share:.0%} of it"
    if share > 1:
        words = "decoding reads faster than that, so the measure of the bandwidth failed (was the machine busy?), and no share is told"
    print(f"\nread bandwidth {bandwidth / 1e9:.1f} GB/s; {words}")


if __name__ == "__main__":
    main()
