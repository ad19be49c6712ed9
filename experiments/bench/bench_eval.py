"""Environment steps per second of a Decision Transformer of Hugging Face Transformers, as its users roll it out:
one episode, the last 20 steps padded on the left, one call of the model per step.

usage: bench_eval.py which | bench_eval.py ENV SECONDS

The original's size (3 layers, width 128) with random weights, in gymnasium, on one thread. A body that
falls is reset and keeps its context, so that every step has the whole context. Run by
`cosdt bench eval --python PYTHON`.
"""
import sys
import time
import warnings

import gymnasium
import torch
import transformers

IDS = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4"}
CONTEXT = 20
SCALE = 1000.0

if sys.argv[1] == "which":
    print("transformers", transformers.__version__)
    sys.exit()

warnings.filterwarnings("ignore", message=".*out of date")  # v4 is the baseline
torch.set_num_threads(1)
torch.manual_seed(0)
env = gymnasium.make(IDS[sys.argv[1]]).unwrapped
seconds = float(sys.argv[2])
state_size, action_size = env.observation_space.shape[0], env.action_space.shape[0]
model = transformers.DecisionTransformerModel(transformers.DecisionTransformerConfig(
    state_dim=state_size, act_dim=action_size, hidden_size=128, n_layer=3, n_head=1,
    max_ep_len=1000, n_positions=1024, activation_function="relu")).eval()


def last_steps(history, width, dtype=torch.float32):
    """The last steps of a history [steps, width] with zeros on the left: [1, CONTEXT, width]."""
    history = history[-CONTEXT:]
    padding = torch.zeros((CONTEXT - len(history), width), dtype=dtype)
    return torch.cat([padding, history]).unsqueeze(0)


@torch.no_grad()
def decide(states, actions, returns_to_go, timesteps):
    real = min(len(states), CONTEXT)
    mask = torch.cat([torch.zeros(CONTEXT - real), torch.ones(real)]).unsqueeze(0).long()
    return model(
        states=last_steps(states, state_size), actions=last_steps(actions, action_size), rewards=None,
        returns_to_go=last_steps(returns_to_go, 1),
        timesteps=last_steps(timesteps.unsqueeze(-1), 1, torch.long).squeeze(-1),
        attention_mask=mask).action_preds[0, -1]


def episode(until):
    """Plays up to 1,000 steps; gives the steps that followed the first CONTEXT ones and their time."""
    observation, _ = env.reset()
    states = torch.from_numpy(observation).float().reshape(1, state_size)
    actions = torch.zeros((0, action_size))
    returns_to_go = torch.tensor([[3600 / SCALE]])
    timesteps = torch.zeros(1, dtype=torch.long)
    for step in range(1000):
        if step == CONTEXT:
            start = time.perf_counter()
        actions = torch.cat([actions, torch.zeros((1, action_size))])
        action = decide((states - 0.1) / 1.1, actions, returns_to_go, timesteps)
        actions[-1] = action
        observation, reward, terminated, _, _ = env.step(action.numpy())
        if terminated:
            observation, _ = env.reset()
        states = torch.cat([states, torch.from_numpy(observation).float().reshape(1, state_size)])
        returns_to_go = torch.cat([returns_to_go, returns_to_go[-1:] - reward / SCALE])
        timesteps = torch.cat([timesteps, timesteps[-1:] + 1])
        if step >= CONTEXT and time.perf_counter() > until:
            break
    return step + 1 - CONTEXT, time.perf_counter() - start


steps = spent = 0
end = time.perf_counter() + seconds
while time.perf_counter() < end:
    played, elapsed = episode(end)
    steps += played
    spent += elapsed
print(steps / spent)
