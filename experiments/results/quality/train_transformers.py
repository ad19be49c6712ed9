"""Trains Hugging Face Transformers' DecisionTransformerModel on a D4RL file with the recipe of sample.toml, for
cosdt to evaluate in D4RL's physics beside its own softmax agent.

    pip install torch==2.11.0 transformers==4.57.1 h5py
    python3 train_transformers.py FILE.hdf5 SEED FOLDER
    cosdt train --import-hf FOLDER --updates 0 --dataset FILE.hdf5 --out RUN
    cosdt eval RUN --episodes 25
"""
import math
import sys

import h5py
import numpy as np
import torch
import transformers

CONTEXT, BATCH, UPDATES, WARMUP, RATE, SCALE = 20, 16, 6000, 300, 1e-3, 1000

path, seed, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.manual_seed(seed)
rng = np.random.default_rng(seed)

with h5py.File(path) as file:
    observations, actions, rewards = (file[key][:] for key in ("observations", "actions", "rewards"))
    ends = np.flatnonzero(file["terminals"][:].astype(bool) | file["timeouts"][:].astype(bool)) + 1
starts = np.concatenate([[0], ends[:-1]])
rows = ends[-1]  # what follows the last end is no whole episode
mean, std = observations[:rows].mean(0), observations[:rows].std(0) + 1e-6
observations = (observations - mean) / std
returns_to_go = np.concatenate([np.cumsum(rewards[a:b][::-1].astype(np.float64))[::-1]
                                for a, b in zip(starts, ends)]) / SCALE

model = transformers.DecisionTransformerModel(transformers.DecisionTransformerConfig(
    state_dim=observations.shape[1], act_dim=actions.shape[1], hidden_size=64, n_layer=2, n_head=1,
    max_ep_len=1000, n_positions=1024, activation_function="relu", resid_pdrop=0.1, embd_pdrop=0.1,
    attn_pdrop=0.1))
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda u: min(1, (u + 1) / WARMUP) * (1 + math.cos(math.pi * min(1, u / UPDATES))) / 2)


def batch():
    """Up to CONTEXT steps from a row drawn uniformly, padded on the left."""
    first = rng.integers(rows, size=BATCH)
    episode = np.searchsorted(ends, first, side="right")
    length = np.minimum(ends[episode] - first, CONTEXT)
    step = np.arange(CONTEXT) - (CONTEXT - length[:, None])
    mask = step >= 0
    row = np.where(mask, first[:, None] + step, first[:, None])
    time = np.where(mask, (first - starts[episode])[:, None] + step, 0)
    tensor = lambda x: torch.as_tensor(np.where(mask[..., None], x[row].reshape(BATCH, CONTEXT, -1), 0),
                                       dtype=torch.float32)
    return tensor(observations), tensor(actions), tensor(returns_to_go), torch.as_tensor(time), torch.as_tensor(mask)


losses = []
for update in range(UPDATES):
    o, a, r, time, mask = batch()
    predicted = model(states=o, actions=a, rewards=None, returns_to_go=r, timesteps=time,
                      attention_mask=mask.long()).action_preds
    loss = torch.nn.functional.mse_loss(predicted[mask], a[mask])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
print(f"loss {np.mean(losses[-100:]):.4f}")
model.save_pretrained(folder)
