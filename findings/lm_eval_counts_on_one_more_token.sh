#!/usr/bin/env bash
# lm_eval 0.4.13: `local-completions` drops the last log-probability that a server sends, whether or not it is one of the prompt's.
#
# Guess:  the harness knows how many tokens the prompt has and measures those of the answer; what comes after them is not counted.
# Seen:   it asks for the prompt echoed and one token more, and takes all from the answer's first token to the last but one. A
#         server that drew the end of the text, and leaves such a token out of what it returns, sends no more than the prompt: the
#         answer's last token is lost then. An answer of one token has log-probability 0.0 and counts as the model's greedy choice,
#         so that all choices A to D tie and the first is taken. Nothing is said.
# Why it matters: one model has another accuracy behind another server, and the more so the surer it is that the text ends here.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/hf" HF_HUB_OFFLINE=1 NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'lm_eval[api]==0.4.13' torch==2.13.0 transformers==5.24.0
cat > "$work/run.py" <<'PY'
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import lm_eval
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

folder = Path(sys.argv[1])
words = ["<end>", "choose", "A", "B", "C", "D"]
how_likely = [-0.1, -5.0, -3.0, -0.5, -2.0, -4.0]  # of each word, wherever it stands: B is the best of the four
made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<end>"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<end>").save_pretrained(folder / "tokenizer")


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["echo"] and body["max_tokens"] == 1
        choices = []
        for i, prompt in enumerate(body["prompt"]):
            row = prompt + [0] * self.server.tells_the_end  # the token drawn is <end>
            told = {
                "tokens": [words[token] for token in row],
                "token_logprobs": [None, *(how_likely[token] for token in row[1:])],
                "top_logprobs": [None, *({"<end>": -0.1, words[token]: how_likely[token]} for token in row[1:])],
            }
            choices.append({"index": i, "text": " ".join(told["tokens"]), "logprobs": told, "finish_reason": "stop"})
        answer = json.dumps({"object": "text_completion", "choices": choices}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


(folder / "rows.jsonl").write_text(json.dumps({"asked": "choose", "right": 1}) + "\n")
task = {
    "task": "four",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": str(folder / "rows.jsonl")},
    "test_split": "train",
    "output_type": "multiple_choice",
    "doc_to_text": "{{asked}}",
    "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "right",
}
print("lm_eval", version("lm_eval"))
seen = {}
for tells in (True, False):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.tells_the_end = tells
    Thread(target=server.serve_forever, daemon=True).start()
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": "made",
            "base_url": f"http://127.0.0.1:{server.server_port}/v1/completions",
            "tokenizer": str(folder / "tokenizer"),
            "tokenizer_backend": "huggingface",
        },
        tasks=[task],
        bootstrap_iters=0,
    )
    server.shutdown()
    sample = found["samples"]["four"][0]
    seen[tells] = [tuple(x) for x in sample["filtered_resps"]], found["results"]["four"]["acc,none"]
    print(f"the drawn <end> is {'sent' if tells else 'left out'}: A to D {seen[tells][0]}, accuracy {seen[tells][1]}")
likely = [how_likely[words.index(letter)] for letter in "ABCD"]
assert seen[True] == ([(x, False) for x in likely], 1.0)
assert [(float(x), greedy) for x, greedy in seen[False][0]] == [(0.0, True)] * 4, "the last token is counted now"
assert seen[False][1] == 0.0
PY
"$work/venv/bin/python" "$work/run.py" "$work" 2> "$work/log" || { tail -5 "$work/log"; exit 1; }
