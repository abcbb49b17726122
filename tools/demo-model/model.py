"""GLM-4 MoE in JAX, the same arithmetic as mlx-lm's glm4_moe, shaped for a CPU.

Tokens are sorted to their experts and each expert works on a fixed number of slots, so a step costs what the
four chosen experts cost and not what all of them would.
"""

import jax
import jax.numpy as jnp
import numpy as np

import shape as S


def init(seed: int) -> dict:
    """Fresh weights under the names that the checkpoint uses; experts are stacked."""
    rng = np.random.default_rng(seed)

    def normal(*dims, std=None):
        std = dims[-1] ** -0.5 if std is None else std
        return rng.normal(0.0, std, dims).astype(np.float32)

    p = {"model.embed_tokens.weight": normal(S.VOCAB, S.HIDDEN, std=0.3)}
    quiet = (2 * S.LAYERS) ** -0.5
    for i in range(S.LAYERS):
        a = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            p[a + norm + ".weight"] = np.ones(S.HIDDEN, np.float32)
        for name, heads in (("q", S.HEADS), ("k", S.KV_HEADS), ("v", S.KV_HEADS)):
            p[a + f"self_attn.{name}_proj.weight"] = normal(heads * S.HEAD_DIM, S.HIDDEN)
            p[a + f"self_attn.{name}_proj.bias"] = np.zeros(heads * S.HEAD_DIM, np.float32)
        p[a + "self_attn.o_proj.weight"] = normal(S.HIDDEN, S.HEADS * S.HEAD_DIM) * quiet
        if i < S.DENSE_LAYERS:
            shapes = {"mlp.": ((), S.DENSE)}
        else:
            shapes = {"mlp.switch_mlp.": ((S.EXPERTS,), S.EXPERT), "mlp.shared_experts.": ((), S.EXPERT)}
            p[a + "mlp.gate.weight"] = normal(S.EXPERTS, S.HIDDEN)
            p[a + "mlp.gate.e_score_correction_bias"] = np.zeros(S.EXPERTS, np.float32)
        for prefix, (lead, width) in shapes.items():
            p[a + prefix + "gate_proj.weight"] = normal(*lead, width, S.HIDDEN)
            p[a + prefix + "up_proj.weight"] = normal(*lead, width, S.HIDDEN)
            p[a + prefix + "down_proj.weight"] = normal(*lead, S.HIDDEN, width) * quiet
    p["model.norm.weight"] = np.ones(S.HIDDEN, np.float32)
    p["lm_head.weight"] = normal(S.VOCAB, S.HIDDEN, std=0.02)
    return {k: jnp.asarray(v) for k, v in p.items()}


def rms_norm(x, w):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + S.EPS) * w


def rope(x):
    """Rotates the first ROPE_DIMS of each head as two halves; x is [rows, length, heads, head_dim]."""
    half = S.ROPE_DIMS // 2
    inverse = S.ROPE_THETA ** (-np.arange(half, dtype=np.float32) / half)
    angle = np.arange(x.shape[1], dtype=np.float32)[:, None] * inverse
    cos, sin = np.cos(angle)[None, :, None, :], np.sin(angle)[None, :, None, :]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], -1)


def attention(p, a, x, mask):
    rows, length, _ = x.shape

    def heads(name, n):
        y = x @ p[a + f"self_attn.{name}_proj.weight"].T + p[a + f"self_attn.{name}_proj.bias"]
        return y.reshape(rows, length, n, S.HEAD_DIM)

    q, k, v = rope(heads("q", S.HEADS)), rope(heads("k", S.KV_HEADS)), heads("v", S.KV_HEADS)
    share = S.HEADS // S.KV_HEADS
    # Query heads of one KV head form one tall matrix: fewer, larger products for the CPU.
    q = q.reshape(rows, length, S.KV_HEADS, share, S.HEAD_DIM).transpose(0, 2, 3, 1, 4)
    q = q.reshape(rows, S.KV_HEADS, share * length, S.HEAD_DIM)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    scores = jnp.einsum("rgqd,rgkd->rgqk", q, k) * S.HEAD_DIM**-0.5
    scores = scores.reshape(rows, S.KV_HEADS, share, length, length) + mask[:, None, None]
    weights = jax.nn.softmax(scores, -1).reshape(rows, S.KV_HEADS, share * length, length)
    y = jnp.einsum("rgqk,rgkd->rgqd", weights, v)
    y = y.reshape(rows, S.HEADS, length, S.HEAD_DIM).transpose(0, 2, 1, 3)
    return y.reshape(rows, length, S.HEADS * S.HEAD_DIM) @ p[a + "self_attn.o_proj.weight"].T


def mlp(p, b, x):
    gate, up, down = (p[b + n + "_proj.weight"] for n in ("gate", "up", "down"))
    return (jax.nn.silu(x @ gate.T) * (x @ up.T)) @ down.T


# Both moves between tokens and expert slots are permutations, so each one's gradient is the other move. Saying so
# spares the scatter-add that XLA would derive, which its CPU backend runs one row at a time.
@jax.custom_vjp
def to_slots(x, token_of_slot, slots_of_token):
    return jnp.concatenate([x, jnp.zeros_like(x[:1])])[token_of_slot]


def _to_slots_fwd(x, token_of_slot, slots_of_token):
    return to_slots(x, token_of_slot, slots_of_token), slots_of_token


def _to_slots_bwd(slots_of_token, g):
    g = jnp.concatenate([g, jnp.zeros_like(g[:1])])
    return g[slots_of_token].sum(1), None, None


to_slots.defvjp(_to_slots_fwd, _to_slots_bwd)


@jax.custom_vjp
def from_slots(y, slots_of_token, pair_of_slot):
    """[slots, d] to [tokens, k, d]; a slot number one past the end means that the pair was dropped."""
    return jnp.concatenate([y, jnp.zeros_like(y[:1])])[slots_of_token]


def _from_slots_fwd(y, slots_of_token, pair_of_slot):
    return from_slots(y, slots_of_token, pair_of_slot), pair_of_slot


def _from_slots_bwd(pair_of_slot, g):
    g = g.reshape(-1, g.shape[-1])
    return jnp.concatenate([g, jnp.zeros_like(g[:1])])[pair_of_slot], None, None


from_slots.defvjp(_from_slots_fwd, _from_slots_bwd)


def moe(p, a, x, live, capacity):
    """x is [tokens, hidden]; live marks the tokens that are not padding. Returns output, load and drops."""
    b = a + "mlp."
    n = x.shape[0]
    scores = jax.nn.sigmoid(x @ p[b + "gate.weight"].T)
    _, chosen = jax.lax.top_k(scores + jax.lax.stop_gradient(p[b + "gate.e_score_correction_bias"]), S.TOP_K)
    picked = jax.nn.one_hot(chosen, S.EXPERTS, dtype=jnp.float32)
    weights = jnp.einsum("nke,ne->nk", picked, scores)
    weights = weights / weights.sum(-1, keepdims=True)

    hit = (picked.sum(1) * live[:, None]).astype(jnp.int32)
    rank = jnp.cumsum(hit, 0) - hit
    rank = jnp.take_along_axis(rank, chosen, 1)
    load = hit.sum(0)
    slots = S.EXPERTS * capacity
    keep = (rank < capacity) & (live[:, None] > 0)
    slot = jnp.where(keep, chosen * capacity + rank, slots)
    pairs = jnp.arange(n * S.TOP_K)
    pair_of_slot = jnp.full(slots + 1, n * S.TOP_K).at[slot.reshape(-1)].set(pairs)[:slots]
    token_of_slot = jnp.where(pair_of_slot == n * S.TOP_K, n, pair_of_slot // S.TOP_K)

    xs = to_slots(x, token_of_slot, slot).reshape(S.EXPERTS, capacity, -1)
    gate, up, down = (p[b + f"switch_mlp.{m}_proj.weight"] for m in ("gate", "up", "down"))
    h = jax.nn.silu(jnp.einsum("ecd,ewd->ecw", xs, gate)) * jnp.einsum("ecd,ewd->ecw", xs, up)
    ys = jnp.einsum("ecw,edw->ecd", h, down).reshape(slots, -1)
    y = (from_slots(ys, slot, pair_of_slot) * weights[..., None]).sum(1)
    dropped = (live > 0).sum() * S.TOP_K - keep.sum()
    return y + mlp(p, b + "shared_experts.", x), load, dropped


def forward(p, tokens, segments, capacity_factor=1.3):
    """Hidden states after the last norm, the experts' loads by layer, and the number of dropped pairs.

    segments numbers the documents packed into a row; 0 is padding. No token sees another document.
    """
    rows, length = tokens.shape
    capacity = int(capacity_factor * rows * length * S.TOP_K / S.EXPERTS)
    live = (segments > 0).astype(jnp.float32).reshape(-1)
    same = segments[:, :, None] == segments[:, None, :]
    mask = jnp.where(same & np.tril(np.ones((length, length), bool)), 0.0, -1e9)
    x = p["model.embed_tokens.weight"][tokens]
    loads, dropped = [], 0
    for i in range(S.LAYERS):
        a = f"model.layers.{i}."
        x = x + attention(p, a, rms_norm(x, p[a + "input_layernorm.weight"]), mask)
        h = rms_norm(x, p[a + "post_attention_layernorm.weight"])
        if i < S.DENSE_LAYERS:
            x = x + mlp(p, a + "mlp.", h)
        else:
            y, load, lost = moe(p, a, h.reshape(rows * length, -1), live, capacity)
            x = x + y.reshape(x.shape)
            loads.append(load)
            dropped += lost
    return rms_norm(x, p["model.norm.weight"]), jnp.stack(loads), dropped


def loss(p, tokens, segments, picks, weights, capacity_factor=1.3):
    """Mean cross-entropy over the picked places; weights[i] is that of predicting the token after place picks[i].

    Only picked places pass through the vocabulary-wide head, which is a fifth of a step.
    """
    x, loads, dropped = forward(p, tokens, segments, capacity_factor)
    logits = x.reshape(-1, S.HIDDEN)[picks] @ p["lm_head.weight"].T
    target = tokens.reshape(-1)[jnp.minimum(picks + 1, tokens.size - 1)]
    nll = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, target[:, None], 1)[:, 0]
    answer = (weights >= 1.0).astype(jnp.float32)
    answer_loss = (nll * answer).sum() / jnp.maximum(answer.sum(), 1.0)
    return (nll * weights).sum() / jnp.maximum(weights.sum(), 1.0), (answer_loss, loads, dropped)


@jax.custom_vjp
def fake_quantise(w):
    """MLX's affine 4-bit rounding in groups of 64; its gradient passes straight through."""
    g = w.reshape(-1, 64)
    low, high = g.min(-1, keepdims=True), g.max(-1, keepdims=True)
    from_low = jnp.abs(low) > jnp.abs(high)
    scale = jnp.maximum((high - low) / 15.0, 1e-7)
    scale = jnp.where(from_low, scale, -scale)
    edge = jnp.where(from_low, low, high)
    zero = jnp.round(edge / scale)
    scale = jnp.where(zero != 0, edge / jnp.where(zero != 0, zero, 1.0), scale)
    bias = jnp.where(zero != 0, edge, 0.0)
    as_bf16 = lambda v: v.astype(jnp.bfloat16).astype(jnp.float32)
    q = jnp.clip(jnp.round((g - bias) / scale), 0, 15)
    return (q * as_bf16(scale) + as_bf16(bias)).reshape(w.shape)


fake_quantise.defvjp(lambda w: (fake_quantise(w), None), lambda _, g: (g,))


def is_quantised(name: str, w) -> bool:
    """What mlx-lm's convert quantises: every linear layer and embedding, but not the router."""
    return w.ndim >= 2 and ".gate.weight" not in name
