#!/usr/bin/env bash
# peft 0.21.2: an adapter for labels on a ModernBERT loses half of what it learned under, without a word.
#
# Guess:  task_type SEQ_CLS keeps with the adapter all that begins at random on a bare encoder, or names what it leaves out.
# Seen:   it keeps what is called `classifier` or `score`. A ModernBERT has a dense layer and a norm before that, `head`, which
#         is new as well: it is neither kept nor trained, and each time the adapter is read it is drawn anew.
# Why it matters: right after saving all is well; in the next process the same folders answer otherwise. modules_to_save of
#         ["head", "classifier"] keeps both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy peft==0.21.2 transformers==5.24.0
cat > "$work/run.py" <<'PY'
import tempfile

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import ModernBertConfig, ModernBertForSequenceClassification

transformers.logging.set_verbosity_error()
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "cls_token_id": 1, "sep_token_id": 2,
}


def read_base(folder):
    """As one begins: the encoder from its folder, what stands upon it new."""
    return ModernBertForSequenceClassification.from_pretrained(folder, num_labels=3).eval()


print("peft", peft.__version__, "transformers", transformers.__version__)
ids = torch.randint(3, 64, (4, 9), generator=torch.Generator().manual_seed(0))
with tempfile.TemporaryDirectory() as work:
    torch.manual_seed(0)
    whole = ModernBertForSequenceClassification(ModernBertConfig(num_labels=3, **SIZES))
    whole.model.save_pretrained(work + "/encoder")
    torch.manual_seed(1)
    model = get_peft_model(
        read_base(work + "/encoder"), LoraConfig(task_type="SEQ_CLS", target_modules=["Wqkv"])
    ).eval()
    with torch.no_grad():
        said = model(ids).logits
    model.save_pretrained(work + "/adapter")
    kept = sorted(load_file(work + "/adapter/adapter_model.safetensors"))
    torch.manual_seed(2)
    again = PeftModel.from_pretrained(read_base(work + "/encoder"), work + "/adapter").eval()
    with torch.no_grad():
        apart = float((again(ids).logits - said).abs().max())
print("kept besides LoRA:", [name for name in kept if "lora" not in name])
print(f"logits after reading the adapter again: {apart:.3f} from those before saving")
assert any("classifier" in name for name in kept)
assert not any(".head." in name for name in kept), "the head is kept now"
assert apart > 1e-3, "the same model comes back now"
PY
"$work/venv/bin/python" "$work/run.py"
