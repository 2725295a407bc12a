"""Oracles: the papers' equations as slow loops."""

from __future__ import annotations

import torch
from torch import Tensor


def slow_gates(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The gate of one clip, output by output. x: normalized, rectified [C, T, H, W]; weight [2, C/2, 3, 3, 3]."""
    channels, frames, height, width = x.shape
    gates = torch.zeros(2, frames, height, width, dtype=x.dtype)
    for group in range(2):
        for t in range(frames):
            for i in range(height):
                for j in range(width):
                    total = bias[group].clone()
                    for c in range(channels // 2):
                        for dt in range(3):
                            for di in range(3):
                                for dj in range(3):
                                    at = (t + dt - 1, i + di - 1, j + dj - 1)
                                    inside = all(0 <= p < n for p, n in zip(at, x.shape[1:], strict=True))
                                    if inside:
                                        source = x[group * channels // 2 + c, at[0], at[1], at[2]]
                                        total += weight[group, c, dt, di, dj] * source
                    gates[group, t, i, j] = torch.tanh(total)
    return gates


def slow_gate_shift(x: Tensor, gates: Tensor, *, interleave: bool) -> Tensor:
    """Gate, shift, residual and interleave of one clip, channel by channel. x: [C, T, H, W]; gates: [2, T, H, W]."""
    channels, frames = x.shape[:2]
    half, quarter = channels // 2, channels // 4
    y = torch.zeros_like(x)
    for c in range(channels):
        group = c // half
        for t in range(frames):
            sent_here = t + 1 if group == 0 else t - 1
            y[c, t] = x[c, t] - gates[group, t] * x[c, t]
            if 0 <= sent_here < frames:
                y[c, t] += gates[group, sent_here] * x[c, sent_here]
    if not interleave:
        return y
    mixed = torch.zeros_like(y)
    for group in range(2):
        for a in range(2):
            for i in range(quarter):
                mixed[group * half + 2 * i + a] = y[group * half + a * quarter + i]
    return mixed


def slow_fuse(x: Tensor, gates: Tensor, weight: Tensor, bias: Tensor, *, interleave: bool) -> Tensor:
    """Gate-shift-fuse of one clip, value by value. x: [C, T, H, W]; gates: [2, T, H, W]; weight: [2, 2, 3, 3]."""
    channels, frames = x.shape[:2]
    half = channels // 2
    y = torch.zeros_like(x)
    for group in range(2):
        mine = x[group * half : (group + 1) * half]
        parts = torch.zeros(2, half, frames, *x.shape[2:], dtype=x.dtype)  # what arrives, what stays
        for t in range(frames):
            source = t + 1 if group == 0 else t - 1
            if 0 <= source < frames:
                parts[0, :, t] = gates[group, source] * mine[:, source]
            parts[1, :, t] = mine[:, t] - gates[group, t] * mine[:, t]
        for c in range(half):
            for t in range(frames):
                score = bias[group].clone()
                for part in range(2):
                    for dc in range(3):
                        for dt in range(3):
                            at = (c + dc - 1, t + dt - 1)
                            if 0 <= at[0] < half and 0 <= at[1] < frames:
                                score += weight[group, part, dc, dt] * parts[part, at[0], at[1]].mean()
                share = 1 / (1 + torch.exp(-score))
                place = c if not interleave else 2 * (c % (half // 2)) + c // (half // 2)
                y[group * half + place, t] = share * parts[0, c, t] + (1 - share) * parts[1, c, t]
    return y


def slow_shift(x: Tensor, fold: int) -> Tensor:
    """The temporal shift of one clip, channel by channel. x: [C, T, H, W]; fold: channels moved each way."""
    channels, frames = x.shape[:2]
    y = torch.zeros_like(x)
    for c in range(channels):
        for t in range(frames):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < frames:
                y[c, t] = x[c, source]
    return y
