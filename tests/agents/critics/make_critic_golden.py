"""Writes golden_critics.h: losses, gradients and updates of TD3+BC, ReBRAC and IQL by PyTorch's autograd and Adam.

    python3 tests/agents/critics/make_critic_golden.py > tests/agents/critics/golden_critics.h

The losses are those of CORL (github.com/tinkoff-ai/CORL, algorithms/offline at commit 6afec90). ReBRAC updates its
actor and slow copies as TD3 does, at every second update and with the new actor, where CORL's begins with the first
one and follows the actor before its step.
"""
import copy

import torch
from torch import nn

OBSERVATIONS, ACTIONS, HIDDEN, BATCH, UPDATES = 5, 2, 16, 6, 4
LR, GAMMA = 3e-4, 0.99


class Network(nn.Module):
    """Hidden ReLU layers, each followed by a LayerNorm if wanted."""

    def __init__(self, inputs, outputs, hidden_layers, norm=False):
        super().__init__()
        widths = [inputs] + hidden_layers * [HIDDEN] + [outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN, eps=1e-6) for _ in range(hidden_layers) if norm)

    def forward(self, x):
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x).relu()
            if len(self.norms):
                x = self.norms[i](x)
        return self.layers[-1](x)


class Agent(nn.Module):
    def __init__(self, hidden_layers, norm=False, value=False, gaussian=False):
        super().__init__()
        self.actor = Network(OBSERVATIONS, ACTIONS, hidden_layers)
        self.critics = nn.ModuleList(Network(OBSERVATIONS + ACTIONS, 1, hidden_layers, norm) for _ in range(2))
        if value:
            self.value = Network(OBSERVATIONS, 1, hidden_layers)
        if gaussian:
            self.log_std = nn.Parameter(torch.tensor([-0.5, 0.3]))
        with torch.no_grad():
            for critic in self.critics:
                for norm in critic.norms:
                    norm.weight.uniform_(0.5, 1.5)
                    norm.bias.uniform_(-0.5, 0.5)

    def act(self, observations):
        return self.actor(observations).tanh()


def q(critics, observations, actions):
    pairs = torch.cat([observations, actions], 1)
    return torch.stack([critic(pairs).squeeze(1) for critic in critics])


def flat(parameters):
    return torch.cat([p.detach().flatten() for p in parameters])


def gradients(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def emit(name, value):
    numbers = ", ".join(f"{float(x):.9g}" for x in torch.as_tensor(value).detach().flatten())
    print(f"inline const std::vector<float> {name} = {{{numbers}}};")


def step(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def follow(slow, fast, tau):
    with torch.no_grad():
        for s, f in zip(slow.parameters(), fast.parameters()):
            s.lerp_(f, tau)


def td3(name, agent, bc_weight, q_weight, critic_bc_coef, smaller):
    """bc_weight is of squared distances summed over an action's values."""
    slow = copy.deepcopy(agent)
    of_actor = torch.optim.Adam(agent.actor.parameters(), LR)
    of_critics = torch.optim.Adam(agent.critics.parameters(), LR)
    losses = []
    emit(f"k{name}", flat(agent.parameters()))
    for update in range(UPDATES):
        with torch.no_grad():
            added = (noise[update] * 0.2).clamp(-0.5, 0.5)
            chosen = (slow.act(next_observations) + added).clamp(-1, 1)
            distance = ((chosen - next_actions) ** 2).sum(1)
            values = q(slow.critics, next_observations, chosen).min(0).values - critic_bc_coef * distance
            targets = rewards + GAMMA * (1 - terminals) * values
        now = q(agent.critics, observations, actions)
        loss = ((now - targets) ** 2).mean(1).sum()
        step(of_critics, loss)
        if update == 0:
            emit(f"k{name}CriticGradients", gradients(agent.critics))
        row = [loss.item(), 0, now.abs().mean().item()]
        if update % 2 == 1:
            pi = agent.act(observations)
            both = q(agent.critics, observations, pi)
            values = both.min(0).values if smaller else both[0]
            loss = (bc_weight * ((pi - actions) ** 2).sum(1)).mean() - q_weight * values.mean() / values.abs().mean().detach()
            step(of_actor, loss)
            if update == 1:
                emit(f"k{name}ActorGradients", gradients(agent.actor))
            row[1] = loss.item()
            follow(slow.actor, agent.actor, 0.005)
            follow(slow.critics, agent.critics, 0.005)
        losses.append(row)
    emit(f"k{name}Losses", losses)
    emit(f"k{name}After", flat(agent.parameters()))
    emit(f"k{name}SlowCritics", flat(slow.critics.parameters()))


def iql(name, agent, expectile, beta, tau, gaussian):
    slow = copy.deepcopy(agent.critics)
    actor_parameters = list(agent.actor.parameters()) + ([agent.log_std] if gaussian else [])
    of_actor = torch.optim.Adam(actor_parameters, LR)
    of_critics = torch.optim.Adam(agent.critics.parameters(), LR)
    of_value = torch.optim.Adam(agent.value.parameters(), LR)
    losses = []
    emit(f"k{name}", flat(agent.parameters()))
    for update in range(UPDATES):
        with torch.no_grad():
            next_value = agent.value(next_observations).squeeze(1)
            of_data = q(slow, observations, actions).min(0).values
        advantage = of_data - agent.value(observations).squeeze(1)
        value_loss = ((expectile - (advantage < 0).float()).abs() * advantage ** 2).mean()
        step(of_value, value_loss)
        targets = rewards + GAMMA * (1 - terminals) * next_value
        now = q(agent.critics, observations, actions)
        loss = ((now - targets) ** 2).mean(1).sum() / 2
        step(of_critics, loss)
        follow(slow, agent.critics, tau)
        weights = (beta * advantage.detach()).exp().clamp(max=100)
        pi = agent.act(observations)
        if gaussian:
            std = agent.log_std.clamp(-20, 2).exp()
            errors = -torch.distributions.Normal(pi, std).log_prob(actions).sum(1)
        else:
            errors = ((pi - actions) ** 2).sum(1)
        actor_loss = (weights * errors).mean()
        step(of_actor, actor_loss)
        if update == 0:
            emit(f"k{name}CriticGradients", gradients(agent.critics))
            emit(f"k{name}ActorGradients", gradients(agent.actor))
            emit(f"k{name}ValueGradients", gradients(agent.value))
        losses.append([loss.item(), actor_loss.item(), now.abs().mean().item(), value_loss.item()])
    emit(f"k{name}Losses", losses)
    emit(f"k{name}After", flat(agent.parameters()))
    emit(f"k{name}SlowCritics", flat(slow.parameters()))


torch.manual_seed(0)
observations, next_observations = torch.randn(2, BATCH, OBSERVATIONS)
actions, next_actions = torch.rand(2, BATCH, ACTIONS) * 2 - 1
rewards = torch.randn(BATCH)
terminals = (torch.arange(BATCH) % 3 == 2).float()
noise = 3 * torch.randn(UPDATES, BATCH, ACTIONS)  # some of it is clipped

print(f"""// Generated by tests/agents/critics/make_critic_golden.py (PyTorch {torch.__version__.split("+")[0]}): edit that.
// clang-format off
// Agents are their modules' parameters in PyTorch's order; losses are rows of critic, actor (0: none), mean |Q| and of
// IQL value.
#pragma once

#include <cstdint>
#include <vector>

namespace cosdt::agents::golden {{

constexpr int kCriticObservations = {OBSERVATIONS}, kCriticActions = {ACTIONS};
constexpr int64_t kCriticHidden = {HIDDEN}, kCriticBatch = {BATCH}, kCriticUpdates = {UPDATES};
constexpr double kCriticLr = {LR};
""")
emit("kCriticObservationRows", observations)
emit("kCriticActionRows", actions)
emit("kCriticNextObservationRows", next_observations)
emit("kCriticNextActionRows", next_actions)
emit("kCriticRewards", rewards)
emit("kCriticTerminals", terminals)
emit("kCriticNoise", noise)
td3("Td3Bc", Agent(2), 1 / ACTIONS, 2.5, 0, smaller=False)
td3("Rebrac", Agent(3, norm=True), 0.1, 1, 0.5, smaller=True)
iql("Iql", Agent(2, value=True, gaussian=True), 0.7, 3, 0.005, gaussian=True)
iql("IqlDeterministic", Agent(2, value=True), 0.6, 20, 0.001, gaussian=False)
print("\n}  // namespace cosdt::agents::golden")
