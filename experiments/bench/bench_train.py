"""Updates per second of a Decision Transformer of Hugging Face Transformers, as its users train it.

usage: bench_train.py which | bench_train.py OBSERVATIONS ACTIONS PRECISIONS THREADS SECONDS DEVICE

The original's size and recipe: 3 layers, 1 head, width 128, ReLU, dropout 0.1, K = 20, batch 64, AdamW,
warm-up, clipping. bf16 is torch's autocast. Every update draws a new batch from random
episodes, as a training loop does. Run by `cosdt bench train --python PYTHON`.

Prints one line: on the CPU the rate of each precision (with commas); on a GPU rate and peak bytes of each
precision, eager and with torch.compile(mode="reduce-overhead"), data and batches there, AdamW fused,
the loss never read.
"""
import contextlib
import sys
import time

import torch
import transformers

CONTEXT, BATCH, EPISODES, LENGTH = 20, 64, 100, 1000


def make_update(device, state_size, action_size, precision, compiled):
    torch.manual_seed(0)
    gpu = device.type == "cuda"
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    model = transformers.DecisionTransformerModel(transformers.DecisionTransformerConfig(
        state_dim=state_size, act_dim=action_size, hidden_size=128, n_layer=3, n_head=1, max_ep_len=1000,
        n_positions=1024, activation_function="relu", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1))
    model.train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4, **({"fused": True} if gpu else {}))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10000, 1))
    forward = torch.compile(model, mode="reduce-overhead") if compiled else model

    states = torch.randn(EPISODES * LENGTH, state_size, device=device)
    actions = torch.rand(EPISODES * LENGTH, action_size, device=device) * 2 - 1
    returns_to_go = torch.randn(EPISODES * LENGTH, 1, device=device)
    mask = torch.ones(BATCH, CONTEXT, dtype=torch.long, device=device)
    offsets = torch.arange(CONTEXT, device=device)

    def update():
        if compiled:
            torch.compiler.cudagraph_mark_step_begin()
        first = torch.randint(LENGTH - CONTEXT, (BATCH, 1), device=device)
        rows = torch.randint(EPISODES, (BATCH, 1), device=device) * LENGTH + first + offsets
        with torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext():
            predicted = forward(states=states[rows], actions=actions[rows], rewards=None,
                                returns_to_go=returns_to_go[rows], timesteps=first + offsets,
                                attention_mask=mask).action_preds
        loss = torch.nn.functional.mse_loss(predicted.float(), actions[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        schedule.step()

    return update


def measure(update, seconds, wait):
    for _ in range(3):
        update()
    wait()
    updates, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        update()
        updates += 1
    wait()
    return updates / (time.perf_counter() - start)


def main():
    if sys.argv[1] == "which":
        print("transformers", transformers.__version__)
        return
    state_size, action_size = int(sys.argv[1]), int(sys.argv[2])
    precisions, seconds, device = sys.argv[3].split(","), float(sys.argv[5]), torch.device(sys.argv[6])
    torch.set_num_threads(int(sys.argv[4]))
    gpu = device.type == "cuda"
    results = []
    for precision in precisions:
        for compiled in (False, True) if gpu else (False,):
            if gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            update = make_update(device, state_size, action_size, precision, compiled)
            results.append(measure(update, seconds, torch.cuda.synchronize if gpu else lambda: None))
            if gpu:
                results.append(torch.cuda.max_memory_reserved(device))
            del update
    print(*results)


main()
