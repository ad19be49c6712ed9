#!/usr/bin/env python3
"""A cable between two network namespaces, with delay and loss: a TAP device `cable` in each, and this process, which
carries their frames. Kernels without the netem queue have none other.

    cable.py NAMESPACE NAMESPACE MILLISECONDS PERCENT
"""
import collections
import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 2, 0x1000, 0x40000000


def tap_in(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(there, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"cable", IFF_TAP | IFF_NO_PI))
    libc.setns(here, CLONE_NEWNET)
    return tap


def main():
    ends = [tap_in(namespace) for namespace in sys.argv[1:3]]
    delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
    random.seed(1)
    way = collections.deque()  # (time of arrival, end, frame)
    print("ready", flush=True)
    while True:
        wait = max(0, way[0][0] - time.monotonic()) if way else None
        for end in select.select(ends, [], [], wait)[0]:
            frame = os.read(end, 65536)
            if random.random() >= loss:
                way.append((time.monotonic() + delay, ends[1 - ends.index(end)], frame))
        while way and way[0][0] <= time.monotonic():
            _, end, frame = way.popleft()
            try:
                os.write(end, frame)
            except OSError:
                pass  # its device is down: as on a cable, the frame is lost


main()
