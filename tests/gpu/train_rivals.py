"""Updates per second of the Decision Transformer of Hugging Face Transformers on a GPU: the original's size and recipe (3
layers, 1 head, width 128, K = 20, batch 64), hopper's sizes, data and the drawing of windows on the GPU, the fused
AdamW, and nothing read back in between.

usage: train_rivals.py [eager|graph|compile]..   fp32 (products in tf32) and bf16 (autocast) of each
       train_rivals.py compile-only              compiles into the caches, without times
"""
import contextlib
import statistics
import sys
import time
import warnings

import torch
import transformers

warnings.filterwarnings("ignore")
torch.set_float32_matmul_precision("high")
CONTEXT, BATCH, EPISODES, LENGTH, STATE, ACTION = 20, 64, 100, 1000, 11, 3


class Training:
    def __init__(self, precision, compiled):
        torch.manual_seed(0)
        self.model = transformers.DecisionTransformerModel(transformers.DecisionTransformerConfig(
            state_dim=STATE, act_dim=ACTION, hidden_size=128, n_layer=3, n_head=1, max_ep_len=1000,
            n_positions=1024, activation_function="relu", resid_pdrop=0.1, embd_pdrop=0.1,
            attn_pdrop=0.1)).cuda().train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=1e-4, fused=True,
                                           capturable=True)
        self.states = torch.randn(EPISODES * LENGTH, STATE, device="cuda")
        self.actions = torch.rand(EPISODES * LENGTH, ACTION, device="cuda") * 2 - 1
        self.returns = torch.randn(EPISODES * LENGTH, 1, device="cuda")
        self.mask = torch.ones(BATCH, CONTEXT, dtype=torch.long, device="cuda")
        self.offsets = torch.arange(CONTEXT, device="cuda")
        self.autocast = ((lambda: torch.autocast("cuda", torch.bfloat16)) if precision == "bf16"
                         else contextlib.nullcontext)
        self.loss = torch.compile(self.loss_of, mode="reduce-overhead") if compiled else self.loss_of

    def loss_of(self, states, actions, returns, timesteps, mask):
        with self.autocast():
            predicted = self.model(states=states, actions=actions, rewards=None, returns_to_go=returns,
                                   timesteps=timesteps, attention_mask=mask).action_preds
        return torch.nn.functional.mse_loss(predicted.float(), actions)

    def update(self):
        first = torch.randint(LENGTH - CONTEXT, (BATCH, 1), device="cuda")
        timesteps = first + self.offsets
        rows = torch.randint(EPISODES, (BATCH, 1), device="cuda") * LENGTH + timesteps
        loss = self.loss(self.states[rows], self.actions[rows], self.returns[rows], timesteps, self.mask)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.25)
        self.optimizer.step()

    def recorded(self):
        """The whole update in a graph, which a user may record by hand."""
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.update()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self.update()
        return graph.replay


def measure(update, seconds=2.0):
    for _ in range(20):
        update()
    torch.cuda.synchronize()
    rates = []
    for _ in range(3):
        updates, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / 3:
            for _ in range(10):
                update()
            torch.cuda.synchronize()
            updates += 10
        rates.append(updates / (time.perf_counter() - start))
    return statistics.median(rates)


arguments = sys.argv[1:] or ["eager", "graph", "compile"]
if arguments == ["compile-only"]:
    for precision in ("fp32", "bf16"):
        training = Training(precision, True)
        for _ in range(3):
            training.update()
    sys.exit()
print("transformers", transformers.__version__, "torch", torch.__version__, flush=True)
for form in arguments:
    for precision in ("fp32", "bf16"):
        text = f"{form:8} {'tf32' if precision == 'fp32' else precision:5}"
        try:
            start = time.perf_counter()
            training = Training(precision, form == "compile")
            rate = measure(training.recorded() if form == "graph" else training.update)
            print(f"{text} {rate:8.1f} updates/s  {1000 / rate:7.3f} ms  (ready after "
                  f"{time.perf_counter() - start - 2:.0f} s)", flush=True)
        except Exception as error:  # the next rival follows
            print(f"{text} failed: {str(error).strip().splitlines()[0][:100]}", flush=True)
