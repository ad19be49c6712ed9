"""Checks an exported checkpoint: transformers (4.57.1) loads it without a word and predicts the same.

    python3 tests/agents/models/check_hf_export.py FOLDER [BATCH.safetensors]

FOLDER is what ExportHfCheckpoint wrote, such as `cosdt train --export-hf FOLDER`; then only loading is
checked. With COSDT_KEEP_EXPORT=1 the tests of hf_checkpoint.h leave their exports hf_export_relu_PID and
hf_export_gelu_PID in the temporary folder; golden_decision_transformer/*/batch.safetensors goes with them.
"""
import sys

import torch
import transformers
from safetensors.torch import load_file


def main():
    folder = sys.argv[1]
    model, report = transformers.DecisionTransformerModel.from_pretrained(folder, output_loading_info=True)
    wrong = {key: names for key, names in report.items() if names}
    assert not wrong, wrong
    model.eval()
    if len(sys.argv) > 2:
        batch = load_file(sys.argv[2])
        with torch.no_grad():
            predicted = model(
                states=batch["observations"], actions=batch["actions"], rewards=None,
                returns_to_go=batch["returns_to_go"][..., None], timesteps=batch["timesteps"],
                attention_mask=batch["mask"].long()).action_preds
        error = (predicted - batch["predicted"])[batch["mask"].bool()].abs().max().item()
        assert error < 1e-5, error
        print(f"largest difference {error:.1e}")
    print("ok")


if __name__ == "__main__":
    main()
