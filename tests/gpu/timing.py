"""Times of work on a GPU, and the shapes that attention is timed at: for the other scripts here."""
import statistics
import sys
import time

import torch

# batch, heads, length, width: a Decision Transformer's windows at K = 20 and K = 1000, and language models'
SHAPES = [(64, 1, 60, 128), (8, 8, 1024, 64), (8, 8, 4096, 64), (64, 1, 3000, 128), (1, 8, 16384, 64),
          (1, 8, 65536, 64), (8, 8, 4096, 128)]


def name_of(shape):
    return "B%d h%d L%d d%d" % shape


def copies(bytes_of_one):
    """So many sets of inputs that a GPU's cache holds none of them until its next turn."""
    return max(2, min(32, -(-200_000_000 // bytes_of_one)))


def milliseconds(works, seconds=0.15):
    """Median time of one of `works`, which are recorded one after the other in a graph and replayed. Work that
    cannot be recorded is launched as it is."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for work in works[:2]:
            work()
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for work in works:
                work()
        run = graph.replay
    except RuntimeError:
        torch.cuda.synchronize()

        def run():
            for work in works:
                work()

    run()
    torch.cuda.synchronize()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / len(works))
    return statistics.median(times)


def attention_times(shape, dtype, tensors, forward):
    """The times of forward(q, k, v), and of it with its gradients, as a string; tensors() makes q, k, v and the
    gradient of the output."""
    batch, heads, length, width = shape
    sets = [tensors() for _ in range(copies(batch * heads * length * width * dtype.itemsize * 8))]

    def backward_of(q, k, v, grad):
        inputs = [x.detach().requires_grad_() for x in (q, k, v)]
        return lambda: torch.autograd.grad(forward(*inputs), inputs, grad)

    try:
        with torch.no_grad():
            ahead = milliseconds([lambda q=q, k=k, v=v: forward(q, k, v) for q, k, v, _ in sets])
        both = milliseconds([backward_of(*s) for s in sets])
        return f"{ahead:8.4f} {both:8.4f}"
    except (RuntimeError, NotImplementedError) as error:
        print(error, file=sys.stderr)
        return "  cannot         "
    finally:
        del sets
        torch.cuda.empty_cache()
