"""Updates per second of TD3+BC, ReBRAC and IQL in PyTorch, written as CORL structures them: modules, autograd, one
optimizer per network, losses read back at every update.

usage: bench_critics.py which | bench_critics.py AGENT OBSERVATIONS ACTIONS THREADS SECONDS

Batches are drawn from random transitions. Run by `cosdt bench critics --python PYTHON`.
"""
import copy
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

if sys.argv[1] == "which":
    print("torch", torch.__version__.split("+")[0])
    sys.exit()

agent = sys.argv[1]
observations, actions, threads = (int(x) for x in sys.argv[2:5])
seconds = float(sys.argv[5])
torch.set_num_threads(threads)
rebrac = agent == "rebrac"
ROWS, HIDDEN, LAYERS = 20000, 256, 3 if rebrac else 2
BATCH, LR = (1024, 1e-3) if rebrac else (256, 3e-4)


def mlp(inputs, outputs, norm=False, last=()):
    layers = []
    for i in range(LAYERS):
        layers += [nn.Linear(HIDDEN if i else inputs, HIDDEN), nn.ReLU()]
        if norm:
            layers.append(nn.LayerNorm(HIDDEN))
    return nn.Sequential(*layers, nn.Linear(HIDDEN, outputs), *last)


class Data:
    def __init__(self):
        self.arrays = [torch.randn(ROWS, observations), torch.rand(ROWS, actions) * 2 - 1, torch.randn(ROWS, 1),
                       torch.randn(ROWS, observations), torch.zeros(ROWS, 1), torch.rand(ROWS, actions) * 2 - 1]

    def sample(self):
        rows = torch.randint(ROWS, (BATCH,))
        return [array[rows] for array in self.arrays]


def step(optimizers, loss):
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def follow(slow, fast, tau=0.005):
    for s, f in zip(slow.parameters(), fast.parameters()):
        s.data.copy_((1 - tau) * s.data + tau * f.data)


def value_of(critic, s, a):
    return critic(torch.cat([s, a], 1))


class Td3:
    def __init__(self):
        self.actor = mlp(observations, actions, last=[nn.Tanh()])
        self.critics = [mlp(observations + actions, 1, norm=rebrac) for _ in range(2)]
        self.slow_actor, self.slow_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.of_actor = torch.optim.Adam(self.actor.parameters(), LR)
        self.of_critics = [torch.optim.Adam(c.parameters(), LR) for c in self.critics]
        self.updates = 0

    def update(self, batch):
        self.updates += 1
        s, a, r, s2, done, a2 = batch
        with torch.no_grad():
            noise = (torch.randn_like(a) * 0.2).clamp(-0.5, 0.5)
            chosen = (self.slow_actor(s2) + noise).clamp(-1, 1)
            q = torch.min(*(value_of(c, s2, chosen) for c in self.slow_critics))
            if rebrac:
                q = q - 0.01 * ((chosen - a2) ** 2).sum(1, keepdim=True)
            target = r + (1 - done) * 0.99 * q
        loss = sum(F.mse_loss(value_of(c, s, a), target) for c in self.critics)
        loss.item()
        step(self.of_critics, loss)
        if self.updates % 2:
            return
        pi = self.actor(s)
        if rebrac:
            q = torch.min(*(value_of(c, s, pi) for c in self.critics))
            loss = 0.01 * ((pi - a) ** 2).sum(1).mean() - q.mean() / q.abs().mean().detach()
        else:
            q = value_of(self.critics[0], s, pi)
            loss = -2.5 / q.abs().mean().detach() * q.mean() + F.mse_loss(pi, a)
        loss.item()
        step([self.of_actor], loss)
        for slow, fast in zip([*self.slow_critics, self.slow_actor], [*self.critics, self.actor]):
            follow(slow, fast)


class Iql:
    def __init__(self):
        self.actor = mlp(observations, actions, last=[nn.Tanh()])
        self.log_std = nn.Parameter(torch.zeros(actions))
        self.critics = nn.ModuleList(mlp(observations + actions, 1) for _ in range(2))
        self.slow, self.value = copy.deepcopy(self.critics), mlp(observations, 1)
        self.of_actor = torch.optim.Adam([*self.actor.parameters(), self.log_std], LR)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.of_actor, 1_000_000)
        self.of_critics = torch.optim.Adam(self.critics.parameters(), LR)
        self.of_value = torch.optim.Adam(self.value.parameters(), LR)

    def update(self, batch):
        s, a, r, s2, done, _ = batch
        with torch.no_grad():
            next_value = self.value(s2)
            q = torch.min(*(value_of(c, s, a) for c in self.slow))
        advantage = q - self.value(s)
        loss = ((0.7 - (advantage < 0).float()).abs() * advantage ** 2).mean()
        loss.item()
        step([self.of_value], loss)
        target = r + (1 - done) * 0.99 * next_value
        loss = sum(F.mse_loss(value_of(c, s, a), target) for c in self.critics) / 2
        loss.item()
        step([self.of_critics], loss)
        follow(self.slow, self.critics)
        weights = (3 * advantage.detach()).exp().clamp(max=100)
        out = torch.distributions.Normal(self.actor(s), self.log_std.clamp(-20, 2).exp())
        loss = (weights.squeeze(1) * -out.log_prob(a).sum(1)).mean()
        loss.item()
        step([self.of_actor], loss)
        self.schedule.step()


data, learner = Data(), Iql() if agent == "iql" else Td3()
for _ in range(10):
    learner.update(data.sample())
updates, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    for _ in range(2):
        learner.update(data.sample())
    updates += 2
print(updates / (time.perf_counter() - start))
