"""Updates a second of a Decision Transformer of PyPI transformers, as its users train it.

usage: bench_train.py which | bench_train.py OBSERVATIONS ACTIONS PRECISION THREADS SECONDS

The original's size and recipe: 3 layers, 1 head, width 128, ReLU, dropout 0.1, K = 20, batch 64, AdamW,
warm-up, clipping. bf16 is torch's autocast. Batches are drawn anew for every update from random
episodes, as a training loop does. Run by `cosdt bench train --python PYTHON`.
"""
import contextlib
import sys
import time

import torch
import transformers

CONTEXT, BATCH, EPISODES, LENGTH = 20, 64, 100, 1000

if sys.argv[1] == "which":
    print("transformers", transformers.__version__)
    sys.exit()

state_size, action_size = int(sys.argv[1]), int(sys.argv[2])
precision, threads, seconds = sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
torch.set_num_threads(threads)
torch.manual_seed(0)
model = transformers.DecisionTransformerModel(transformers.DecisionTransformerConfig(
    state_dim=state_size, act_dim=action_size, hidden_size=128, n_layer=3, n_head=1, max_ep_len=1000,
    n_positions=1024, activation_function="relu", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1))
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10000, 1))

states = torch.randn(EPISODES * LENGTH, state_size)
actions = torch.rand(EPISODES * LENGTH, action_size) * 2 - 1
returns_to_go = torch.randn(EPISODES * LENGTH, 1)
mask = torch.ones(BATCH, CONTEXT, dtype=torch.long)
offsets = torch.arange(CONTEXT)


def update():
    first = torch.randint(LENGTH - CONTEXT, (BATCH, 1))
    rows = torch.randint(EPISODES, (BATCH, 1)) * LENGTH + first + offsets
    with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext():
        predicted = model(states=states[rows], actions=actions[rows], rewards=None,
                          returns_to_go=returns_to_go[rows], timesteps=first + offsets,
                          attention_mask=mask).action_preds
    loss = torch.nn.functional.mse_loss(predicted.float(), actions[rows])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
    optimizer.step()
    schedule.step()


for _ in range(3):
    update()
updates, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    update()
    updates += 1
print(updates / (time.perf_counter() - start))
