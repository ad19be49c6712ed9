"""Writes golden_decision_transformer/: what transformers' DecisionTransformerModel computes.

    pip install transformers==4.57.1 safetensors torch==2.11.0
    python3 tests/agents/models/make_decision_transformer_golden.py

For every case a folder with its checkpoint (model/, written by transformers), the gradients of all its
weights in the same layout (gradients/), and batch.safetensors: inputs, predicted actions and loss.
"""
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file

CASES = {  # name: changes of the config
    "relu": {"activation_function": "relu", "n_head": 1},
    "gelu": {"activation_function": "gelu", "n_head": 2},
}
BATCH, CONTEXT = 3, 5
REAL_STEPS = [5, 3, 1]  # of each row; padding stands on the left


def write(folder, changes):
    config = transformers.DecisionTransformerConfig(
        state_dim=4, act_dim=2, hidden_size=8, max_ep_len=24, n_positions=16, n_layer=2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **changes)
    model = transformers.DecisionTransformerModel(config)
    with torch.no_grad():
        for parameter in model.parameters():  # far from its zeros and ones, and none negligible
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder / "model")

    mask = torch.tensor([[t >= CONTEXT - n for t in range(CONTEXT)] for n in REAL_STEPS])
    timesteps = torch.tensor([[max(0, t - CONTEXT + n) + 7 * row for t in range(CONTEXT)]
                              for row, n in enumerate(REAL_STEPS)]) * mask
    states = torch.randn(BATCH, CONTEXT, config.state_dim)
    actions = torch.rand(BATCH, CONTEXT, config.act_dim) * 2 - 1
    returns_to_go = torch.rand(BATCH, CONTEXT, 1) * 4
    predicted = model(states=states, actions=actions, rewards=None, returns_to_go=returns_to_go,
                      timesteps=timesteps, attention_mask=mask.long()).action_preds
    # the original's loss: over real steps only
    loss = torch.nn.functional.mse_loss(predicted[mask], actions[mask])
    loss.backward()

    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad
                 for name, p in model.named_parameters()}
    # its gradient is the embedding LayerNorm's bias's, which stands there already
    gradients["encoder.wpe.weight"].zero_()
    (folder / "gradients").mkdir()
    save_file({name: g.contiguous() for name, g in gradients.items()},
              folder / "gradients/model.safetensors")
    shutil.copy(folder / "model/config.json", folder / "gradients/config.json")
    save_file({"observations": states, "actions": actions, "returns_to_go": returns_to_go[..., 0].contiguous(),
               "timesteps": timesteps, "mask": mask, "predicted": predicted.detach(),
               "loss": loss.detach()}, folder / "batch.safetensors")


def main():
    torch.manual_seed(0)
    golden = pathlib.Path(__file__).parent / "golden_decision_transformer"
    shutil.rmtree(golden, ignore_errors=True)
    for name, changes in CASES.items():
        (golden / name).mkdir(parents=True)
        write(golden / name, changes)


if __name__ == "__main__":
    main()
